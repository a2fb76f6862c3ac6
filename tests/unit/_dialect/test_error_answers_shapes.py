"""Errors in every known shape: the class, the server's sentence, its numbers and the partial text.

docs/dialects.md, "Errors", names the servers that send each shape.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple, Type

import pytest

from localproviders import LMStudioProvider, OllamaProvider, OpenAICompatibleProvider, RetryPolicy
from localproviders import errors as e
from localproviders.testing import ScriptedServer, http_answer

_PROVIDERS: Mapping[str, Callable[..., Any]] = {
    "ollama": OllamaProvider,
    "openai": OpenAICompatibleProvider,
    "lmstudio": LMStudioProvider,
}
_BESIDE: Mapping[str, Any] = {
    "/api/version": {"version": "0.32.15"},
    "/api/tags": {"models": [{"name": "m:latest", "model": "m:latest"}]},
    "/api/v1/models": {"models": [{"key": "m", "type": "llm"}]},
    "/api/v0/models": {"data": [{"id": "m", "type": "llm"}]},
}


def _ask(dialect: str, body: Any, content_type: str, status: str = "200 OK") -> e.ProviderError:
    def steps(exchange: Any) -> Any:
        if exchange.path in _BESIDE:
            return [http_answer(_BESIDE[exchange.path])]
        return [http_answer(body, status=status, content_type=content_type)]

    with ScriptedServer(steps) as server:
        url = server.url + ("/v1" if dialect == "openai" else "")
        provider = _PROVIDERS[dialect](url, model="m", retry=RetryPolicy(attempts=1))
        with provider, pytest.raises(e.ProviderError) as caught:
            provider.chat("Hi")
    return caught.value


class Shape(NamedTuple):
    """JSON of an error, the class of the error without a status, and the sentence in it."""

    body: Any
    error: Type[e.ProviderError]
    said: str


_SHAPES: Mapping[str, Shape] = {
    "error as text": Shape({"error": "boom"}, e.ServerError, "boom"),
    "error as object": Shape({"error": {"message": "boom"}}, e.ServerError, "boom"),
    "code 400": Shape({"error": {"message": "b", "code": 400}}, e.RequestRejectedError, "b"),
    "code 401": Shape({"error": {"message": "b", "code": 401}}, e.AuthenticationError, "b"),
    "code 404": Shape({"error": {"message": "b", "code": "404"}}, e.RequestRejectedError, "b"),
    "code 429": Shape({"error": {"message": "b", "code": 429}}, e.ServerBusyError, "b"),
    "code 500": Shape({"error": {"message": "b", "code": 500}}, e.ServerError, "b"),
    "code 503": Shape({"error": {"message": "b", "code": 503}}, e.ServerBusyError, "b"),
    "code 524": Shape({"error": {"message": "b", "code": 524}}, e.ServerBusyError, "b"),
    "vLLM until 0.9": Shape(
        {"object": "error", "message": "boom", "type": "BadRequestError", "code": 400},
        e.RequestRejectedError,
        "boom",
    ),
    "vLLM, a crash": Shape(
        {"object": "error", "message": "boom", "type": "InternalServerError", "code": 500},
        e.ServerError,
        "boom",
    ),
    "llama.cpp's object alone": Shape({"code": 500, "message": "boom"}, e.ServerError, "boom"),
    "a name as the code": Shape(
        {"code": "InvalidParameter", "message": "boom", "request_id": "x"}, e.ServerError, "boom"
    ),
    "a service's number": Shape({"code": 20012, "message": "b", "data": None}, e.ServerError, "b"),
    "a service's number beside msg": Shape({"code": 1001, "msg": "boom"}, e.ServerError, "boom"),
    "error is true": Shape({"error": True, "message": "boom"}, e.ServerError, "boom"),
    "error is a number": Shape({"error": 7, "message": "boom"}, e.ServerError, "boom"),
    "FastAPI, a text": Shape({"detail": "boom"}, e.ServerError, "boom"),
    "FastAPI, a list": Shape(
        {
            "detail": [
                {"loc": ["body", "messages", 0], "msg": "field required", "input": "private"},
                {"loc": ["body", "n"], "msg": "not an integer"},
            ]
        },
        e.ServerError,
        "body.messages.0: field required; body.n: not an integer",
    ),
    "FastAPI, an object": Shape({"detail": {"error": {"message": "b"}}}, e.ServerError, "b"),
    "MiniMax": Shape(
        {"choices": None, "base_resp": {"status_code": 2013, "status_msg": "bad params"}},
        e.RequestRejectedError,
        "bad params",
    ),
    "MiniMax, no key": Shape(
        {"base_resp": {"status_code": 1004, "status_msg": "login fail"}},
        e.AuthenticationError,
        "login fail",
    ),
    "MiniMax, beside choices": Shape(
        {"choices": [], "base_resp": {"status_code": 1013, "status_msg": "boom"}},
        e.ServerError,
        "boom",
    ),
    "Gemini": Shape(
        [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}],
        e.AuthenticationError,
        "API key not valid. Please pass a valid API key.",
    ),
    "errors as texts": Shape({"errors": ["a", "b"]}, e.ServerError, "a; b"),
    "Cloudflare": Shape(
        {"success": False, "errors": [{"code": 7003, "message": "b"}], "result": None},
        e.ServerError,
        "b",
    ),
    "errors by field": Shape({"errors": {"model": ["is empty"]}}, e.ServerError, "model: is empty"),
    "Spring": Shape(
        {"status": 500, "error": "Internal Server Error", "message": "boom", "path": "/"},
        e.ServerError,
        "boom",
    ),
    "Nest": Shape(
        {"statusCode": 400, "message": ["a is empty", "b is odd"], "error": "Bad Request"},
        e.RequestRejectedError,
        "a is empty; b is odd",
    ),
    "Groq": Shape(
        {"error": {"message": "b", "type": "tokens", "code": "rate_limit_exceeded"}},
        e.ServerBusyError,
        "b",
    ),
    "OpenRouter, JSON of the service behind it": Shape(
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": json.dumps({"error": {"message": "b", "type": "odd"}}),
                    "provider_name": "OpenAI",
                },
            },
            "user_id": "u",
        },
        e.RequestRejectedError,
        "Provider returned error: b",
    ),
    "OpenRouter, a text of the service behind it": Shape(
        {"error": {"message": "Provider returned error", "metadata": {"raw": "b"}}},
        e.ServerError,
        "Provider returned error: b",
    ),
    "OpenRouter, an object of the service behind it": Shape(
        {"error": {"message": "a", "metadata": {"raw": {"error": {"message": "b"}}}}},
        e.ServerError,
        "a: b",
    ),
    "OpenRouter, metadata that says nothing": Shape(
        {"error": {"message": "a b", "metadata": {"raw": "b", "reasons": ["c"]}}},
        e.ServerError,
        "a b",
    ),
    "an error in an error": Shape({"error": {"error": {"message": "b"}}}, e.ServerError, "b"),
    "errors in an error": Shape({"error": {"errors": [{"message": "b"}]}}, e.ServerError, "b"),
    "a name and a sentence": Shape(
        {"error": "bad_model", "message": "the model is odd"}, e.ServerError, "the model is odd"
    ),
    "JSON as the error": Shape(
        {"error": json.dumps({"error": {"message": "in", "code": 400}})},
        e.RequestRejectedError,
        "in",
    ),
    "JSON as the message": Shape(
        {"error": {"message": json.dumps({"error": {"message": "in", "code": 429}})}},
        e.ServerBusyError,
        "in",
    ),
    "JSON quoted in the message": Shape(
        {"error": {"message": 'upstream says 400: {"error":{"message":"in","code":400}}'}},
        e.RequestRejectedError,
        "upstream says 400: in",
    ),
    "an error beside an answer": Shape(
        {"error": "b", "choices": [], "done": 1}, e.ServerError, "b"
    ),
}
# JSON that only a status, or the name of its event, shows to be an error.
_BARE: Mapping[str, Shape] = {
    "message": Shape({"message": "boom"}, e.ServerError, "boom"),
    "message and a word": Shape({"message": "boom", "code": "odd"}, e.ServerError, "boom"),
    "msg": Shape({"msg": "boom"}, e.ServerError, "boom"),
    "a title": Shape({"type": "about:blank", "title": "boom"}, e.ServerError, "boom"),
    "a capital letter": Shape({"Message": "boom"}, e.ServerError, "boom"),
    "a title and a detail": Shape({"title": "Odd", "detail": "boom"}, e.ServerError, "boom"),
}
_ALL = {**_SHAPES, **_BARE}


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


_DELTA = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
_BEGUN: Mapping[str, bytes] = {
    "openai": _event(_DELTA),
    "lmstudio": _event(_DELTA),
    "ollama": b'{"model":"m","message":{"role":"assistant","content":"Hello"},"done":false}\n',
}
_STREAM = {"ollama": "application/x-ndjson"}
_DONE = b"data: [DONE]\n\n"


def _check(error: e.ProviderError, shape: Shape, partial: str = "") -> None:
    assert type(error) is shape.error
    assert (error.server_message, error.partial) == (shape.said, partial)
    assert error.status is None


@pytest.mark.sample(27)
@pytest.mark.parametrize("begun", [False, True], ids=["first", "after text"])
@pytest.mark.parametrize("dialect", list(_PROVIDERS))
@pytest.mark.parametrize("name", list(_SHAPES))
def test_a_record_of_a_stream_is_an_error(name: str, dialect: str, begun: bool) -> None:
    shape = _SHAPES[name]
    if dialect == "ollama":
        record, end = json.dumps(shape.body).encode() + b"\n", b""
        if name.startswith(("MiniMax", "Gemini", "Groq")):
            pytest.skip("codes and words of another dialect")
    else:
        record, end = _event(shape.body), _DONE
    before = _BEGUN[dialect] if begun else b""
    content_type = _STREAM.get(dialect, "text/event-stream")

    error = _ask(dialect, before + record + end, content_type)

    _check(error, shape, "Hello" if begun else "")


@pytest.mark.sample(30)
@pytest.mark.parametrize("dialect", ["openai", "lmstudio"])
@pytest.mark.parametrize("name", list(_SHAPES))
def test_a_whole_body_with_status_200_is_an_error(name: str, dialect: str) -> None:
    _check(
        _ask(dialect, json.dumps(_SHAPES[name].body).encode(), "application/json"), _SHAPES[name]
    )


# How an event stream marks an error, apart from the JSON of its data.
_MARKS: Mapping[str, Callable[[bytes], bytes]] = {
    "a field": lambda data: b"error: " + data + b"\n\n",
    "a field without a blank": lambda data: b"error:" + data + b"\n\n",
    "a field without an empty line": lambda data: b"error: " + data + b"\n",
    "a name": lambda data: b"event: error\ndata: " + data + b"\n\n",
    "a name after the data": lambda data: b"data: " + data + b"\nevent: error\n\n",
    "a name with CRLF": lambda data: b"event:error\r\ndata:" + data + b"\r\n\r\n",
    "a name and a field": lambda data: b"event: error\nid: 7\nerror: " + data + b"\n\n",
}


@pytest.mark.sample(34)
@pytest.mark.parametrize(
    "begun",
    [pytest.param(False, id="first", marks=pytest.mark.slow), pytest.param(True, id="after text")],
)
@pytest.mark.parametrize("mark", list(_MARKS))
@pytest.mark.parametrize("name", [name for name in _ALL if name != "Gemini"])
def test_a_field_or_a_name_of_an_event_stream_is_an_error(
    name: str, mark: str, begun: bool
) -> None:
    shape = _ALL[name]
    body = (_BEGUN["openai"] if begun else b"") + _MARKS[mark](json.dumps(shape.body).encode())

    _check(_ask("openai", body + _DONE, "text/event-stream"), shape, "Hello" if begun else "")


@pytest.mark.parametrize("mark", list(_MARKS))
def test_plain_words_and_broken_json_of_a_field_are_the_sentence(mark: str) -> None:
    for words in ("it broke", '{"code":', '{"message": "a', '["a"]', "{}", '{"error": "a'):
        body = _BEGUN["openai"] + _MARKS[mark](words.encode()) + _DONE
        error = _ask("openai", body, "text/event-stream")
        _check(error, Shape(None, e.ServerError, words), "Hello")


_RAW = ["errors as texts", "error as object", "vLLM until 0.9", "FastAPI, a list", "Gemini"]


@pytest.mark.parametrize("name", _RAW)
def test_json_without_a_field_is_an_error_if_it_says_so(name: str) -> None:
    raw = json.dumps(_SHAPES[name].body).encode()
    body = _BEGUN["openai"] + raw + b"\n\n" + _DONE
    _check(_ask("openai", body, "text/event-stream"), _SHAPES[name], "Hello")


_STATUSES: Mapping[str, Type[e.ProviderError]] = {
    "400 Bad": e.RequestRejectedError,
    "401 No": e.AuthenticationError,
    "402 Pay": e.RequestRejectedError,
    "404 Not Found": e.RequestRejectedError,
    "408 Timeout": e.ServerBusyError,
    "422 Odd": e.RequestRejectedError,
    "429 Many": e.ServerBusyError,
    "500 Broken": e.ServerError,
    "503 Busy": e.ServerBusyError,
    "524 Late": e.ServerBusyError,
    "529 Busy": e.ServerBusyError,
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("status", list(_STATUSES))
@pytest.mark.parametrize("dialect", list(_PROVIDERS))
def test_every_status_shows_the_sentence_of_every_shape(dialect: str, status: str) -> None:
    for name, shape in _ALL.items():
        if name.startswith(("MiniMax", "Gemini", "vLLM until", "Groq")):
            continue  # their words decide
        error = _ask(dialect, json.dumps(shape.body).encode(), "application/json", status)
        assert type(error) is _STATUSES[status], name
        assert error.server_message == shape.said, name
        assert error.status == int(status[:3])


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        ("400 Bad", _SHAPES["Gemini"].body, e.AuthenticationError),
        ("401 No", _SHAPES["vLLM until 0.9"].body, e.AuthenticationError),
        ("429 Many", _SHAPES["vLLM until 0.9"].body, e.ServerBusyError),
        ("500 Broken", _SHAPES["vLLM until 0.9"].body, e.RequestRejectedError),
        ("400 Bad", {"error": {"message": "b", "type": "overloaded_error"}}, e.ServerBusyError),
        ("401 No", {"error": {"message": "b", "type": "invalid_request_error"}}, None),
        ("400 Bad", {"error": {"message": "Incorrect API key provided: x"}}, e.AuthenticationError),
        ("404 No", {"message": "The model `x` does not exist."}, e.ModelNotFoundError),
        (
            "413 Large",
            {"error": {"message": "Request too large for x", "code": "rate_limit_exceeded"}},
            e.RequestRejectedError,
        ),
        ("404 No", {"detail": "Not Found"}, e.RequestRejectedError),
    ],
)
def test_words_and_types_decide_as_far_as_they_say_more_than_the_status(
    status: str, body: Any, cls: Optional[Type[e.ProviderError]]
) -> None:
    error = _ask("openai", json.dumps(body).encode(), "application/json", status)
    assert type(error) is (cls or e.AuthenticationError)


# --- numbers of an overflow -------------------------------------------------------------------

_OVERFLOWS: Mapping[str, Tuple[int, int]] = {
    "Please reduce the length of the messages or completion. Current length is 9000 while limit is "
    "8192": (9000, 8192),
    "request (3010 tokens) exceeds the available context size (1024 tokens), try increasing it": (
        3010,
        1024,
    ),
    "This model's maximum context length is 32768 tokens. However, you requested 32818 tokens.": (
        32818,
        32768,
    ),
    "This model's maximum context length is 4097 tokens. However, you requested 5164 tokens (5064 "
    "in the messages, 100 in the completion). Please reduce the length of the messages or "
    "completion.": (5064, 4097),
    "This model's maximum context length is 4097 tokens, however you requested 4360 tokens (4104 "
    "in your prompt; 256 for the completion). Please reduce your prompt.": (4104, 4097),
    "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 "
    "tokens. Please reduce the length of the messages.": (5000, 4097),
    "This model's maximum context length is 4096 tokens. However, your request has 5000 input "
    "tokens. Please reduce the length of the input messages.": (5000, 4096),
    "This endpoint's maximum context length is 8192 tokens. However, you requested about 10000 "
    "tokens (9000 of text input, 1000 in the output).": (9000, 8192),
    "Requested token count exceeds the model's maximum context length of 32768 tokens. You "
    "requested a total of 40000 tokens: 39000 tokens from the input messages and 1000 tokens for "
    "the completion.": (39000, 32768),
    "The input (4096 tokens) is longer than the model's context length (2048 tokens).": (
        4096,
        2048,
    ),
    "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens).": (5000, 4096),
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
    "context length": (40000, 32768),
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 "
    "`inputs` tokens and 20 `max_new_tokens`": (3000, 2048),
    "`inputs` must have less than 1024 tokens. Given: 3000": (3000, 1024),
    "prompt is too long: 208310 tokens > 200000 maximum": (208310, 200000),
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease": (
        190000,
        200000,
    ),
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)": (
        291351,
        262144,
    ),
    "Unable to submit request because the input token count is 32825 but model only supports up "
    "to 32768. Reduce the input token count and try again.": (32825, 32768),
    "Request prompt has 5000 tokens in total, larger than the model input length limit 4096.": (
        5000,
        4096,
    ),
    "Prompt has 32769 tokens, but the configured context size is 32768 tokens": (32769, 32768),
    "Input length 704 exceeds maximum allowed token size 512": (704, 512),
    "Prompt length 5000 is greater than max_seq_len 4096": (5000, 4096),
    "length of prompt_tokens (5000) must be less than max_seq_len (4096).": (5000, 4096),
    "Single text cannot exceed 8192 tokens. 10454 tokens given.": (10454, 8192),
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).": (
        1200000,
        1048576,
    ),
    "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1,048,576).": (
        1200000,
        1048576,
    ),
    "Requested tokens (3000) exceed context window of 2048": (3000, 2048),
    "This model's maximum prompt length is 131072 but the request contains 150000 tokens.": (
        150000,
        131072,
    ),
    "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.": (
        5000,
        4081,
    ),
    "The prompt is too long: 10000, model maximum context length: 8192": (10000, 8192),
    "The prompt (total length 5000) is too long to fit into the model (context length 4096).": (
        5000,
        4096,
    ),
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make": (
        5000,
        4096,
    ),
    "You passed 4097 input tokens and requested 100 output tokens. However, the model's context "
    "length is only 4096 tokens, resulting in a maximum input length of 3996 tokens. Please reduce "
    "the length of the input prompt.": (4097, 4096),
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 "
    "tokens. Please reduce the length of the messages.": (300000, 272000),
    "Your prompt contains 5000 tokens, which is too long for the 4096 token context window": (
        5000,
        4096,
    ),
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded "
    "with context length of only 4096 tokens": (5000, 4096),
}


@pytest.mark.sample(34)
@pytest.mark.parametrize("form", ["400", "stream", "quoted"])
@pytest.mark.parametrize("said", list(_OVERFLOWS))
def test_both_numbers_of_an_overflow_are_read(said: str, form: str) -> None:
    dialect = "lmstudio" if "Trying to keep" in said else "openai"
    if form == "400":
        body = json.dumps({"error": {"message": said, "code": 400}}).encode()
        error = _ask(dialect, body, "application/json", "400 Bad Request")
    elif form == "stream":
        error = _ask(dialect, _event({"object": "error", "message": said}), "text/event-stream")
    else:
        body = json.dumps({"error": json.dumps({"error": {"message": said}})}).encode()
        error = _ask(dialect, body, "application/json", "500 Broken")

    assert isinstance(error, e.ContextOverflowError)
    assert (error.prompt_tokens, error.context_length) == _OVERFLOWS[said]
    assert error.server_message == said
    assert all(str(number) in error.message for number in _OVERFLOWS[said])


@pytest.mark.parametrize("dialect", ["openai", "lmstudio"])
def test_an_overflow_of_lm_studio_is_one_in_both_dialects(dialect: str) -> None:
    said = "The number of tokens to keep from the initial prompt is greater than the context length"
    body = json.dumps({"error": said}).encode()
    assert type(_ask(dialect, body, "application/json", "400 B")) is e.ContextOverflowError


def test_a_prompt_that_fits_is_not_called_too_long() -> None:
    said = (
        "This model's maximum context length is 4097 tokens. However, you requested 4164 tokens "
        "(64 in the messages, 4100 in the completion)."
    )
    error = _ask("openai", json.dumps({"error": said}).encode(), "application/json", "400 Bad")
    assert isinstance(error, e.ContextOverflowError)
    assert (error.prompt_tokens, error.context_length) == (64, 4097)
    assert "4164" in error.message


@pytest.mark.parametrize(
    ("dialect", "said", "window"),
    [
        ("openai", "Your request exceeded model token limit: 8192", 8192),
        ("openai", "Range of input length should be [1, 30720]", 30720),
        (
            "lmstudio",
            "Reached context length of 4096 tokens with model (arch: qwen2) that does not currently "
            "support mid-generation context overflow. Try reloading with a larger context length.",
            4096,
        ),
    ],
)
def test_an_overflow_may_name_the_window_only(dialect: str, said: str, window: int) -> None:
    error = _ask(dialect, _event({"error": {"message": said}}), "text/event-stream")
    assert isinstance(error, e.ContextOverflowError)
    assert (error.prompt_tokens, error.context_length) == (None, window)


@pytest.mark.parametrize(
    "said",
    [
        "context_length_exceeded",
        "prompt is too long",
        "too many tokens: 5",
        "Prompt exceeds max length",
        "Total tokens of image and text exceed max message tokens",
        "tokens_limit_reached",
        "Prompt 超长",
        "prompt too long; exceeded max context length",
        "The input tokens exceed the model's context length",
        "prompt length 5 exceeds max sequence length",
    ],
)
def test_an_overflow_without_numbers_has_none(said: str) -> None:
    error = _ask("openai", json.dumps({"error": said}).encode(), "application/json", "400 Bad")
    assert isinstance(error, e.ContextOverflowError)
    assert (error.prompt_tokens, error.context_length) == (None, None)


# --- web pages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body>", "502 Bad Gateway"),
        (b"<!doctype html><TITLE lang=en>\n A &amp;\x1b[31m\n B </TITLE>", "A &"),
        (b"<html><title>" + b"x" * 900 + b"</title>", "x" * 120),
    ],
)
@pytest.mark.parametrize("dialect", list(_PROVIDERS))
@pytest.mark.parametrize("status", ["502 Bad Gateway", "524 Late", "403 No"])
def test_the_title_of_a_page_and_its_status_are_in_the_message(
    page: bytes, title: str, dialect: str, status: str
) -> None:
    error = _ask(dialect, page, "text/html", status)

    assert title in error.message
    assert status[:3] in error.message
    assert error.retryable == (status[0] == "5")
    assert str(error).isprintable()
    assert len(error.message) < 250


@pytest.mark.parametrize("dialect", list(_PROVIDERS))
def test_an_error_is_one_line_without_control_characters(dialect: str) -> None:
    said = "broke \x1b[31m\r\nFAKE LOG LINE\x07 \x9b31m \u2028 end"
    for status in ("400 Bad", "500 Broken"):
        error = _ask(dialect, json.dumps({"error": said}).encode(), "application/json", status)
        assert str(error).isprintable()
        assert error.server_message == said


# --- an answer is no error --------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside",
    [
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"detail": "billed"},
        {"status": "error-free", "code": 200},
        {"errors": []},
        {"error": None},
    ],
)
def test_fields_beside_an_answer_are_no_error(beside: Mapping[str, Any]) -> None:
    answer = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], **beside}
    with ScriptedServer(lambda _: [http_answer(answer)]) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            assert provider.chat("Hi").text == "Hi"


def test_other_names_and_comments_change_nothing() -> None:
    last: Optional[Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    body = b": error\n\nevent: message\n" + _BEGUN["openai"] + b"event: errors\n" + _event(last)
    with ScriptedServer(
        lambda _: [http_answer(body + _DONE, content_type="text/event-stream")]
    ) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            assert provider.chat("Hi").text == "Hello"
