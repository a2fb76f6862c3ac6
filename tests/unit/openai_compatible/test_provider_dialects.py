"""Each tolerated shape of an answer: one row here, and one in docs/dialects.md."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type

import pytest

from localproviders import (
    CompletionRequest,
    CompletionResponse,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RepetitionError,
    RetryPolicy,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    ToolCallError,
)
from localproviders.testing import ScriptedServer, http_answer
from localproviders.types import ServerTimings, Usage
from tests.support.docs import ROOT

_DONE = b"data: [DONE]\n\n"


class Row(NamedTuple):
    """Records of a stream, what the answer then has, and the same answer as one body."""

    records: List[Any]
    expected: Dict[str, Any]
    whole: Any = None
    done: bool = True
    prompt: bool = False
    tagged: bool = False


def _delta(delta: Any, reason: Optional[str] = None, **more: Any) -> Dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, **more}
    return {"choices": [choice]}


def _said(content: Any, reason: Optional[str] = None, **more: Any) -> Dict[str, Any]:
    return _delta({"content": content}, reason, **more)


def _whole(message: Any, reason: Optional[str] = "stop", **more: Any) -> Dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], **more}


def _both(text: str, reason: Optional[str] = None) -> Dict[str, Any]:
    return _delta({"content": text}, reason, message={"role": "assistant", "content": text})


def _pieces(*pieces: Any, reason: Optional[str] = None) -> Dict[str, Any]:
    return _delta({"tool_calls": list(pieces)}, reason)


def _piece(name: Any = None, arguments: Any = None, **more: Any) -> Dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    named = {key: value for key, value in function.items() if value is not None}
    return {"type": "function", "function": named, **more}


_STOP = _said("", "stop")
_CALLED = _delta({}, "tool_calls")
_OSLO, _BERGEN = '{"city": "Oslo"}', '{"city": "Bergen"}'
_ONE = {"tool_calls": [("weather", {"city": "Oslo"})]}
_TWO = {"tool_calls": [("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"})]}
_HI = {"text": "Hello", "finish_reason": "stop"}
_FOUR = {"text": "four", "thinking": "hm", "thinking_inferred": True}
_APART = {"text": "four", "thinking": "hm", "thinking_inferred": False}


def _call(piece: Any, expected: Dict[str, Any]) -> Row:
    """A call that comes in one piece, streamed and whole."""
    whole = _whole({"content": None, "tool_calls": [piece]}, "tool_calls")
    return Row([_pieces(piece), _CALLED], expected, whole)


def _tags(text: str, expected: Dict[str, Any] = _FOUR) -> Row:
    """A text that comes letter by letter, and whole."""
    records = [*(_said(letter) for letter in text), _STOP]
    return Row(records, expected, _whole({"content": text}), tagged=True)


def _parts(*parts: Any) -> Row:
    return Row(
        [*(_said([part]) for part in parts), _STOP], _APART, _whole({"content": list(parts)})
    )


_DETAIL = {"type": "reasoning.text", "text": "hm", "index": 0}


def _details(*details: Any) -> Row:
    """The details of OpenRouter without the field `reasoning`, each in a record, and whole."""
    records = [_delta({"content": "", "reasoning_details": [each]}) for each in details]
    whole = _whole({"content": "four", "reasoning_details": list(details)})
    return Row([*records, _said("four"), _STOP], _APART, whole)


def _logs(entry: Any, expected: Any) -> Row:
    logprobs = {"content": [entry, {"token": "b", "logprob": -1.0}]}
    choice = {"message": {"content": "ab"}, "finish_reason": "stop", "logprobs": logprobs}
    return Row(
        [_said("ab", "stop", logprobs=logprobs)],
        {"text": "ab", "logprobs": [*expected, ("b", -1.0)]},
        {"choices": [choice]},
    )


def _used(usage: Any, expected: Usage, **more: Any) -> Row:
    record = {"choices": [], "usage": usage, **more}
    return Row(
        [_said("Hello"), _STOP, record],
        {**_HI, "usage": expected},
        _whole({"content": "Hello"}, usage=usage, **more),
    )


_TEXT_PART = {"type": "text", "text": "four"}
_X_GROQ = {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_time": 0.5,
                     "completion_time": 0.25, "total_time": 0.75}}  # fmt: skip

ROWS: Dict[str, Row] = {
    # --- records ------------------------------------------------------------------------------
    "message beside delta": Row([_both("Hel"), _both("lo"), _both("", "stop")], _HI),
    "empty message beside empty delta first": Row(
        [_both(""), _both("Hel"), _both("lo"), _both("", "stop")], _HI
    ),
    "message so far beside delta": Row(
        [
            _delta({"content": "Hel"}, message={"content": "Hel"}),
            _delta({"content": "lo"}, "stop", message={"content": "Hello"}),
        ],
        _HI,
    ),
    "whole message in the last record": Row(
        [_said("Hel"), _said("lo"), _delta({}, "stop", message={"content": "Hello"})], _HI
    ),
    "whole message with calls in the last record": Row(
        [
            _said("Hello"),
            _delta({}, "stop", message={"content": "Hello", "tool_calls": [_piece("f", "{}")]}),
        ],
        {"text": "Hello", "tool_calls": [("f", {})]},
    ),
    "message instead of delta": Row([_whole({"content": "Hello"})], _HI),
    "message beside a delta with the role alone": Row(
        [_delta({"role": "assistant"}, "stop", message={"content": "Hello"})], _HI
    ),
    "text beside delta": Row(
        [_said("Hel", text="Hel"), _said("lo", text="lo"), _said("", "stop", text="")], _HI
    ),
    "whole text in the last record": Row(
        [_said("Hello"), _delta({}, "stop", text="Hello")], _HI
    ),
    "plain completion": Row(
        [{"choices": [{"text": "<think>a</think>"}]}, {"choices": [{"text": "", "finish_reason": "stop"}]}],
        {"text": "<think>a</think>", "thinking": ""},
        {"choices": [{"text": "<think>a</think>", "finish_reason": "stop"}]},
        prompt=True,
    ),
    "choices null": Row(
        [_said("Hello"), _STOP, {"choices": None, "usage": {"prompt_tokens": 3}}],
        {**_HI, "usage": Usage(prompt_tokens=3)},
    ),
    "no choices": Row(
        [{"choices": None}, {"sources": []}, {"type": "ping"}, _said("Hello"), _STOP], _HI
    ),
    "choices empty": Row(
        [{"choices": [], "prompt_filter_results": [{"hate": "safe"}]}, _said("Hello"), _STOP], _HI
    ),
    "progress": Row(
        [{"prompt_progress": {"total": 9, "processed": 3}}, _said("Hello"), _STOP], _HI
    ),
    "event without data": Row([b"data:\n\n", b"data: \n\n", _said("Hello"), b"data:\n\n", _STOP], _HI),
    "named ping": Row([b'event: ping\ndata: {"type": "ping"}\n\n', _said("Hello"), _STOP], _HI),
    "no mark at the end": Row([_said("Hello"), _STOP], _HI, done=False),
    "record after the finish reason": Row([_said("Hello"), _STOP, _said("")], _HI),
    "error without a text": Row(
        [{**_said("Hello"), "error": ""}, {**_STOP, "error": ""}],
        _HI,
        {**_whole({"content": "Hello"}), "error": ""},
    ),
    "error that is false": Row(
        [{**_said("Hello"), "error": False}, {**_STOP, "error": False}],
        _HI,
        {**_whole({"content": "Hello"}), "error": False},
    ),
    "finish reason null as a text": Row([_said("Hello", "null"), _STOP], _HI),
    "index that counts": Row(
        [_said("Hel", index=1), _said("lo", index=2), _said("", "stop", index=3)], _HI
    ),
    "constant index": Row([_said("Hello", index=2), _said("", "stop", index=2)], _HI),
    # --- parts --------------------------------------------------------------------------------
    "thinking parts": _parts(
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, _TEXT_PART
    ),
    "thinking part as a text": _parts({"type": "thinking", "thinking": "hm"}, _TEXT_PART),
    "reasoning part": _parts({"type": "reasoning", "text": "hm"}, "four"),
    "references": _parts(
        {"type": "reasoning", "reasoning": "hm"}, _TEXT_PART, {"type": "reference", "ids": [1, 2]}
    ),
    "part instead of a list": Row([_said(_TEXT_PART, "stop")], {"text": "four"}),
    "refusal": Row(
        [_delta({"refusal": "No."}, "stop")],
        {"text": "No.", "warnings": ("the service refused to answer: the text is no answer",)},
        _whole({"refusal": "No."}),
    ),
    # --- calls --------------------------------------------------------------------------------
    "index null": _call(_piece("weather", _OSLO, index=None, id="a"), _ONE),
    "index as a text": _call(_piece("weather", _OSLO, index="0", id="a"), _ONE),
    "index as a float": _call(_piece("weather", _OSLO, index=0.0, id="a"), _ONE),
    "no index, no id": _call(_piece("weather", _OSLO), _ONE),
    "empty id": _call(_piece("weather", _OSLO, id="", index=0), _ONE),
    "arguments as an object": _call(_piece("weather", {"city": "Oslo"}), _ONE),
    "arguments twice encoded": _call(_piece("weather", json.dumps(_OSLO)), _ONE),
    "arguments null": _call(_piece("now", "null"), {"tool_calls": [("now", {})]}),
    "arguments empty": _call(_piece("now", ""), {"tool_calls": [("now", {})]}),
    "no arguments": _call(_piece("now"), {"tool_calls": [("now", {})]}),
    "arguments as an empty list": _call(_piece("now", []), {"tool_calls": [("now", {})]}),
    "call without function": _call({"id": "a", "name": "weather", "arguments": _OSLO}, _ONE),
    "line breaks in the strings of arguments": _call(
        _piece("weather", '{"city": "Os\n\tlo\u00e9 \\n \\\\",\n "x": 1}'),
        {"tool_calls": [("weather", {"city": "Os\n\tlo\u00e9 \n \\", "x": 1})]},
    ),
    "parameters instead of arguments": _call(
        {"id": "a", "function": {"name": "weather", "parameters": {"city": "Oslo"}}}, _ONE
    ),
    "input instead of arguments": _call(
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Oslo"}}, _ONE
    ),
    "args instead of arguments": _call(
        {"function": {"name": "weather", "args": {"city": "Oslo"}}}, _ONE
    ),
    "schema of a tool beside its description": _call(
        {"function": {"name": "now", "description": "d", "parameters": {"type": "object"}}},
        {"tool_calls": [("now", {})]},
    ),
    "calls as an object": Row(
        [
            _delta({"tool_calls": _piece("weather", "", index=0, id="a")}),
            _delta({"tool_calls": _piece(None, _OSLO, index=0, id="a")}),
            _CALLED,
        ],
        _ONE,
        _whole({"tool_calls": _piece("weather", _OSLO)}, "tool_calls"),
    ),
    "whole calls one after another": Row(
        [_pieces(_piece("weather", _OSLO)), _pieces(_piece("weather", _BERGEN)), _CALLED], _TWO
    ),
    "whole calls with one index": Row(
        [
            _pieces(_piece("weather", _OSLO, index=0)),
            _pieces(_piece("weather", _BERGEN, index=0)),
            _CALLED,
        ],
        _TWO,
    ),
    "whole calls with one index in one record": Row(
        [
            _pieces(_piece("weather", _OSLO, index=0), _piece("weather", _BERGEN, index=0)),
            _CALLED,
        ],
        _TWO,
        _whole(
            {"tool_calls": [_piece("weather", _OSLO, index=0), _piece("weather", _BERGEN, index=0)]}
        ),
    ),
    "whole calls with one id": Row(
        [
            _pieces(_piece("weather", _OSLO, index=0, id="a")),
            _pieces(_piece("weather", _BERGEN, index=0, id="a")),
            _CALLED,
        ],
        _TWO,
    ),
    "whole calls with empty ids": Row(
        [
            _pieces(_piece("weather", _OSLO, id="")),
            _pieces(_piece("weather", _BERGEN, id="")),
            _CALLED,
        ],
        _TWO,
    ),
    "empty object before the arguments": Row(
        [
            _pieces(_piece("weather", "{}", index=0, id="a")),
            _pieces(_piece(None, '{"city": ', index=0)),
            _pieces(_piece(None, '"Oslo"}', index=0)),
            _CALLED,
        ],
        _ONE,
    ),
    "id and name repeated": Row(
        [
            _pieces(_piece("weather", '{"city": ', index=0, id="a")),
            _pieces(_piece("weather", '"Oslo"}', index=0, id="a")),
            _CALLED,
        ],
        _ONE,
    ),
    "pieces without index": Row(
        [
            _pieces(_piece("weather", '{"city": ', id="a")),
            _pieces(_piece(None, '"Oslo"}')),
            _pieces({"extra_content": {"signature": "s"}}),
            _CALLED,
        ],
        _ONE,
    ),
    "pieces of two calls without index": Row(
        [
            _pieces(_piece("weather", "", id="a")),
            _pieces(_piece(None, _OSLO)),
            _pieces(_piece("weather", "", id="b")),
            _pieces(_piece(None, _BERGEN)),
            _CALLED,
        ],
        _TWO,
    ),
    "arguments under another index": Row(
        [
            _pieces(_piece("weather", "", index=0, id="a")),
            _pieces(_piece(None, '{"city": ', index=1)),
            _pieces(_piece(None, '"Oslo"}', index=1)),
            _CALLED,
        ],
        _ONE,
    ),
    "name in pieces": Row(
        [
            _pieces(_piece("wea", "", index=0, id="a")),
            _pieces(_piece("ther", _OSLO, index=0)),
            _CALLED,
        ],
        _ONE,
    ),
    "name so far": Row(
        [
            _pieces(_piece("wea", "", index=0, id="a")),
            _pieces(_piece("weather", "", index=0, id="a")),
            _pieces(_piece(None, _OSLO, index=0)),
            _CALLED,
        ],
        _ONE,
    ),
    "function call": Row(
        [
            _delta({"function_call": {"name": "weather", "arguments": ""}}),
            _delta({"function_call": {"arguments": _OSLO}}),
            _delta({}, "function_call"),
        ],
        {**_ONE, "finish_reason": "function_call"},
        _whole({"function_call": {"name": "weather", "arguments": _OSLO}}, "function_call"),
    ),
    "function call beside tool calls": Row(
        [
            _delta(
                {
                    "tool_calls": [_piece("weather", _OSLO, index=0)],
                    "function_call": {"name": "weather", "arguments": _OSLO},
                }
            ),
            _CALLED,
        ],
        _ONE,
    ),
    # --- thinking -----------------------------------------------------------------------------
    "reasoning_content": Row(
        [_delta({"reasoning_content": "hm"}), _said("four"), _STOP],
        _APART,
        _whole({"reasoning_content": "hm", "content": "four"}),
    ),
    "reasoning": Row(
        [_delta({"reasoning": "hm"}), _said("four"), _STOP],
        _APART,
        _whole({"reasoning": "hm", "content": "four"}),
    ),
    "reasoning details": _details(
        {"type": "reasoning.text", "text": "h", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": "m", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": None, "signature": "Eo4B", "index": 0},
    ),
    "summary in reasoning details": _details(
        {"type": "reasoning.summary", "summary": "hm", "index": 0},
        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1},
    ),
    "reasoning details beside reasoning": Row(
        [
            _delta({"reasoning": "hm", "reasoning_details": [_DETAIL]}),
            _delta({"reasoning": None, "reasoning_details": [{**_DETAIL, "text": ""}]}),
            _said("four"),
            _STOP,
        ],
        _APART,
        _whole({"reasoning": "hm", "reasoning_details": [_DETAIL], "content": "four"}),
    ),
    "message with reasoning details after the deltas": Row(
        [
            _delta({"reasoning_details": [_DETAIL]}),
            _said("four"),
            _delta({}, "stop", message={"content": "four", "reasoning_details": [_DETAIL]}),
        ],
        _APART,
    ),
    "closing tag behind separate reasoning": Row(
        [_delta({"reasoning_content": "hm"}), *map(_said, "\n</think>\n\nfour"), _STOP],
        _APART,
        _whole({"reasoning_content": "hm", "content": "</think>\n\nfour"}),
    ),
    "think": _tags("<think>hm</think>\n\nfour"),
    "thinking": _tags("\n<thinking>hm</thinking>four"),
    "thought": _tags("<thought>hm</thought>four"),
    "reasoning tag": _tags("<reasoning>hm</reasoning>\nfour"),
    "THINK": _tags("[THINK]hm[/THINK]four"),
    "seed:think": _tags("<seed:think>hm</seed:think>four"),
    "begin_of_thought": _tags("<|begin_of_thought|>hm<|end_of_thought|>\n\nfour"),
    "START_THINKING": _tags("<|START_THINKING|>hm<|END_THINKING|>four"),
    "Kimi's tag": _tags("◁think▷hm◁/think▷four"),
    "closing tag alone at the beginning": _tags("</think>\n\nfour", {"text": "four", "thinking": ""}),
    "channels": _tags(
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>four"
    ),
    "channels with their first and last mark": _tags(
        "<|start|>assistant<|channel|>analysis<|message|>h<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>m<|end|>"
        "<|start|>assistant<|channel|>final<|message|>four<|return|>"
    ),
    "channels without their starts": _tags(
        "<|channel|>analysis<|message|>hm<|channel|>final<|message|>four"
    ),
    "channel of comments": _tags(
        "<|channel|>commentary<|message|>fo<|end|><|start|>assistant<|channel|>final<|message|>ur",
        {"text": "four", "thinking": ""},
    ),
    "channel cut off": _tags(
        "<|channel|>analysis<|message|>hm <|en", {"text": "", "thinking": "hm <|en"}
    ),
    # --- log-probabilities --------------------------------------------------------------------
    "log-probability null": _logs({"token": "a", "logprob": None}, []),
    "log-probability infinite": _logs({"token": "a", "logprob": float("-inf")}, []),
    "probability": _logs({"token": "a", "prob": 1.0, "top_probs": [{"token": "c", "prob": 0.0}]}, [("a", 0.0)]),
    # --- facts --------------------------------------------------------------------------------
    "usage in the choice": Row(
        [_said("Hello"), _said("", "stop", usage={"prompt_tokens": 3})],
        {**_HI, "usage": Usage(prompt_tokens=3)},
    ),
    "usage of Groq": Row(
        [_said("Hello"), {**_STOP, "x_groq": _X_GROQ}],
        {
            "usage": Usage(prompt_tokens=3, completion_tokens=2),
            "server_timings": ServerTimings(prompt_s=0.5, generation_s=0.25, total_s=0.75),
        },
        _whole({"content": "Hello"}, x_groq=_X_GROQ),
    ),
    "reasoning tokens beside the details": _used(
        {"completion_tokens": 9, "reasoning_tokens": 7, "completion_tokens_details": None},
        Usage(completion_tokens=9, thinking_tokens=7),
    ),
    "cache hits": _used(
        {"prompt_tokens": 9, "prompt_cache_hit_tokens": 8}, Usage(prompt_tokens=9, cached_tokens=8)
    ),
    "durations of LM Studio": Row(
        [_said("Hello"), {**_STOP, "stats": {"time_to_first_token": 0.5, "generation_time": 2}}],
        {"server_timings": ServerTimings(prompt_s=0.5, generation_s=2.0)},
        _whole({"content": "Hello"}, stats={"time_to_first_token": 0.5, "generation_time": 2}),
    ),
}  # fmt: skip


def _body(row: Row) -> bytes:
    events = [
        record if isinstance(record, bytes) else b"data: " + json.dumps(record).encode() + b"\n\n"
        for record in row.records
    ]
    return b"".join(events) + (_DONE if row.done else b"")


_WAYS: Dict[str, Callable[[Row], Tuple[bytes, bool]]] = {
    "with a length": lambda row: (http_answer(_body(row), content_type="text/event-stream"), False),
    "chunked": lambda row: (
        http_answer(_body(row), content_type="text/event-stream", chunked=True, chunk_size=7),
        False,
    ),
    "byte by byte": lambda row: (
        http_answer(_body(row), content_type="text/event-stream", chunked=True),
        True,
    ),
    "one body": lambda row: (http_answer(row.whole), False),
}
_CASES = [
    pytest.param(name, way, id=f"{name}-{way}")
    for name, row in ROWS.items()
    for way in _WAYS
    if way != "one body" or row.whole is not None
]


def _ask(answer: bytes, one_byte: bool, prompt: bool = False) -> Tuple[CompletionResponse, Any]:
    """Return the response and the chunks of an answer."""
    request = (
        CompletionRequest(prompt="x")
        if prompt
        else CompletionRequest(messages=(Message.user("x"),))
    )
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        address = f"{server.url}/v1"
        with OpenAICompatibleProvider(address, model="m", retry=RetryPolicy(attempts=1)) as one:
            with one.stream_completion(request.replace(strict=False)) as stream:
                chunks = list(stream)
            return stream.result(), chunks


def _shown(name: str, value: Any) -> Any:
    if name == "tool_calls":
        return [(call.name, call.arguments) for call in value]
    if name == "logprobs":
        return [(entry.token, entry.logprob) for entry in value]
    return value


@pytest.mark.sample(100)
@pytest.mark.parametrize(("name", "way"), _CASES)
def test_a_tolerated_shape_is_read(name: str, way: str) -> None:
    row = ROWS[name]
    response, chunks = _ask(*_WAYS[way](row), row.prompt)

    found = {key: _shown(key, getattr(response, key)) for key in row.expected}
    assert found == row.expected
    # Nothing is given twice, and nothing is lost.
    assert "".join(chunk.text for chunk in chunks) == response.text
    assert "".join(chunk.thinking for chunk in chunks) == response.thinking
    is_only_thinking = response.thinking and not (response.text or response.tool_calls)
    assert "warnings" in found or len(response.warnings) == bool(is_only_thinking)
    assert len({call.id for call in response.tool_calls}) == len(response.tool_calls)


@pytest.mark.sample(7)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.tagged])
def test_thinking_in_the_text_of_ollama_is_read(name: str) -> None:
    lines = [
        {"message": {"content": _text_of(record)}, "done": False} for record in ROWS[name].records
    ]
    lines.append({"message": {"content": ""}, "done": True, "done_reason": "stop"})
    body = b"".join(json.dumps({"model": "m", **line}).encode() + b"\n" for line in lines)
    answer = http_answer(body, content_type="application/x-ndjson")
    models = http_answer({"models": [{"name": "m:latest", "model": "m:latest"}]})
    with ScriptedServer(lambda it: [models if it.method == "GET" else answer]) as server:
        with OllamaProvider(server.url, model="m") as ollama:
            response = ollama.chat("x")

    expected = ROWS[name].expected
    assert {key: getattr(response, key) for key in expected} == expected


def _text_of(record: Any) -> str:
    return str(record["choices"][0]["delta"]["content"])


def test_each_row_stands_in_the_page() -> None:
    page = (ROOT / "docs" / "dialects.md").read_text("utf-8")
    rows = [
        line.rpartition("| ")[2].rstrip(" |") for line in page.splitlines() if line.startswith("|")
    ]
    assert [name for name in (*ROWS, *ERRORS) if f"`{name}`" not in rows] == []


# --- what stays an error ------------------------------------------------------------------------


class Bad(NamedTuple):
    """Records of a stream, the error, and what it keeps."""

    records: List[Any]
    error: Type[ProviderError]
    partial: str = ""
    server_message: Optional[str] = None
    done: bool = True
    whole: Any = None


_UNKNOWN = {"type": "tool_use", "name": "f", "input": {"x": "y"}}

ERRORS: Dict[str, Bad] = {
    "no choice ever": Bad(
        [{"type": "ping"}, {"choices": [], "usage": {"prompt_tokens": 3}}],
        ProtocolError,
        whole={"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}},
    ),
    "no finish reason": Bad(
        [_said("Hel"), _said("lo")],
        StreamInterruptedError,
        "Hello",
        whole=_whole({"content": "Hello"}, None),
    ),
    "no finish reason and no mark": Bad([_said("Hello")], StreamInterruptedError, "Hello", done=False),
    "repetitions and no finish reason": Bad(
        [_said("So:"), *[_said(" ha")] * 31],
        RepetitionError,
        "So:" + " ha" * 31,
        done=False,
        whole=_whole({"content": "So:" + " ha" * 31}, None),
    ),
    "error in a choice": Bad(
        [_said("Hello"), {"choices": [{"error": {"code": 504, "message": "idle"}}]}],
        ServerBusyError,
        "Hello",
        "idle",
    ),
    "error in a delta": Bad(
        [_said("Hel"), _delta({"content": "lo", "error": {"message": "idle"}}, "error")],
        ServerError,
        "Hello",
        "idle",
        whole=_whole({"content": "Hello", "error": {"message": "idle"}}),
    ),
    "finish reason error": Bad(
        [_said("Hel"), _said("lo", "error")],
        ServerError,
        "Hello",
        whole=_whole({"content": "Hello"}, "error"),
    ),
    "finish reason abort": Bad(
        [_said("Hel"), _said("lo", "abort")],
        ServerError,
        "Hello",
        whole=_whole({"content": "Hello"}, "abort"),
    ),
    "finish reason timeout": Bad([_said("Hello", "timeout")], ServerError, "Hello"),
    "finish reason of a dropped call": Bad(
        [_said("Hi"), _delta({}, "function_call_filter: MALFORMED_FUNCTION_CALL")],
        ToolCallError,
        "Hi",
        whole=_whole({"content": "Hi"}, "malformed_function_call"),
    ),
    "finish reason of a call, but no call": Bad(
        [_delta({"reasoning": "hm"}), _CALLED],
        ToolCallError,
        whole=_whole({"content": "", "tool_calls": []}, "tool_calls"),
    ),
    "call cut before its arguments": Bad(
        [_pieces(_piece("f", "", index=0)), _delta({}, "model_length")],
        ToolCallError,
        whole=_whole({"tool_calls": [_piece("f", "")]}, "max_tokens"),
    ),
    "line break behind a backslash": Bad(
        [_pieces(_piece("f", '{"x": "a\\\nb"}')), _CALLED], ToolCallError
    ),
    "call cut by a filter before its arguments": Bad(
        [_pieces(_piece("f", "", index=0)), _delta({}, "content_filter")],
        ToolCallError,
        whole=_whole({"tool_calls": [_piece("f", "")]}, "content_filter"),
    ),
    "message of the wrong type": Bad([_whole("Hello")], ProtocolError, whole=_whole("Hello")),
    "no message": Bad(
        [_delta("Hello", "stop")],
        ProtocolError,
        whole={"choices": [{"index": 0, "finish_reason": "stop"}]},
    ),
    "choices of the wrong type": Bad(
        [_said("Hello"), {"choices": "x"}], ProtocolError, "Hello", whole={"choices": "x"}
    ),
    "several different messages": Bad(
        [_whole({"content": "A"}, None), _whole({"content": "B"})], ProtocolError, "A"
    ),
    "part of an unknown kind": Bad(
        [_said("Hello"), _said([_UNKNOWN], "stop")],
        ProtocolError,
        "Hello",
        whole=_whole({"content": [_UNKNOWN]}),
    ),
    "several choices": Bad([_said("A"), _said("B", index=1), _said("A", "stop")], ProtocolError, "AB"),
    "several choices behind each other": Bad(
        [_said("A"), _said("B"), _said("C"), _said("D", "stop", index=1)], ProtocolError, "ABC"
    ),
    "several choices at once": Bad(
        [{"choices": _said("A", "stop")["choices"] * 2}],
        ProtocolError,
        whole={"choices": _whole({"content": "A"})["choices"] * 2},
    ),
    "half a call": Bad(
        [_said("Hi"), _pieces(_piece("f", '{"x": ', index=0)), _CALLED],
        ToolCallError,
        "Hi",
        whole=_whole({"content": "Hi", "tool_calls": [_piece("f", '{"x": ')]}, "tool_calls"),
    ),
    "call that comes twice": Bad(
        [_pieces(_piece("weather", _OSLO, index=0, id="a"))] * 2 + [_CALLED], ToolCallError
    ),
    "delta without choices": Bad(
        [_said("Hello"), {"delta": {"content": "!"}}, _STOP], ProtocolError, "Hello"
    ),
    "text of another route": Bad(
        [_said("Hello"), {"content": "!", "stop": False}, _STOP], ProtocolError, "Hello"
    ),
    "text beside empty choices": Bad(
        [_said("Hello"), {"choices": [], "text": "!"}, _STOP], ProtocolError, "Hello"
    ),
    "message without choices": Bad(
        [_said("Hello"), _STOP, {"message": "it broke"}], ProtocolError, "Hello"
    ),
    "empty object twice as arguments": Bad(
        [
            _pieces(_piece("f", "{}", index=0, id="a")),
            _pieces(_piece(None, "{}", index=0)),
            _CALLED,
        ],
        ToolCallError,
    ),
    "arguments after complete arguments": Bad(
        [_pieces(_piece("f", _OSLO, index=0)), _pieces(_piece(None, _OSLO, index=0)), _CALLED],
        ToolCallError,
    ),
    "error that is an empty object": Bad(
        [_said("Hello"), {**_STOP, "error": {}}],
        ServerError,
        "Hello",
        server_message="{}",
        whole={**_whole({"content": "Hello"}), "error": {}},
    ),
    "empty object": Bad([{}, _said("Hello"), _STOP], ProtocolError, whole={}),
    "object for the text": Bad(
        [_said({"a": 1}), _STOP], ProtocolError, whole=_whole({"content": {"a": 1}})
    ),
    "half a call before another": Bad(
        [_pieces(_piece("f", '{"x": ')), _pieces(_piece("g", "{}")), _CALLED], ToolCallError
    ),
    "two calls without a name between them": Bad(
        [_pieces(_piece("f", _OSLO, index=0)), _pieces(_piece(None, _BERGEN, index=1)), _CALLED],
        ToolCallError,
    ),
    "arguments that could be those of two calls": Bad(
        [
            _pieces(_piece("f", "", index=0), _piece("g", "", index=1)),
            _pieces(_piece(None, _OSLO, index=2)),
            _CALLED,
        ],
        ToolCallError,
    ),
}  # fmt: skip


@pytest.mark.sample(9)
@pytest.mark.parametrize("way", ["with a length", "byte by byte", "one body"])
@pytest.mark.parametrize("name", sorted(ERRORS))
def test_what_could_be_a_loss_stays_an_error(name: str, way: str) -> None:
    bad = ERRORS[name]
    if way == "one body" and bad.whole is None:
        return
    row = Row(bad.records, {}, bad.whole, done=bad.done)
    with pytest.raises(ProviderError) as caught:
        _ask(*_WAYS[way](row))

    assert type(caught.value) is bad.error
    assert caught.value.server_message == bad.server_message
    if way != "one body":
        assert caught.value.partial == bad.partial


@pytest.mark.parametrize("cut", [b"d", b"data", b"data:", b"data: ", b"data: [DO", b": ping"])
def test_a_body_that_ends_within_a_line_ends_no_answer(cut: bytes) -> None:
    body = _body(Row([_said("Hello"), _STOP], {}, done=False)) + cut
    with pytest.raises(StreamInterruptedError) as caught:
        _ask(http_answer(body, content_type="text/event-stream"), one_byte=False)
    assert caught.value.partial == "Hello"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n", b"  \n", b": ping\n", b"data: [DONE]"])
def test_a_body_may_end_after_any_line(end: bytes) -> None:
    body = _body(Row([_said("Hello"), _STOP], {}, done=False)).rstrip(b"\n") + b"\n\n" + end
    found, _ = _ask(http_answer(body, content_type="text/event-stream"), one_byte=False)
    assert (found.text, found.finish_reason) == ("Hello", "stop")


def test_the_end_of_a_connection_alone_ends_no_answer() -> None:
    body = _body(Row([_said("Hello"), _STOP], {}, done=False))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    with ScriptedServer(lambda _: [head + body, lambda exchange: exchange.close()]) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model="m") as provider:
            with pytest.raises(StreamInterruptedError) as caught:
                provider.chat("x")
    assert caught.value.partial == "Hello"


# --- a lone closing tag -------------------------------------------------------------------------

_LONE = [_said("I "), _said("think.</th"), _said("ink>\n\nfo"), _said("ur"), _STOP]


def _ask_lone(records: List[Any]) -> Tuple[CompletionResponse, CompletionResponse, str]:
    """Return the response of `chat`, that of a stream, and the text of the stream's chunks."""
    answer = http_answer(_body(Row(records, {})), content_type="text/event-stream")
    with ScriptedServer(answer) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1", model="m") as provider:
            chatted = provider.chat("x")
            with provider.stream("x") as stream:
                text = "".join(chunk.text for chunk in stream)
            return chatted, stream.result(), text


def test_a_lone_closing_tag_is_read_at_the_end() -> None:
    chatted, streamed, text = _ask_lone(_LONE)

    for response in (chatted, streamed):
        assert (response.thinking, response.text) == ("I think.", "four")
        assert response.thinking_inferred
    assert text == "I think.</think>\n\nfour"
    assert chatted.warnings == ()
    assert len(streamed.warnings) == 1
    assert "streamed as text" in streamed.warnings[0]


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ('He said "hi"</think>\n\nfour', 'He said "hi"', "four"),
        ('hm</think>"four"', "hm", '"four"'),
        ("hm </think>\nfour", "hm ", "four"),
        ("```\na\n```\n</think>\n\nfour", "```\na\n```\n", "four"),
        ("hm[/THINK]four</think>", "hm", "four</think>"),
        ("hm</think>", "hm", ""),
    ],
)
def test_a_lone_closing_tag_is_read_in_each_place(text: str, thinking: str, answer: str) -> None:
    for response in _ask_lone([_said(text), _STOP])[:2]:
        assert (response.thinking, response.text) == (thinking, answer)


@pytest.mark.parametrize(
    "text",
    [
        "Write `</think>` to close it.",
        "The </think> tag ends it.",
        'It ends with "</think>".',
        "```\n<b>\n</think>\n```\n",
        "First <think>, then </think>\n",
        '{"end": "x</think>y"}',
        "It has no tag.",
    ],
)
def test_a_text_about_the_tag_is_left_alone(text: str) -> None:
    chatted, streamed, _ = _ask_lone([_said(text), _STOP])

    for response in (chatted, streamed):
        assert (response.thinking, response.text) == ("", text)
        assert not response.thinking_inferred
        assert response.warnings == ()


def test_what_is_held_back_is_in_the_partial_text() -> None:
    for begun in ("<thin", "[THI", "<|channel|>analy", "\n\n"):
        row = Row([_said(begun)], {}, done=False)
        with pytest.raises(StreamInterruptedError) as caught:
            _ask(*_WAYS["with a length"](row))
        assert caught.value.partial == begun
