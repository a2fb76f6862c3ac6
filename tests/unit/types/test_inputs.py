"""Messages, tool calls and tools in the forms of other clients are read, or refused in words."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from localproviders import ConfigurationError, Image, Message, Tool, ToolCall
from localproviders.schema import as_tools
from localproviders.types.messages import as_messages

_PNG = b"\x89PNG\r\n\x1a\n"
_URI = "data:image/png;base64,iVBORw0KGgo="
_IMAGE = Image.from_bytes(_PNG)
_CALL = ToolCall(id="a", name="now", arguments={"x": 1})


def _user(*parts: Any) -> List[Dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": _URI, "detail": "auto"}},
        {"type": "image_url", "image_url": _URI},
        {"type": "input_image", "image_url": _URI},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
        {"type": "image", "url": _URI},
        {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
        {
            "type": "image",
            "source_type": "base64",
            "data": "iVBORw0KGgo=",
            "mime_type": "image/png",
        },
        SimpleNamespace(data=_PNG, media_type="image/png"),
    ],
)
def test_a_part_with_an_image_is_an_image(part: Dict[str, Any]) -> None:
    made = as_messages(_user({"type": "text", "text": "Look."}, part))
    assert made == (Message.user("Look.", images=[_IMAGE]),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role": "user", "content": "x"}, Message.user("x")),
        ({"role": "developer", "content": "x"}, Message.system("x")),
        (_user({"type": "text", "text": "a"}, {"type": "text", "text": "b"}), Message.user("a\nb")),
        (_user("a", {"type": "input_text", "text": "b"}), Message.user("a\nb")),
        (
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "audio": None,
                "annotations": [],
                "function_call": None,
                "tool_calls": None,
            },
            Message.assistant(),
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": "hm"},
            Message(role="assistant", content="x", thinking="hm"),
        ),
        (
            SimpleNamespace(model_dump=lambda **_: {"role": "assistant", "content": "x"}),
            Message.assistant("x"),
        ),
        ({"role": "user", "content": "x", "images": [_PNG]}, Message.user("x", images=[_IMAGE])),
        ([("human", "x")], Message.user("x")),
        ([("system", "x")], Message.system("x")),
        ([["assistant", "x"]], Message.assistant("x")),
        ({"role": "ai", "content": "x"}, Message.assistant("x")),
    ],
)
def test_a_message_in_another_form_is_the_same_message(given: Any, message: Message) -> None:
    assert as_messages(given if isinstance(given, (list, dict)) else [given]) == (message,)


@pytest.mark.parametrize(
    "call",
    [
        {"id": "a", "type": "function", "function": {"name": "now", "arguments": '{"x": 1}'}},
        {"id": "a", "function": {"name": "now", "arguments": {"x": 1}}},
        {
            "id": "a",
            "type": "function",
            "index": 0,
            "function": {"name": "now", "arguments": {"x": 1}},
        },
        _CALL,
        _CALL.to_dict(),
    ],
)
def test_a_call_in_another_form_is_the_same_call(call: Any) -> None:
    (made,) = as_messages([{"role": "assistant", "tool_calls": [call]}])
    assert made.tool_calls == (_CALL,)


@pytest.mark.parametrize("arguments", ["", "{}", None, {}, '"{}"'])
def test_a_call_may_have_no_arguments(arguments: Any) -> None:
    call = {"id": "a", "function": {"name": "now", "arguments": arguments}}
    (made,) = as_messages([{"role": "assistant", "tool_calls": [call]}])
    assert made.tool_calls == (ToolCall(id="a", name="now"),)


def test_results_find_their_calls_in_both_forms() -> None:
    ollama = [
        {"role": "assistant", "tool_calls": [{"function": {"name": n}} for n in ("f", "g")]},
        {"role": "tool", "tool_name": "g", "content": "2"},
        {"role": "tool", "content": "1"},
    ]
    _, second, first = as_messages(ollama)
    assert (second.tool_call_id, first.tool_call_id) == ("call_2", "call_1")
    assert (second.tool_name, first.tool_name) == ("g", "f")
    openai = [
        {"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
    ]
    assert as_messages(openai)[1].tool_name == "f"
    old = {"role": "function", "name": "f", "content": "1"}
    called = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    made = as_messages([called, old])
    assert (made[1].role, made[1].tool_call_id) == ("tool", made[0].tool_calls[0].id)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("x", "x"),
        ({"a": [1]}, '{"a": [1]}'),
        ([1, 2], "[1, 2]"),
        (3, "3"),
        (None, "null"),
        ([{"type": "text", "text": "x"}], "x"),
        ([{"type": "rain"}], '[{"type": "rain"}]'),
    ],
)
def test_any_result_of_a_tool_is_text(result: Any, text: str) -> None:
    (made,) = as_messages([{"role": "tool", "tool_call_id": "a", "content": result}])
    assert made.content == text
    if not isinstance(result, list):
        assert Message.tool(result, _CALL).content == text


_SECRET = "a private prompt"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"content": _SECRET}, "no role"),
        ([_SECRET], "Message.user(text)"),
        ([("somebody", _SECRET)], 'write {"role": "user", "content": text}'),
        ([("tool", _SECRET)], 'write {"role": "user", "content": text}'),
        ([SimpleNamespace(message=_SECRET)], "write answer.message"),
        (
            {"role": "assistant", "content": SimpleNamespace(message=_SECRET)},
            "write answer.message instead of this message",
        ),
        (
            {"role": "user", "content": "x", "name": _SECRET},
            "name is only for the message of a tool",
        ),
        (_user({"type": "file", "file": {"x": _SECRET}}), "'file'"),
        (_user({"type": "image", "path": "cat.png"}), 'images=[Path("cat.png")]'),
        (_user({"type": "image", "url": "http://x/cat.png"}), "nothing is downloaded"),
        (["What is this?", _IMAGE], 'Message.user("What is this?", images=[Path("cat.png")])'),
        (_user({"type": "text", "text": 3}), "is int, and must be text"),
        (_user({"type": "text"}), "is NoneType, and must be text"),
        (_user({"type": "image_url", "image_url": {"url": f"http://x/{_SECRET}"}}), "data: URI"),
        (_user({"type": "image_url"}), "no image"),
        (_user({"type": "input_audio", "input_audio": {"data": _SECRET}}), "input_audio needs"),
        ({"role": "user", "content": {"x": _SECRET}}, "type is NoneType"),
        ({"role": "user", "content": 3}, "content is int, and must be text"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "a tool call has no name"),
        ({"role": "assistant", "tool_calls": _SECRET}, "takes ToolCall values"),
        (
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": _SECRET}}],
            },
            "not JSON",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            "arguments is list",
        ),
        (SimpleNamespace(columns=[_SECRET], __iter__=1), 'frame.to_dict("records")'),
    ],
)
def test_what_is_no_message_of_any_client_is_told(given: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        as_messages(given)
    text = str(caught.value)
    assert words in text
    assert _SECRET not in text
    assert "\n" not in text


_TOOL = Tool(name="now", description="d", parameters={"type": "object", "properties": {}})


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {**_TOOL.to_dict(), "strict": True}},
        {"type": "function", **_TOOL.to_dict()},
        {"function": _TOOL.to_dict()},
        {"name": "now", "description": "d", "input_schema": {"type": "object", "properties": {}}},
        _TOOL.to_dict(),
        _TOOL,
    ],
)
def test_a_tool_in_another_form_is_the_same_tool(tool: Any) -> None:
    assert as_tools([tool]) == (_TOOL,)
    if isinstance(tool, dict):
        assert as_tools(tool) == (_TOOL,)


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ({"type": "web_search"}, "'web_search'"),
        ({}, "no name"),
        ({"type": "function", "function": {"description": "x"}}, "no name"),
        ({"name": "f", "parameters": "{}"}, "parameters is str"),
        ({"name": "f", "code": "x"}, "no field 'code'"),
    ],
)
def test_what_is_no_tool_of_any_client_is_told(tool: Any, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_tools([tool])
    assert words in str(caught.value)


def test_an_image_is_made_from_a_path_a_file_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_PNG)
    with open(path, "rb") as file:
        for given in (path, file, io.BytesIO(_PNG), _PNG, bytearray(_PNG)):
            assert Message.user("x", images=[given]) == Message.user("x", images=[_IMAGE])
    one: Any = path
    assert Message.user("x", images=one).images == (_IMAGE,)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (io.StringIO("x"), "mode 'rb'"),
        (io.BytesIO(b""), "seek(0)"),
        ("a.png", "write Path(text) for a file"),
        (3, "an item is int"),
        (b"x", "not a PNG"),
    ],
)
def test_what_is_no_image_is_told(item: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        Message.user("x", images=[item])
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["images", "audio", "documents"])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        (io.StringIO("x"), "is a file in text mode: open it with mode 'rb'"),
        (io.BytesIO(b""), "is a file with nothing left to read: call seek(0) before"),
    ],
)
def test_the_error_about_a_file_names_the_field(name: str, file: Any, words: str) -> None:
    fields: Any = {name: [file]}
    with pytest.raises(ValueError) as caught:
        Message.user("x", **fields)
    assert str(caught.value) == f"an item of {name} {words}"


def test_an_image_of_pil_is_sent_as_png() -> None:
    pillow = pytest.importorskip("PIL.Image")
    for mode in ("RGB", "RGBA", "L", "CMYK", "F", "P", "1", "I;16"):
        message = Message.user("x", images=[pillow.new(mode, (2, 2))])
        assert message.images[0].media_type == "image/png"


def test_bytes_are_told_from_other_values() -> None:
    wrong: Any
    for wrong, words in (("x", "base64.b64decode"), (io.BytesIO(_PNG), "images=[value]")):
        with pytest.raises(TypeError) as caught:
            Image.from_bytes(wrong)
        assert words in str(caught.value)
