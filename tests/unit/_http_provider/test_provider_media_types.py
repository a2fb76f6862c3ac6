"""A stream under a wrong media type is read, and another kind of body stays an error."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest

from localproviders import ProviderError
from localproviders.testing import ScriptedServer, http_answer
from tests.support.covering import in_usual_run
from tests.support.locality import after_model_list, make

_WORDS = ["Hello", ", ", "world"]
_WRONG = ["application/json", "text/plain", "text/html", "application/octet-stream", "x/y", ""]


def _records(kind: str) -> List[str]:
    if kind == "ollama":
        last: Dict[str, Any] = {"message": {"content": ""}, "done": True, "done_reason": "stop"}
        said = [{"message": {"content": word}, "done": False} for word in _WORDS]
        return [json.dumps({"model": "m", **record}) for record in [*said, last]]
    choices: List[Any] = [{"index": 0, "delta": {"content": word}} for word in _WORDS]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    return [*(json.dumps({"model": "m", "choices": [choice]}) for choice in choices), "[DONE]"]


def _whole(kind: str) -> Dict[str, Any]:
    message = {"role": "assistant", "content": "Hello, world"}
    if kind == "ollama":
        return {"model": "m", "message": message, "done": True, "done_reason": "stop"}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _sse(kind: str, end: str = "\n\n") -> str:
    return "".join(f"data: {record}{end}" for record in _records(kind))


_SHAPES = {
    "events": _sse,
    "events without a blank": lambda kind: _sse(kind).replace("data: ", "data:"),
    "events with CRLF": lambda kind: _sse(kind, "\r\n\r\n"),
    "events after a comment": lambda kind: ": ping\n\n" + _sse(kind),
    "events after a name": lambda kind: "event: chunk\nid: 1\n" + _sse(kind),
    "events after blank lines": lambda kind: "\n\r\n \n" + _sse(kind).lstrip(),
    "events after a BOM": lambda kind: "\ufeff" + _sse(kind),
    "events parted by one line end": lambda kind: _sse(kind, "\n"),
    "whole": lambda kind: json.dumps(_whole(kind)),
    "whole, on many lines": lambda kind: json.dumps(_whole(kind), indent=2) + "\n",
    "lines": lambda kind: "\n".join(_records(kind)) + "\n",
    "lines with CRLF": lambda kind: "\r\n".join(_records(kind)),
    "lines after a blank line": lambda kind: "\n" + "\n".join(_records(kind)),
    "lines with blank lines between": lambda kind: "\n\n".join(_records(kind)),
}


def _ask(kind: str, body: str, content_type: str, size: int) -> str:
    answer = http_answer(body, content_type=content_type, chunked=True, chunk_size=size)
    with ScriptedServer(after_model_list(answer)) as server, make(kind, server) as provider:
        return str(provider.chat("hi").text)


@pytest.mark.sample(31)
@pytest.mark.parametrize("size", in_usual_run([1, 50, 100_000], lambda size: size == 1))
@pytest.mark.parametrize("content_type", _WRONG)
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("kind", ["ollama", "openai", "lmstudio"])
def test_the_first_bytes_tell_what_the_body_is(
    kind: str, shape: str, content_type: str, size: int
) -> None:
    assert _ask(kind, _SHAPES[shape](kind), content_type, size) == "Hello, world"


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("kind", ["openai", "lmstudio"])
def test_events_parted_by_one_line_end_are_read_under_their_own_type(kind: str, size: int) -> None:
    assert _ask(kind, _sse(kind, "\n"), "text/event-stream", size) == "Hello, world"


def _cut(text: str) -> str:
    return text[: text.index("world")]


_LOST = {
    "a page": lambda kind: "<!DOCTYPE html><title>Log in</title>",
    "a page after blanks": lambda kind: "\n\n  <html>data: x</html>",
    "words": lambda kind: "data are not here",
    "nothing": lambda kind: "",
    "blanks": lambda kind: "\n \n",
    "a comment": lambda kind: ": ping\n\n",
    "cut events": lambda kind: _cut(_sse(kind)),
    "cut events parted by one line end": lambda kind: _cut(_sse(kind, "\n")),
    "cut lines": lambda kind: _cut("\n".join(_records(kind))),
    "cut whole": lambda kind: _cut(json.dumps(_whole(kind))),
    "the beginning of a line": lambda kind: _records(kind)[0][:-2],
    "one record": lambda kind: f"data: {_records(kind)[0]}\n\n",
    "a list": lambda kind: f"[{','.join(_records(kind)[:3])}]",
    "an error": lambda kind: '{"error": "no"}\n',
    "an error after a record": lambda kind: _records(kind)[0] + '\n{"error": "no"}\n',
    "blanks after a record": lambda kind: _records(kind)[0] + "\n" * 3000,
    "words after a record": lambda kind: _records(kind)[0] + "\nwords\n",
}


@pytest.mark.sample(13)
@pytest.mark.parametrize("size", in_usual_run([1, 100_000], lambda size: size == 1))
@pytest.mark.parametrize("content_type", _WRONG)
@pytest.mark.parametrize("shape", _LOST)
@pytest.mark.parametrize("kind", ["ollama", "openai", "lmstudio"])
def test_what_is_lost_or_different_stays_an_error(
    kind: str, shape: str, content_type: str, size: int
) -> None:
    with pytest.raises(ProviderError):
        _ask(kind, _LOST[shape](kind), content_type, size)
