"""Ollama's JSON, there and back."""

from __future__ import annotations

import json
import math
from typing import Any, Dict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localproviders import errors
from localproviders.ollama import wire
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
        ({"context_length": 4096}, {"options": {"num_ctx": 4096}}),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"thinking": False}, {"think": False}),
        ({"thinking": "high"}, {"think": "high"}),
        ({"response_schema": _SCHEMA}, {"format": _SCHEMA}),
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
    assert wire.completion_payload(request, "m") == ("/api/chat", expected)


@pytest.mark.parametrize(
    ("fields", "sent"), [({}, {"raw": True}), ({"suffix": "s"}, {"suffix": "s"})]
)
def test_a_prompt_is_raw_except_with_a_suffix(fields: Any, sent: Dict[str, Any]) -> None:
    path, payload = wire.completion_payload(CompletionRequest(prompt="p", **fields), "m")
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
    assert wire.message_payload(message) == sent


def test_an_embedding_says_whether_it_may_be_cut() -> None:
    request = EmbeddingRequest(texts=["a"], dimensions=3, keep_alive=math.inf)
    expected = {"model": "m", "input": ["a"], "truncate": False, "dimensions": 3, "keep_alive": -1}
    assert wire.embed_payload(request, "m") == expected


@pytest.mark.parametrize("decimals", ["", *("." + "123456789"[:n] for n in range(1, 10))])
@pytest.mark.parametrize(("zone", "hours"), [("Z", 0), ("+02:00", 2), ("-07:00", -7)])
def test_a_date_is_read_with_any_number_of_decimals(decimals: str, zone: str, hours: int) -> None:
    date = wire.parse_date(f"2026-01-02T03:04:05{decimals}{zone}")
    assert date is not None
    assert date.microsecond == int(f"{decimals[1:7]:0<6}")
    offset = date.utcoffset()
    assert offset is not None
    assert offset.total_seconds() == hours * 3600


@pytest.mark.parametrize("text", [None, "", 5, "soon", "2026-13-02T03:04:05Z", "2026-01-02"])
def test_a_date_that_is_none_is_nothing(text: Any) -> None:
    assert wire.parse_date(text) is None


def _parse(data: Any) -> Any:
    return wire.ChunkParser(100).parse(json.dumps(data))


def test_the_last_record_brings_numbers_in_seconds() -> None:
    numbers = {"prompt_eval_count": 3, "eval_count": 4, "load_duration": 1_500_000_000}
    chunk = _parse({"message": {"content": "a"}, "done": True, "done_reason": "stop", **numbers})
    assert (chunk.text, chunk.finish_reason) == ("a", "stop")
    assert chunk.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert chunk.server_timings == ServerTimings(load_s=1.5)


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
