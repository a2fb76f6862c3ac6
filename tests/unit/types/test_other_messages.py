"""Messages that are objects of other clients are read, or refused in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from localproviders import Image, Message, ToolCall
from localproviders.types.messages import as_messages

_PNG = b"\x89PNG\r\n\x1a\n"
_BASE64 = "iVBORw0KGgo="
_CALL = ToolCall(id="a", name="now", arguments={"x": 1})


class Pydantic:
    """An object with the methods of a pydantic model: its items are pairs."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)

    def model_dump(self, exclude_none: bool = False) -> Dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def __iter__(self) -> Iterator[Tuple[str, Any]]:
        return iter(vars(self).items())


def _langchain(type_: str, content: Any = "Hi", **more: Any) -> Pydantic:
    own: Dict[str, Any] = {"additional_kwargs": {}, "response_metadata": {"model": "m"}, "id": "x"}
    return Pydantic(content=content, type=type_, **{**own, **more})


class Role(str, Enum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    CHATBOT = "chatbot"


def _llama_index(role: Role, *blocks: Any) -> Pydantic:
    return Pydantic(role=role, blocks=list(blocks), additional_kwargs={})


_TEXT = {"block_type": "text", "text": "Hi"}


@dataclass
class Smolagents:
    role: Role
    content: Any = None
    tool_calls: Optional[List[Any]] = None
    raw: Any = field(default=None, repr=False)


class Haystack:
    def __init__(self, text: str) -> None:
        self._content, self._role = [text], Role.USER

    def to_openai_dict_format(self) -> Dict[str, Any]:
        return {"role": "user", "content": self._content[0]}


_ONE: List[Tuple[Any, Message]] = [
    (_langchain("human"), Message.user("Hi")),
    (_langchain("HumanMessageChunk"), Message.user("Hi")),
    (_langchain("system"), Message.system("Hi")),
    (_langchain("ai", tool_calls=[], invalid_tool_calls=[]), Message.assistant("Hi")),
    (
        _langchain("AIMessageChunk", usage_metadata={"input_tokens": 1}, tool_call_chunks=[]),
        Message.assistant("Hi"),
    ),
    (
        _langchain(
            "ai", "", tool_calls=[{"name": "now", "args": {"x": 1}, "id": "a", "type": "tool_call"}]
        ),
        Message.assistant("", [_CALL]),
    ),
    (
        _langchain("tool", "4 C", tool_call_id="a", name="now", status="success"),
        Message.tool("4 C", _CALL),
    ),
    (_langchain("human", [{"type": "text", "text": "Hi"}]), Message.user("Hi")),
    (
        _langchain("human", [{"type": "image", "base64": _BASE64, "mime_type": "image/png"}]),
        Message.user("", [Image.from_bytes(_PNG)]),
    ),
    (
        _langchain(
            "human",
            [
                {
                    "type": "image",
                    "source_type": "base64",
                    "data": _BASE64,
                    "mime_type": "image/png",
                }
            ],
        ),
        Message.user("", [Image.from_bytes(_PNG)]),
    ),
    (_llama_index(Role.USER, _TEXT), Message.user("Hi")),
    (_llama_index(Role.SYSTEM, _TEXT, _TEXT), Message.system("Hi\nHi")),
    (_llama_index(Role.CHATBOT, _TEXT), Message.assistant("Hi")),
    (
        _llama_index(
            Role.USER,
            {"block_type": "image", "image": _BASE64.encode(), "image_mimetype": "image/png"},
        ),
        Message.user("", [Image.from_bytes(_PNG)]),
    ),
    (Smolagents(Role.USER, "Hi"), Message.user("Hi")),
    (Smolagents(Role.USER, [{"type": "text", "text": "Hi"}]), Message.user("Hi")),
    (Haystack("Hi"), Message.user("Hi")),
    ({"type": "human", "content": "Hi", "additional_kwargs": {}}, Message.user("Hi")),
    ({"type": "human", "data": {"type": "human", "content": "Hi"}}, Message.user("Hi")),
]


@pytest.mark.parametrize(("given", "expected"), _ONE)
def test_a_message_of_another_client_is_read(given: Any, expected: Message) -> None:
    assert as_messages([given]) == (expected,)
    assert as_messages(given) == (expected,)
    (made,) = as_messages(given)
    assert type(made.role) is str


def test_messages_of_another_client_are_connected() -> None:
    call = {"name": "now", "args": {"x": 1}, "id": "a", "type": "tool_call"}
    made = as_messages(
        [
            _langchain("human"),
            _langchain("ai", "", tool_calls=[call]),
            _langchain("tool", "4 C", tool_call_id="a", status="success"),
        ]
    )
    assert made == (
        Message.user("Hi"),
        Message.assistant("", [_CALL]),
        Message.tool("4 C", _CALL),
    )


_REFUSED: List[Tuple[Any, str]] = [
    (Pydantic(messages=[_langchain("human")]), "write value.messages"),
    (Pydantic(choices=[]), "write value.choices[0].message"),
    (Pydantic(model="m", message=Pydantic(role="assistant")), "write value.message"),
    (object(), "must be a string, a Message, or a list of messages"),
    ([object()], 'write {"role": "user", "content": text}'),
    ([Pydantic(parts=[])], 'write {"role": "user", "content": "..."}'),
    (_langchain("remove"), 'write {"role": "user", "content": "..."}'),
    (
        _langchain("ai", invalid_tool_calls=[{"name": "now", "args": "{"}]),
        "invalid_tool_calls",
    ),
]


@pytest.mark.parametrize(("given", "words"), _REFUSED)
def test_another_object_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        as_messages(given)
    assert words in str(caught.value)
