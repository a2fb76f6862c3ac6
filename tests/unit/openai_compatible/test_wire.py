"""The OpenAI dialect: encoded requests and parsed responses."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any, Dict, Type

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localproviders import errors
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.models import parse_models
from localproviders.openai_compatible.wire.requests import (
    completion_payload,
    embed_payload,
    message_payload,
)
from localproviders.openai_compatible.wire.responses import ChunkParser
from localproviders.openai_compatible.wire.vectors import parse_vectors
from localproviders.types import (
    CompletionRequest,
    EmbeddingRequest,
    Image,
    Message,
    ServerTimings,
    TokenLogprob,
    Tool,
    ToolCall,
    Usage,
)

_USER = Message.user("hi")
_CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
_SCHEMA = {"type": "object"}
_STRICT = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}

_FIELDS = [
    ({}, {}),
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"temperature": 0}, {"temperature": 0}),
    ({"top_p": 0.5}, {"top_p": 0.5}),
    ({"top_k": 3}, {"top_k": 3}),
    ({"min_p": 0.1}, {"min_p": 0.1}),
    ({"seed": 0}, {"seed": 0}),
    ({"repeat_penalty": 1.1}, {"repeat_penalty": 1.1}),
    ({"presence_penalty": -1}, {"presence_penalty": -1}),
    ({"frequency_penalty": 1}, {"frequency_penalty": 1}),
    ({"stop": "END"}, {"stop": ["END"]}),
    ({"thinking": "high"}, {"reasoning_effort": "high"}),
    ({"thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
    ({"thinking": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
    (
        {"thinking": False, "extra_body": {"chat_template_kwargs": {"x": 1}, "y": 2}},
        {"chat_template_kwargs": {"enable_thinking": False, "x": 1}, "y": 2},
    ),
    (
        {"thinking": False, "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ),
    ({"thinking": False, "extra_body": {"chat_template_kwargs": None}}, {}),
    ({"extra_body": {"chat_template_kwargs": {"x": 1}}}, {"chat_template_kwargs": {"x": 1}}),
    (
        {"thinking": "low", "extra_body": {"chat_template_kwargs": {"x": 1}}},
        {"reasoning_effort": "low", "chat_template_kwargs": {"x": 1}},
    ),
    ({"logprobs": True}, {"logprobs": True}),
    ({"logprobs": False}, {}),
    ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ({"tool_choice": "auto"}, {"tool_choice": "auto"}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    ({"tool_choice": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    (
        {"response_schema": _SCHEMA},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": False, "schema": _SCHEMA},
            }
        },
    ),
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
    (
        {"response_schema": {}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": False, "schema": {}},
            }
        },
    ),
    (
        {"response_schema": _STRICT},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": _STRICT},
            }
        },
    ),
    (
        {"response_schema": _SCHEMA, "extra_body": {"response_format": {"type": "text"}}},
        {"response_format": {"type": "text"}},
    ),
    ({"extra_body": {"stream_options": {"x": 1}, "y": 2}}, {"stream_options": {"x": 1}, "y": 2}),
    ({"extra_body": {"top_k": 9}, "top_k": 3}, {"top_k": 9}),
]


@pytest.mark.parametrize(("given_fields", "sent"), _FIELDS)
def test_each_field_goes_where_the_dialect_has_it(
    given_fields: Dict[str, Any], sent: Dict[str, Any]
) -> None:
    request = CompletionRequest(messages=(_USER,), **given_fields)
    path, payload = completion_payload(request, "m")
    assert (path, payload) == ("/chat/completions", {**_CHAT, **sent})


@pytest.mark.parametrize(
    ("given_fields", "sent"),
    [
        ({}, {}),
        ({"suffix": "s"}, {"suffix": "s"}),
        ({"logprobs": True}, {"logprobs": 1}),
        ({"top_logprobs": 3}, {"logprobs": 3}),
        ({"stop": ["a"], "seed": 1}, {"stop": ["a"], "seed": 1}),
    ],
)
def test_a_prompt_goes_untemplated(given_fields: Dict[str, Any], sent: Dict[str, Any]) -> None:
    request = CompletionRequest(prompt="p", **given_fields)
    path, payload = completion_payload(request, "m")
    base = {key: value for key, value in _CHAT.items() if key != "messages"}
    assert (path, payload) == ("/completions", {**base, "prompt": "p", **sent})


_PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
_CALL = ToolCall(id="c", name="f", arguments={"x": "é"})


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (Message.system("s"), {"role": "system", "content": "s"}),
        (
            Message.user("u", images=[_PNG]),
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "u"},
                    {"type": "image_url", "image_url": {"url": _PNG.data_uri}},
                ],
            },
        ),
        (
            Message.assistant(tool_calls=[_CALL]),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x": "é"}'},
                    }
                ],
            },
        ),
        (Message.tool("r", _CALL), {"role": "tool", "content": "r", "tool_call_id": "c"}),
        (
            Message(role="assistant", content="a", thinking="t"),
            {"role": "assistant", "content": "a", "reasoning_content": "t"},
        ),
    ],
)
def test_each_message_goes_as_the_dialect_has_it(message: Message, sent: Dict[str, Any]) -> None:
    assert message_payload(message) == sent


def test_an_embedding_asks_for_base64() -> None:
    request = EmbeddingRequest(texts=["a", "b"], dimensions=3)
    assert embed_payload(request, "m") == {
        "model": "m",
        "input": ["a", "b"],
        "encoding_format": "base64",
        "dimensions": 3,
    }


# --- answers --------------------------------------------------------------------------------


def _parser() -> ChunkParser:
    return ChunkParser(100, RULES)


def _parse(data: Any) -> Any:
    return _parser().parse(json.dumps(data))


def _delta(delta: Any, **choice: Any) -> Dict[str, Any]:
    return {"choices": [{"delta": delta, **choice}]}


# How a plain completion has them.
_PLAIN_LOGPROBS = {
    "tokens": ["a", "c"],
    "token_logprobs": [-1, -3],
    "top_logprobs": [{"b": -2.5}, None],
    "text_offset": [0, 1],
}
_LOGPROBS = {
    "content": [
        {
            "token": "a",
            "logprob": -1,
            "bytes": [97],
            "top_logprobs": [{"token": "b", "logprob": -2.5, "bytes": None}],
        }
    ]
}


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        (_delta({"content": "a"}), "text", "a"),
        (_delta({"content": None}), "text", ""),
        (_delta({}), "text", ""),
        (_delta(None), "text", ""),
        (_delta({"reasoning_content": "t"}), "thinking", "t"),
        (_delta({"reasoning": "t"}), "thinking", "t"),
        ({"choices": [{"text": "a"}]}, "text", "a"),
        ({"choices": []}, "text", ""),
        ({"choices": [{"message": {"content": "a"}}]}, "text", "a"),
        ({**_delta({}), "model": "x"}, "model", "x"),
        ({**_delta({}), "model": 5}, "model", None),
        (_delta({}, finish_reason="new_reason"), "finish_reason", "new_reason"),
        (_delta({}, finish_reason=None), "finish_reason", None),
        (
            {**_delta({}), "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            "usage",
            Usage(prompt_tokens=1, completion_tokens=2),
        ),
        (
            {
                **_delta({}),
                "usage": {
                    "prompt_tokens_details": {"cached_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 4},
                },
            },
            "usage",
            Usage(cached_tokens=3, thinking_tokens=4),
        ),
        ({**_delta({}), "usage": None}, "usage", None),
        (
            {**_delta({}), "timings": {"prompt_ms": 1500, "predicted_ms": 2.5}},
            "server_timings",
            ServerTimings(prompt_s=1.5, generation_s=0.0025),
        ),
        (
            _delta({}, logprobs=_LOGPROBS),
            "logprobs",
            (
                TokenLogprob(
                    token="a", logprob=-1.0, data=b"a", top=(TokenLogprob(token="b", logprob=-2.5),)
                ),
            ),
        ),
        (_delta({}, logprobs=None), "logprobs", ()),
        (_delta({}, logprobs={"content": [{"token": "a"}]}), "logprobs", ()),
        (_delta({}, logprobs={"tokens": ["a"], "token_logprobs": []}), "logprobs", ()),
        (_delta({}, logprobs={"tokens": ["a"], "token_logprobs": [None]}), "logprobs", ()),
        (
            {"choices": [{"text": "a", "logprobs": _PLAIN_LOGPROBS}]},
            "logprobs",
            (
                TokenLogprob(token="a", logprob=-1.0, top=(TokenLogprob(token="b", logprob=-2.5),)),
                TokenLogprob(token="c", logprob=-3.0),
            ),
        ),
        (_delta({"refusal": "I will not."}), "text", "I will not."),
    ],
)
def test_a_record_is_read(data: Any, name: str, value: Any) -> None:
    assert getattr(_parse(data), name) == value


def test_a_stream_ends_with_its_mark_and_gives_its_calls_there() -> None:
    parser = _parser()
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    first = parser.parse(json.dumps(_delta({"tool_calls": [piece]})))
    assert first is not None
    assert first.tool_calls == ()
    rest = {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
    parser.parse(json.dumps(_delta(rest, finish_reason="tool_calls")))
    assert not parser.ended
    last = parser.parse(" [DONE] ")
    assert last is not None
    assert last.tool_calls == (ToolCall(id="a", name="f"),)
    assert parser.ended


def test_the_mark_gives_no_chunk() -> None:
    parser = _parser()
    parser.parse('{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}')
    assert parser.parse("[DONE]") is None
    assert parser.ended


def test_the_mark_alone_is_no_answer() -> None:
    with pytest.raises(errors.ProtocolError, match="before its first record"):
        _parser().parse("[DONE]")


def test_a_whole_answer_ends_at_once() -> None:
    parser = _parser()
    parser.is_single_record = True
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    chunk = parser.parse(json.dumps({"choices": [choice]}))
    assert parser.ended
    assert chunk is not None
    assert chunk.tool_calls == (ToolCall(id="a", name="f"),)


@pytest.mark.parametrize("indexes", [(1.0, 0.0), ("1", "0"), (1, None)])
def test_an_index_is_read_in_each_plain_shape(indexes: Any) -> None:
    data = [{"embedding": row, "index": index} for row, index in zip((_ROWS[1], _ROWS[0]), indexes)]
    if indexes[1] is None:  # a zero that a server left out would be the first
        data.reverse()
    assert [list(row) for row in parse_vectors({"data": data}, ()).rows] == _ROWS


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        ([], errors.ProtocolError),
        ({"choices": ["x"]}, errors.ProtocolError),
        ({"choices": "x"}, errors.ProtocolError),
        (_delta({"content": 5}), errors.ProtocolError),
        ({"error": "odd"}, errors.ServerError),
        (
            {"error": {"message": "m", "type": "exceed_context_size_error"}},
            errors.ContextOverflowError,
        ),
        ({"error": {"message": "m", "code": "model_not_found"}}, errors.ModelNotFoundError),
        ({"error": {"message": "Loading model"}}, errors.ServerBusyError),
        ({"error": {"message": "m", "type": "not_supported_error"}}, errors.CapabilityError),
        ({"error": {"message": "m", "type": "invalid_request_error"}}, errors.RequestRejectedError),
        ({"error": "m", "choices": []}, errors.ServerError),
    ],
)
def test_a_record_that_is_no_answer_is_a_typed_error(
    data: Any, cls: Type[errors.ProviderError]
) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        _parse(data)
    assert type(caught.value) is cls


# --- vectors and models ---------------------------------------------------------------------

_ROWS = [[1.0, 0.5], [2.0, 0.25]]


def _base64(row: Any) -> str:
    return base64.b64encode(array("f", row).tobytes()).decode()


_SPOILT = {
    "a letter that is none": lambda text: "!" + text[1:],
    "a letter more": lambda text: text[:5] + "-" + text[5:],
    "a line end": lambda text: text[:4] + "\n" + text[4:],
    "a letter less": lambda text: text[1:],
    "four letters less": lambda text: text[4:],
    "padding in the middle": lambda text: text[:4] + "QQ==" + text[8:],
    "padding too much": lambda text: text + "=",
    "a word behind it": lambda text: text + "====",
    "no ASCII": lambda text: "é" + text[1:],
    "nothing but padding": lambda text: "====",
}


@pytest.mark.parametrize("spoil", _SPOILT.values(), ids=_SPOILT)
@pytest.mark.parametrize("length", [2, 3, 4])
def test_spoilt_base64_is_no_vector(spoil: Any, length: int) -> None:
    data = {"data": [{"index": 0, "embedding": spoil(_base64([0.5] * length))}]}
    with pytest.raises(errors.EmbeddingError, match="base64"):
        parse_vectors(data, RULES)


@pytest.mark.parametrize("pack", [list, _base64])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), None])
def test_vectors_come_in_the_order_of_their_index(pack: Any, order: Any) -> None:
    data = [{"embedding": pack(_ROWS[i]), "index": i} for i in order or (0, 1)]
    if order is None:
        data = [{"embedding": item["embedding"]} for item in data]
    vectors = parse_vectors({"data": data, "model": "m", "usage": {"prompt_tokens": 3}}, ())
    assert [list(row) for row in vectors.rows] == _ROWS
    assert (vectors.model, vectors.usage) == ("m", Usage(prompt_tokens=3))


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("data", "cls"),
    [
        ([], errors.ProtocolError),
        ({}, errors.ProtocolError),
        ({"data": "x"}, errors.ProtocolError),
        ({"data": ["x"]}, errors.ProtocolError),
        ({"error": "odd"}, errors.ServerError),
        ({"data": [{"embedding": [1], "index": 1}]}, errors.EmbeddingError),
        ({"data": [{"embedding": [1], "index": 0}] * 2}, errors.EmbeddingError),
        ({"data": [{"embedding": [1], "index": 0.5}]}, errors.EmbeddingError),
        ({"data": [{"embedding": [1], "index": True}]}, errors.EmbeddingError),
        (
            {"data": [{"embedding": [1], "index": None}, {"embedding": [1], "index": 0}]},
            errors.EmbeddingError,
        ),
        (
            {"data": [{"embedding": [1], "index": "one"}, {"embedding": [1], "index": 1}]},
            errors.EmbeddingError,
        ),
        ({"data": [{"embedding": "!!!!"}]}, errors.EmbeddingError),
        ({"data": [{"embedding": "YWI="}]}, errors.EmbeddingError),
        ({"data": [{"embedding": None}]}, errors.EmbeddingError),
    ],
)
def test_vectors_that_cannot_be_trusted_are_a_typed_error(data: Any, cls: Any) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        parse_vectors(data, RULES)
    assert type(caught.value) is cls


def test_a_list_of_models_is_read_with_what_llama_cpp_adds() -> None:
    meta = {"n_ctx_train": 4096, "n_ctx": 1024, "n_embd": 640, "size": 99}
    data = {"data": [{"id": "a", "meta": meta}, {"id": "b", "max_model_len": 7}, "odd"]}
    first, second = parse_models(data, "p", ())
    assert (first.name, first.provider, first.size_bytes) == ("a", "p", 99)
    found = first.capabilities
    assert found.max_context_length == 4096
    assert (found.loaded_context_length, found.embedding_length) == (1024, 640)
    assert second.capabilities.loaded_context_length == 7


def test_a_list_without_an_object_around_it_is_read() -> None:
    first, second = parse_models([{"id": "a"}, {"id": "b"}], "p", ())
    assert (first.name, second.name) == ("a", "b")


@pytest.mark.parametrize(
    "name",
    ["context_length", "context_window", "max_context_length"],
    ids=["Together and OpenRouter", "Groq", "Mistral"],
)
@pytest.mark.parametrize(
    ("value", "window"), [(8192, 8192), (8192.0, 8192), (0, None), ("x", None)]
)
def test_the_window_in_a_list_is_read(name: str, value: Any, window: Any) -> None:
    (model,) = parse_models({"data": [{"id": "a", name: value}]}, "p", ())
    assert model.capabilities.max_context_length == window
    assert model.capabilities.loaded_context_length is None


@pytest.mark.parametrize(("data", "count"), [({"data": None}, 0), ({"data": []}, 0)])
def test_no_models_is_an_empty_list(data: Any, count: int) -> None:
    assert len(parse_models(data, "p", ())) == count


@pytest.mark.parametrize("data", [None, [], {}, {"data": 5}, {"error": "x"}])
def test_what_is_no_list_of_models_is_a_typed_error(data: Any) -> None:
    with pytest.raises(errors.ProviderError):
        parse_models(data, "p", ())


_KEYS = [
    "choices",
    "delta",
    "message",
    "content",
    "text",
    "tool_calls",
    "index",
    "function",
    "name",
    "arguments",
    "id",
    "usage",
    "timings",
    "prompt_ms",
    "logprobs",
    "token",
    "logprob",
    "bytes",
    "top_logprobs",
    "finish_reason",
    "error",
    "model",
    "data",
    "embedding",
    "meta",
    "prompt_tokens",
    "prompt_tokens_details",
    "object",
]
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.just(10**399)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "chat"])
)
_ODD = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
_CHOICE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("delta", "message", "text", "logprobs", "finish_reason"), _ODD)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {"choices": st.lists(_CHOICE, max_size=2)},
        optional=dict.fromkeys(("usage", "timings", "model"), _ODD),
    )
    | _ODD
)
def test_any_record_is_a_chunk_or_one_typed_error(data: Any) -> None:
    try:
        _parse(data)
    except errors.ProviderError:
        pass


@pytest.mark.sample(0)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries({"data": _ODD | st.lists(st.dictionaries(st.sampled_from(_KEYS), _ODD))})
)
def test_any_body_is_a_list_or_one_typed_error(data: Any) -> None:
    for parse in (
        lambda: parse_models(data, "p", RULES),
        lambda: parse_vectors(data, RULES),
    ):
        try:
            parse()
        except errors.ProviderError:
            pass


@pytest.mark.parametrize("data", [["m"], {"data": ["m"]}, {"data": [5, None]}, [[{"id": "m"}]]])
def test_a_list_without_any_object_is_no_empty_list_of_models(data: Any) -> None:
    with pytest.raises(errors.ProtocolError):
        parse_models(data, "p", RULES)
