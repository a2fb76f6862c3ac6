"""Ollama's JSON: encoded requests and parsed responses."""

from __future__ import annotations

import json
import math
from typing import Any, Dict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localproviders import errors
from localproviders._dialect.values import parse_timestamp
from localproviders.ollama.wire.requests import completion_payload, embed_payload, message_payload
from localproviders.ollama.wire.responses import ChunkParser
from localproviders.types import (
    CompletionRequest,
    EmbeddingRequest,
    Image,
    Message,
    ServerTimings,
    Tool,
    ToolCall,
    Usage,
)

_CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
_SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"options": {"num_predict": 5}}),
        ({"temperature": 0}, {"options": {"temperature": 0}}),
        ({"top_p": 0.5, "top_k": 3}, {"options": {"top_p": 0.5, "top_k": 3}}),
        ({"min_p": 0.1, "seed": 0}, {"options": {"min_p": 0.1, "seed": 0}}),
        ({"repeat_penalty": 1.1}, {"options": {"repeat_penalty": 1.1}}),
        ({"presence_penalty": -1}, {"options": {"presence_penalty": -1}}),
        ({"frequency_penalty": 1}, {"options": {"frequency_penalty": 1}}),
        # With a window, the caller decides how the model is loaded; so the window does not slide.
        ({"context_length": 4096}, {"options": {"num_ctx": 4096}, "shift": False}),
        (
            {"context_length": 4096, "overflow": "allow"},
            {"options": {"num_ctx": 4096}, "truncate": None},
        ),
        (
            {"context_length": 4096, "overflow": "truncate"},
            {"options": {"num_ctx": 4096}, "truncate": True},
        ),
        (
            {"context_length": 4096, "extra_body": {"shift": True}},
            {"options": {"num_ctx": 4096}, "shift": True},
        ),
        ({"extra_body": {"options": {"num_ctx": 4096}}}, {"options": {"num_ctx": 4096}}),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"thinking": False}, {"think": False}),
        ({"thinking": "high"}, {"think": "high"}),
        ({"response_schema": _SCHEMA}, {"format": _SCHEMA}),
        ({"response_schema": {}}, {"format": {}}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"keep_alive": 0}, {"keep_alive": 0}),
        ({"keep_alive": math.inf}, {"keep_alive": -1}),
        ({"overflow": "truncate"}, {"truncate": True}),
        ({"overflow": "allow"}, {"truncate": None}),
        ({"extra_body": {"options": {"x": 1}}, "seed": 2}, {"options": {"seed": 2, "x": 1}}),
        ({"extra_body": {"x": 1, "stream": False}}, {"x": 1, "stream": False}),
        (
            {"tools": [Tool(name="f", description="d", parameters=_SCHEMA)]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "d", "parameters": _SCHEMA},
                    }
                ]
            },
        ),
    ],
)
def test_each_field_goes_where_the_server_has_it(fields: Any, sent: Dict[str, Any]) -> None:
    request = CompletionRequest(messages=(Message.user("hi"),), **fields)
    expected = {**_CHAT, "truncate": False, **sent}
    expected = {key: value for key, value in expected.items() if value is not None}
    assert completion_payload(request, "m") == ("/api/chat", expected)


@pytest.mark.parametrize(
    ("fields", "sent"), [({}, {"raw": True}), ({"suffix": "s"}, {"suffix": "s"})]
)
def test_a_prompt_is_raw_except_with_a_suffix(fields: Any, sent: Dict[str, Any]) -> None:
    path, payload = completion_payload(CompletionRequest(prompt="p", **fields), "m")
    assert path == "/api/generate"
    assert payload == {"model": "m", "stream": True, "prompt": "p", "truncate": False, **sent}


_PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
_CALL = ToolCall(id="c", name="f", arguments={"x": 1})


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (Message.user("u", [_PNG]), {"role": "user", "content": "u", "images": [_PNG.base64]}),
        (
            Message.assistant(tool_calls=[_CALL]),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}],
            },
        ),
        (
            Message.tool("r", _CALL),
            {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "c"},
        ),
    ],
)
def test_each_message_goes_as_the_server_has_it(message: Message, sent: Dict[str, Any]) -> None:
    assert message_payload(message) == sent


def test_an_embedding_says_whether_it_may_be_cut() -> None:
    request = EmbeddingRequest(texts=["a"], dimensions=3, keep_alive=math.inf)
    expected = {"model": "m", "input": ["a"], "truncate": False, "dimensions": 3, "keep_alive": -1}
    assert embed_payload(request, "m") == expected


@pytest.mark.parametrize("decimals", ["", *("." + "123456789"[:n] for n in range(1, 10))])
@pytest.mark.parametrize(("zone", "hours"), [("Z", 0), ("+02:00", 2), ("-07:00", -7)])
def test_a_date_is_read_with_any_number_of_decimals(decimals: str, zone: str, hours: int) -> None:
    date = parse_timestamp(f"2026-01-02T03:04:05{decimals}{zone}")
    assert date is not None
    assert date.microsecond == int(f"{decimals[1:7]:0<6}")
    offset = date.utcoffset()
    assert offset is not None
    assert offset.total_seconds() == hours * 3600


@pytest.mark.parametrize("text", [None, "", 5, "soon", "2026-13-02T03:04:05Z", "2026-01-02"])
def test_a_date_that_is_none_is_nothing(text: Any) -> None:
    assert parse_timestamp(text) is None


def _parse(data: Any) -> Any:
    return ChunkParser(100).parse(json.dumps(data))


def test_the_last_record_brings_numbers_in_seconds() -> None:
    numbers = {"prompt_eval_count": 3, "eval_count": 4, "load_duration": 1_500_000_000}
    chunk = _parse({"message": {"content": "a"}, "done": True, "done_reason": "stop", **numbers})
    assert (chunk.text, chunk.finish_reason) == ("a", "stop")
    assert chunk.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert chunk.server_timings == ServerTimings(load_s=1.5)


@pytest.mark.parametrize(("reason", "what"), [("load", "loaded"), ("unload", "unloaded")])
def test_a_response_without_an_answer_names_what_the_server_did(reason: str, what: str) -> None:
    record = {"model": "m", "message": {"content": ""}, "done": True, "done_reason": reason}
    with pytest.raises(errors.ProtocolError, match=f"^the server {what} the model instead"):
        _parse(record)


@pytest.mark.parametrize("name", ["total_duration", "load_duration", "eval_duration"])
def test_an_absurd_number_is_a_value_or_a_typed_error(name: str) -> None:
    try:
        _parse({"done": True, "message": {}, name: 10**399})
    except errors.ProviderError:
        pass


_KEYS = "message content thinking tool_calls function name arguments id logprobs".split()
_KEYS += "token logprob bytes done_reason response error model eval_count".split()
_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.sampled_from(["", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(_KEYS), _ODD), st.booleans())
def test_any_record_is_a_chunk_or_one_typed_error(data: Any, done: bool) -> None:
    try:
        _parse({**data, "done": done})
    except errors.ProviderError:
        pass


def _calls(*calls: Any) -> Any:
    return _parse({"done": False, "message": {"content": "", "tool_calls": list(calls)}})


@pytest.mark.parametrize("calls", [5, 1.5, True, "f", {"a": 1}])
def test_tool_calls_that_are_no_list_are_refused_in_these_words(calls: Any) -> None:
    with pytest.raises(errors.ToolCallError, match="are not a list"):
        _parse({"done": False, "message": {"content": "", "tool_calls": calls}})


@pytest.mark.parametrize("calls", [None, [], {}, "", 0, False])
def test_what_is_empty_is_no_tool_call(calls: Any) -> None:
    assert _parse({"done": False, "message": {"content": "", "tool_calls": calls}}).tool_calls == ()


def test_calls_without_an_id_are_numbered_from_one_over_all_records() -> None:
    parser = ChunkParser(100)
    call = {"function": {"name": "f", "arguments": {}}}
    ids = []
    for calls in ([call, call], [{**call, "id": "theirs"}, call]):
        record = {"done": False, "message": {"content": "", "tool_calls": calls}}
        ids += [each.id for each in parser.parse(json.dumps(record)).tool_calls]
    assert ids == ["call_1", "call_2", "theirs", "call_4"]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ({"city": "Oslo"}, {"city": "Oslo"}),
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        (json.dumps('{"city": "Oslo"}'), {"city": "Oslo"}),
        ("null", {}),
        ("", {}),
        (" ", {}),
        ("{}", {}),
        ("[]", {}),
        ([], {}),
        (None, {}),
    ],
)
def test_arguments_are_read_in_each_plain_shape(arguments: Any, read: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    (found,) = _calls(call).tool_calls
    assert found.arguments == read

    single = _parse({"done": False, "message": {"content": "", "tool_calls": call}})
    assert single.tool_calls[0].arguments == read


@pytest.mark.parametrize("name", ["thinking", "reasoning", "reasoning_content"])
def test_thinking_is_read_under_the_names_of_other_servers(name: str) -> None:
    parser = ChunkParser(100)
    pieces = []
    for piece in ("one ", "two ", "three"):
        record = json.dumps({"message": {"content": "", name: piece}, "done": False})
        chunk = parser.quick(record) or parser.parse(record)
        pieces.append(chunk.thinking)
    assert pieces == ["one ", "two ", "three"]


def test_a_call_without_function_is_read() -> None:
    flat = {"name": "f", "arguments": {"x": 1}}
    (found,) = _calls(flat).tool_calls
    (single,) = _parse({"done": False, "message": {"content": "", "tool_calls": flat}}).tool_calls
    assert (found.name, found.arguments) == (single.name, single.arguments) == ("f", {"x": 1})


@pytest.mark.parametrize("name", ["parameters", "input", "args"])
def test_arguments_are_read_under_other_names(name: str) -> None:
    (found,) = _calls({"function": {"name": "f", name: {"city": "Oslo"}}}).tool_calls
    assert found.arguments == {"city": "Oslo"}

    (found,) = _calls({"function": {"name": "f", "arguments": {}, name: {"x": 1}}}).tool_calls
    assert found.arguments == {}


@pytest.mark.parametrize(
    "arguments", ['{"city": ', "Oslo", '"Oslo"', "[1]", "5", 5, True, ["x"], 0]
)
def test_arguments_that_are_no_object_are_refused(arguments: Any) -> None:
    with pytest.raises(errors.ToolCallError, match="are not an object"):
        _calls({"function": {"name": "f", "arguments": arguments}})


@pytest.mark.parametrize("message", ["Hello, world", ["Hello"], 5, True, "", 0])
@pytest.mark.parametrize("done", [False, True])
def test_a_message_of_the_wrong_type_is_no_empty_answer(message: Any, done: bool) -> None:
    with pytest.raises(errors.ProtocolError, match="readable message"):
        _parse({"message": message, "done": done})


def test_null_for_a_message_is_no_empty_piece() -> None:
    with pytest.raises(errors.ProtocolError, match="readable message"):
        _parse({"message": None, "done": False})


@pytest.mark.parametrize(
    "reason", ["error", "network_error", "abort", "cancelled", "timeout", "ERROR"]
)
def test_a_finish_reason_that_is_an_error_is_one(reason: str) -> None:
    parser = ChunkParser(100)
    with pytest.raises(errors.ServerError, match=f"finish reason '{reason}'"):
        parser.parse(
            json.dumps({"message": {"content": "Hi"}, "done": True, "done_reason": reason})
        )
    assert parser.held == "Hi"


@pytest.mark.parametrize("record", [{}, {"message": None}])
def test_an_answer_without_any_message_is_no_empty_answer(record: Any) -> None:
    with pytest.raises(errors.ProtocolError, match="no message"):
        _parse({**record, "done": True})

    parser = ChunkParser(100)
    parser.parse('{"message": {"content": "Hello"}, "done": false}')
    assert parser.parse(json.dumps({**record, "done": True})).text == ""
    assert parser.ended


def test_null_beside_a_response_is_a_plain_completion() -> None:
    assert _parse({"message": None, "response": "<think>", "done": True}).text == "<think>"


def test_text_of_a_refused_record_is_held() -> None:
    parser = ChunkParser(100)
    parser.parse('{"message": {"content": "<thin"}, "done": false}')
    with pytest.raises(errors.ToolCallError):
        parser.parse('{"message": {"content": "g", "tool_calls": [5]}, "done": false}')
    assert parser.held == "<thing"
