"""Messages in the forms of other clients are hidden and kept local like a string or a `Message`."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any, Callable, List, Mapping

import pytest

from localproviders import CompletionRequest, LocalityError, Message, ProviderError
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types.messages import as_messages
from tests.support.locality import (
    KEY,
    PROMPT,
    PROVIDERS,
    after_model_list,
    good,
    lines_with,
    make,
    visible_text,
)

_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": PROMPT}}}
_AS_TEXT = {**_CALL, "function": {"name": "f", "arguments": json.dumps({"a": PROMPT})}}


@dataclasses.dataclass
class _Other:
    """A message of another client."""

    role: str
    content: str

    def model_dump(self, **_: Any) -> Mapping[str, Any]:
        return vars(self)


def _user(content: Any, **more: Any) -> Mapping[str, Any]:
    return {"role": "user", "content": content, **more}


def _after(call: Mapping[str, Any]) -> List[Any]:
    answer = {"role": "tool", "tool_call_id": "c", "content": PROMPT}
    return [_user("Hi"), {"role": "assistant", "content": None, "tool_calls": [call]}, answer]


#: Each form makes new messages, because an iterator can be read only once.
_FORMS: Mapping[str, Callable[[], Any]] = {
    "one dictionary": lambda: _user(PROMPT),
    "dictionaries": lambda: [{"role": "developer", "content": PROMPT}, _user("Hi")],
    "parts": lambda: [_user([{"type": "text", "text": PROMPT}])],
    "a call": lambda: _after(_CALL),
    "a call as text": lambda: _after(_AS_TEXT),
    "an object": lambda: [_Other("user", PROMPT)],
    "an iterator": lambda: iter([_user(PROMPT)]),
    "mixed": lambda: [Message.system("a"), _user(PROMPT)],
}

#: Forms that no server accepts.
_WRONG: Mapping[str, Callable[[], Any]] = {
    "an unknown part": lambda: [_user([{"type": "riddle", "text": PROMPT}])],
    "a part without a type": lambda: [_user([{"words": PROMPT}])],
    "a picture that is a text": lambda: [
        _user([{"type": "image_url", "image_url": {"url": PROMPT}}])
    ],
    "a number as content": lambda: [_user(PROMPT), _user(7)],
    "a call without a function": lambda: _after({"id": PROMPT, "type": "function"}),
    "arguments that are no JSON": lambda: _after({**_CALL, "function": {"arguments": PROMPT}}),
    "an object without a role": lambda: [{"content": PROMPT}],
    "an unknown role": lambda: [_Other(PROMPT, PROMPT)],
}


def _assert_hidden(error: BaseException) -> None:
    seen = f"{visible_text(error)}{pickle.dumps(error)!r}"
    assert [line for secret in (PROMPT, KEY) for line in lines_with(secret, seen)] == []


def _quote(exchange: Exchange) -> List[Any]:
    said = {"error": {"message": f"bad: {exchange.body.decode()} {exchange.headers}"}}
    return after_model_list(http_answer(said, status="400 No"))(exchange)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_no_error_shows_a_message_in_any_form(kind: str) -> None:
    with ScriptedServer(_quote) as server:
        with make(kind, server, headers={"X-Api-Key": KEY}) as provider:
            for form in _FORMS.values():
                for system in (None, PROMPT):
                    with pytest.raises(ProviderError) as caught:
                        provider.chat(form(), system=system)
                    _assert_hidden(caught.value)


def test_no_error_of_a_wrong_form_shows_the_message() -> None:
    with ScriptedServer(good) as server, make("openai", server) as provider:
        for name, form in _WRONG.items():
            for call in (provider.chat, provider.stream):
                with pytest.raises((ValueError, TypeError)) as caught:
                    call(form())
                _assert_hidden(caught.value)
            assert server.exchanges == [], name


def test_no_repr_shows_a_message_in_any_form() -> None:
    for form in _FORMS.values():
        request = CompletionRequest(messages=as_messages(form(), PROMPT))
        assert PROMPT not in f"{request!r}{request.messages!r}{vars(request)}"


def test_no_form_of_a_message_leaves_the_machine(reached: List[Any]) -> None:
    for form in _FORMS.values():
        for kind in PROVIDERS:
            with make(kind, "http://192.0.2.7:9", headers={"X-Team": "a"}) as provider:
                with pytest.raises(LocalityError) as caught:
                    provider.chat(form())
                _assert_hidden(caught.value)
    assert reached == []
