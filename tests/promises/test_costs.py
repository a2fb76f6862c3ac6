"""The cost of a response is proportional to its bytes, and the limits hold for any JSON.

The tests compare no durations. They let a clock jump during the work: if the work checks the
clock, the call ends with an error.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
import tracemalloc
import zlib
from typing import Any, Callable, Dict, Iterator, List, Mapping

import pytest

from localproviders import (
    AnswerTooLargeError,
    CancelledError,
    CancelToken,
    CompletionRequest,
    EmbeddingError,
    LimitError,
    Message,
    OllamaProvider,
    ProtocolError,
    ProviderError,
    SchemaError,
    Tool,
    WrongModelError,
    _shared_deadline,
    structured,
)
from localproviders._dialect import common as shared_wire
from localproviders._http import framing, transport
from localproviders._http import stream as stream_module
from localproviders._http.deadline import Call
from localproviders._http_provider import call_runner
from localproviders._http_provider import provider as http_provider
from localproviders.lmstudio.wire import models as studio_models
from localproviders.ollama import catalog, transfers
from localproviders.ollama.wire import models as ollama_models
from localproviders.openai_compatible.wire import models as dialect_models
from localproviders.testing import ScriptedServer, http_answer
from tests.support.covering import in_usual_run
from tests.support.locality import PROVIDERS, make

_LISTS: Mapping[str, bytes] = {
    "ollama": b"models",
    "lmstudio": b"models",
    "llamacpp": b"data",
    "openai": b"data",
}
_NAMES: Mapping[str, str] = {"ollama": "name", "lmstudio": "key", "llamacpp": "id", "openai": "id"}
_MAKERS: Mapping[str, Any] = {
    "ollama": (ollama_models, "_model_info"),
    "lmstudio": (studio_models, "_v1_entry"),
    "llamacpp": (dialect_models, "_model_info"),
    "openai": (dialect_models, "_model_info"),
}
_TAGS = http_answer({"models": [{"name": "m:latest"}]})


def _repeat(item: bytes, size: int) -> bytes:
    return b",".join([item] * (size // (len(item) + 1)))


def _list(kind: str, items: bytes) -> bytes:
    return b'{"%s":[%s]}' % (_LISTS[kind], items)


def _models(kind: str, count: int, pad: int = 0) -> bytes:
    more = {"description": "x" * pad} if pad else {}
    items = [{_NAMES[kind]: f"m{number}", **more} for number in range(count)]
    return _list(kind, json.dumps(items)[1:-1].encode())


@contextlib.contextmanager
def _serve_body(
    kind: str, body: bytes, media: str = "application/json", **options: Any
) -> Iterator[Any]:
    """Yield a provider whose server answers every request with this body.

    The body replaces the model list of Ollama only if it is a model list.
    """
    answer = http_answer(body, content_type=media)

    def script(exchange: Any) -> List[bytes]:
        is_list = exchange.path == "/api/tags" and b'{"models"' not in body[:10]
        return [_TAGS if is_list else answer]

    with ScriptedServer(script) as server, make(kind, server, **options) as provider:
        yield provider


@contextlib.contextmanager
def _limit_memory(bytes_: int) -> Iterator[None]:
    """Check the peak of memory use, which includes the server in this process."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bytes_


# Large responses of LM Studio are a slow case: the code of the OpenAI dialect reads them.
_LARGE = in_usual_run(PROVIDERS, lambda kind: kind != "lmstudio")


# --- lists of models --------------------------------------------------------------------------


_FULL = (500_000, b"0")  # the most values for its bytes that is still parsed


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize(
    ("size", "item"),
    [
        pytest.param(
            size, item, marks=() if item == b"{}" or (size, item) == _FULL else pytest.mark.slow
        )
        for size in (500_000, 4_000_000)
        for item in (b"{}", b"[]", b"0", b'""', b'{"a":[]}')
    ],
)
def test_a_list_of_small_values_costs_little(kind: str, size: int, item: bytes) -> None:
    body = _list(kind, _repeat(item, size))
    with _serve_body(kind, body) as provider, _limit_memory(100_000_000):
        with pytest.raises(AnswerTooLargeError):
            provider.list_models()


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_list_of_more_than_16_mib_is_refused(kind: str, chunked: bool) -> None:
    answer = http_answer(_list(kind, b"[]," * 6_000_000 + b"[]"), chunked=chunked)
    with ScriptedServer(lambda _: [answer]) as server, make(kind, server) as provider:
        with pytest.raises(AnswerTooLargeError, match="16,777,216 bytes") as caught:
            provider.list_models()

    assert "right kind of server" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_list_may_have_ten_thousand_models_and_no_more(kind: str) -> None:
    with _serve_body(kind, _models(kind, 10_000)) as provider:
        assert len(provider.list_models()) == 10_000
    with _serve_body(kind, _models(kind, 10_001)) as provider:
        with pytest.raises(AnswerTooLargeError, match="10,001 models"):
            provider.list_models()


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_list_of_a_cloud_router_is_read(kind: str) -> None:
    with _serve_body(kind, _models(kind, 2_000, pad=5_000)) as provider:
        assert [info.name for info in provider.list_models()][-1] == "m1999"


@pytest.mark.parametrize("kind", PROVIDERS)
def test_an_entry_without_a_name_is_ignored(kind: str) -> None:
    name = _NAMES[kind]
    items = [{}, {name: ""}, {name: None}, {"size": 5}, 7, [], {name: "m"}]
    with _serve_body(kind, _list(kind, json.dumps(items)[1:-1].encode())) as provider:
        assert [info.name for info in provider.list_models()] == ["m"]


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("item", [b"{}", b'{"size": 5}', b"{},[],{}"])
def test_a_list_without_any_name_is_an_error(kind: str, item: bytes) -> None:
    with _serve_body(kind, _list(kind, item)) as provider:
        with pytest.raises(ProtocolError, match="name"):
            provider.list_models()


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["ollama", "lmstudio"])
def test_models_in_memory_are_bounded_too(kind: str) -> None:
    item = b'{"id":"a"}'
    items = b"{}" if kind == "ollama" else b'{"key":"m","type":"llm","loaded_instances":[%s]}'
    body = _list(kind, items % _repeat(item, 200_000) if b"%" in items else _repeat(items, 200_000))
    with _serve_body(kind, body) as provider, _limit_memory(100_000_000):
        with pytest.raises(AnswerTooLargeError):
            provider.loaded_models()


@pytest.mark.parametrize("path", ["/api/v0/models", "/v1/models"])
def test_the_older_lists_of_lm_studio_are_bounded_too(path: str) -> None:
    missing = http_answer({"error": f"Unexpected endpoint or method. (GET {path})"})
    found = http_answer(b'{"data":[%s]}' % _repeat(b"{}", 500_000))
    with ScriptedServer(
        lambda exchange: [found if exchange.path == path else missing]
    ) as server, make("lmstudio", server) as provider:
        with pytest.raises(AnswerTooLargeError):
            provider.list_models()


# --- the clock --------------------------------------------------------------------------------


class _Clock:
    """The real clock, plus a jump."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    for module in (call_runner, http_provider, catalog):
        monkeypatch.setattr(module, "Call", functools.partial(Call, clock=made))
    return made


def _after(count: int, action: Callable[[], None], work: Callable[..., Any]) -> Any:
    """Wrap a function so that it runs an action at this call; `made` counts the calls."""

    def counted(*args: Any, **options: Any) -> Any:
        counted.made += 1  # type: ignore[attr-defined]  # a function that counts
        if counted.made == count:  # type: ignore[attr-defined]  # as above
            action()
        return work(*args, **options)

    counted.made = 0  # type: ignore[attr-defined]  # as above
    return counted


def _jump(clock: _Clock) -> Callable[[], None]:
    return functools.partial(setattr, clock, "ahead_s", 1e6)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_limit_ends_the_parsing_of_models(
    kind: str, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = _MAKERS[kind]
    make_one = _after(300, _jump(clock), getattr(module, name))
    monkeypatch.setattr(module, name, make_one)
    with _serve_body(kind, _models(kind, 9_000)) as provider:
        with pytest.raises(LimitError) as caught:
            provider.list_models(timeout=20)

    assert (caught.value.limit, caught.value.limit_s) == ("total_s", 20)
    assert 300 <= make_one.made < 600


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_cancelled_call_parses_no_more_models(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = _MAKERS[kind]
    token = CancelToken()
    make_one = _after(300, token.cancel, getattr(module, name))
    monkeypatch.setattr(module, name, make_one)
    with _serve_body(kind, _models(kind, 9_000)) as provider, pytest.raises(CancelledError):
        provider.list_models(cancel=token)

    assert 300 <= make_one.made < 600


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROVIDERS)
def test_an_interrupt_passes_while_models_are_parsed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    module, name = _MAKERS[kind]
    monkeypatch.setattr(module, name, _after(300, interrupt, getattr(module, name)))
    with _serve_body(kind, _models(kind, 9_000)) as provider:
        with pytest.raises(KeyboardInterrupt):
            provider.list_models()
        assert len(provider.list_models()) == 9_000


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("count", [3, 200])
def test_a_small_list_after_the_limit_is_an_error_too(
    kind: str, count: int, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = _MAKERS[kind]
    monkeypatch.setattr(module, name, _after(count, _jump(clock), getattr(module, name)))
    with _serve_body(kind, _models(kind, count)) as provider, pytest.raises(LimitError):
        provider.list_models(timeout=20)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_json_parsed_after_the_limit_is_an_error(
    kind: str, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps after the parsing, because the module json checks no clock."""
    module, name = _MAKERS[kind]
    make_one = _after(1, lambda: None, getattr(module, name))
    monkeypatch.setattr(module, name, make_one)
    read = transport.parse_json

    def slow(*args: Any, **options: Any) -> Any:
        value = read(*args, **options)
        clock.ahead_s = 1e6
        return value

    monkeypatch.setattr(transport, "parse_json", slow)
    with _serve_body(kind, _models(kind, 3)) as provider, pytest.raises(LimitError):
        provider.list_models(timeout=20)

    assert make_one.made == 0


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_limit_ends_the_parsing_of_vectors(
    kind: str, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localproviders._http import bodies

    row = _after(5, _jump(clock), bodies._pack_list)
    monkeypatch.setattr(bodies, "_pack_list", row)
    vectors = [[0.5] * 400] * 50
    body: Any = {"embeddings": vectors, "model": "m"}
    if kind != "ollama":
        body = {"data": [{"embedding": vector} for vector in vectors]}
    with _serve_body(kind, json.dumps(body).encode()) as provider, pytest.raises(LimitError):
        provider.embed(["text"] * 50, timeout=20)

    assert row.made < 10


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_limit_ends_a_large_record(
    kind: str, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record whose parsing takes too long is an error; the text before it is kept."""
    # Another shape than the first record, so that the record is parsed completely.
    large = {**_record(kind, content="x" * 100_000), "more": 1}
    records = [_record(kind, content="Hi"), large]
    body = b"".join([*(_framed(kind, record) for record in records), _end(kind)])
    parse = stream_module.Stream._parse

    def jump(stream: Any, record: str) -> Any:
        if len(record) > 100_000:
            clock.ahead_s = 1e6
        return parse(stream, record)

    monkeypatch.setattr(stream_module.Stream, "_parse", jump)
    with _serve_body(kind, body, _media(kind)) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi", timeout=20)

    assert caught.value.partial == "Hi"


# --- chats ------------------------------------------------------------------------------------


def _media(kind: str) -> str:
    return "application/x-ndjson" if kind == "ollama" else "text/event-stream"


def _record(kind: str, **message: Any) -> Dict[str, Any]:
    if kind == "ollama":
        return {"model": "m", "message": message, "done": False}
    return {"model": "m", "choices": [{"delta": message, "finish_reason": None}]}


def _framed(kind: str, record: Any) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return text + b"\n" if kind == "ollama" else b"data: " + text + b"\n\n"


def _end(kind: str) -> bytes:
    if kind == "ollama":
        done = {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"}
        return _framed(kind, done)
    record = {"model": "m", "choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    return _framed(kind, record) + b"data: [DONE]\n\n"


def _call(kind: str, number: int, arguments: Any) -> Dict[str, Any]:
    if kind != "ollama":
        arguments = json.dumps(arguments, separators=(",", ":"))
    function = {"name": "f", "arguments": arguments}
    return {"index": number, "id": f"c{number}", "function": function}


def _calling(kind: str, numbers: range, arguments: Any) -> bytes:
    calls = [_call(kind, number, arguments) for number in numbers]
    return _framed(kind, _record(kind, tool_calls=calls))


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["one record", "many records"])
def test_a_stream_may_have_a_thousand_tool_calls_and_no_more(kind: str, how: str) -> None:
    def answer(count: int) -> bytes:
        ranges = [range(count)] if how == "one record" else [range(n, n + 1) for n in range(count)]
        calls = b"".join(_calling(kind, numbers, {}) for numbers in ranges)
        return _framed(kind, _record(kind, content="Hi")) + calls + _end(kind)

    with _serve_body(kind, answer(1_000), _media(kind)) as provider:
        assert len(provider.chat("Hi").tool_calls) == 1_000
    with _serve_body(kind, answer(1_001), _media(kind)) as provider:
        with pytest.raises(AnswerTooLargeError, match="1,000 tool calls") as caught:
            provider.chat("Hi")

    assert caught.value.partial == "Hi"


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])
def test_tool_calls_with_the_same_index_are_counted_too(kind: str) -> None:
    events = [
        _framed(kind, _record(kind, tool_calls=[{**_call(kind, 0, {}), "id": f"c{number}"}]))
        for number in range(1_001)
    ]
    with _serve_body(kind, b"".join([*events, _end(kind)]), _media(kind)) as provider:
        with pytest.raises(AnswerTooLargeError, match="1,000 tool calls"):
            provider.chat("Hi")


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])
def test_a_response_may_have_a_thousand_tool_calls_and_no_more(kind: str) -> None:
    for count in (1_000, 1_001):
        calls = [_call(kind, number, {}) for number in range(count)]
        choice = {"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}
        body = json.dumps({"model": "m", "choices": [choice]})
        with _serve_body(kind, body.encode()) as provider:
            if count == 1_000:
                assert len(provider.chat("Hi").tool_calls) == count
            else:
                with pytest.raises(AnswerTooLargeError, match="1,000 tool calls"):
                    provider.chat("Hi")


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE)
def test_the_arguments_of_all_tool_calls_together_are_bounded(kind: str) -> None:
    """Each record is small enough, but the response would keep the values of all."""
    heavy = {"a": [[]] * 100_000}
    calls = [_calling(kind, range(number, number + 1), heavy) for number in range(20)]
    with _serve_body(kind, b"".join([*calls, _end(kind)]), _media(kind)) as provider:
        with _limit_memory(100_000_000), pytest.raises(AnswerTooLargeError, match="more values"):
            provider.chat("Hi")


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", _LARGE)
@pytest.mark.parametrize("letters", ["x", "{[,:", 'say "Hi"\n'])
def test_a_tool_call_may_have_arguments_of_several_mib(kind: str, letters: str) -> None:
    expected = {"code": letters * (4_000_000 // len(letters))}
    body = _calling(kind, range(1), expected) + _end(kind)
    with _serve_body(kind, body, _media(kind)) as provider:
        (call,) = provider.chat("Hi").tool_calls

    assert call.arguments == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE)
@pytest.mark.parametrize("letters", ["x", "{[,:", '\n"', "é{"])
def test_a_text_of_many_mib_is_accepted(kind: str, letters: str) -> None:
    expected = letters * (6_000_000 // len(letters))
    with _serve_body(
        kind, _framed(kind, _record(kind, content=expected)) + _end(kind), _media(kind)
    ) as provider:
        assert provider.chat("Hi").text == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE[1:])
def test_endless_pieces_of_tool_calls_cost_little(kind: str) -> None:
    pieces = b'{"choices":[{"delta":{"tool_calls":[%s]}}]}' % _repeat(b'{"index":0}', 10_000_000)
    body = b"data: " + pieces + b"\n\n"
    with _serve_body(kind, body, _media(kind)) as provider, _limit_memory(100_000_000):
        with pytest.raises(AnswerTooLargeError, match="more values"):
            provider.chat("Hi")


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE[1:])
def test_endless_choices_cost_little(kind: str) -> None:
    body = b'{"choices":[%s]}' % _repeat(b"{}", 8_000_000)
    with _serve_body(kind, body) as provider, _limit_memory(100_000_000):
        with pytest.raises(AnswerTooLargeError, match="more values"):
            provider.chat("Hi")


# --- log-probabilities ------------------------------------------------------------------------

_TOKEN = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}] * 4}


def _with_logprobs(kind: str, tokens: int) -> bytes:
    record = _record(kind, content="a")
    entries = [_TOKEN] * tokens
    if kind == "ollama":
        record["logprobs"] = entries
    else:
        record["choices"][0]["logprobs"] = {"content": entries}
    return _framed(kind, record)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_log_probabilities_are_bounded_in_a_response(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_wire, "MOST_LOGPROBS", 100)
    for records, tokens in ((10, 2), (1, 20)):
        body = _with_logprobs(kind, tokens) * records + _end(kind)
        with _serve_body(kind, body, _media(kind)) as provider:
            assert len(provider.chat("Hi").logprobs) == 20
        body = _with_logprobs(kind, tokens) * (records + 1) + _end(kind)
        with _serve_body(kind, body, _media(kind)) as provider:
            with pytest.raises(AnswerTooLargeError, match="100 log-probabilities"):
                provider.chat("Hi")


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])
def test_log_probabilities_in_columns_are_bounded_too(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_wire, "MOST_LOGPROBS", 100)
    logprobs = {"tokens": ["a"] * 60, "token_logprobs": [0] * 60, "top_logprobs": [{"a": 0}] * 60}
    choice = {"text": "a", "logprobs": logprobs, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]})
    with _serve_body(kind, body.encode()) as provider:
        with pytest.raises(AnswerTooLargeError, match="100 log-probabilities"):
            provider.complete(CompletionRequest(prompt="Hi"))


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_limit_ends_the_parsing_of_log_probabilities(
    kind: str, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = _after(300, _jump(clock), shared_wire.TokenLogprob)
    monkeypatch.setattr(shared_wire, "TokenLogprob", token)
    body = _with_logprobs(kind, 5_000) + _end(kind)
    with _serve_body(kind, body, _media(kind)) as provider, pytest.raises(LimitError):
        provider.chat("Hi", timeout=20)

    assert 300 <= token.made < 600


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE)
def test_endless_log_probabilities_cost_little(kind: str) -> None:
    record = _record(kind, content="a")
    if kind == "ollama":
        record["logprobs"] = ["HERE"]
    else:
        record["choices"][0]["logprobs"] = {"content": ["HERE"]}
    body = _framed(kind, record).replace(b'"HERE"', _repeat(b'{"logprob":0}', 10_000_000))
    with _serve_body(kind, body, _media(kind)) as provider, _limit_memory(100_000_000):
        with pytest.raises(AnswerTooLargeError, match="more values"):
            provider.chat("Hi")


# --- vectors ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE)
def test_endless_empty_vectors_cost_little(kind: str) -> None:
    pre, item = (b'{"embeddings":[', b"[]")
    if kind != "ollama":
        pre, item = b'{"data":[', b'{"embedding":[]}'
    for size in (300_000, 8_000_000):
        with _serve_body(kind, pre + _repeat(item, size) + b"]}") as provider, _limit_memory(
            100_000_000
        ):
            with pytest.raises(ProviderError):
                provider.embed(["a", "b"])


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])
def test_no_vector_is_unpacked_if_there_are_too_many(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localproviders.openai_compatible.wire import vectors as answers

    vector = _after(1, lambda: None, answers._vector)
    monkeypatch.setattr(answers, "_vector", vector)
    body = json.dumps({"data": [{"embedding": "AACAPw=="}] * 3}).encode()
    with _serve_body(kind, body) as provider:
        with pytest.raises(EmbeddingError, match="the server returned 3 vectors for"):
            provider.embed(["a", "b"])

    assert vector.made == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", _LARGE)
def test_a_large_batch_with_one_bad_vector_names_its_text(kind: str) -> None:
    vectors: List[List[Any]] = [[0.5] * 4096 for _ in range(500)]
    vectors[7][3] = None
    body: Any = {"embeddings": vectors, "model": "m"}
    if kind != "ollama":
        body = {"data": [{"embedding": vector} for vector in vectors]}
    with _serve_body(kind, json.dumps(body).encode()) as provider:
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(["text"] * 500, batch_size=500)

    assert list(caught.value.failures) == [7]
    assert len(caught.value.embedded) == 499


def test_a_server_that_names_another_model_in_each_record_costs_little() -> None:
    """Without a bound, 100,000 names took 79 s: each was compared with all names before it."""
    records = [{**_record("openai", content="a"), "model": f"m{number}"} for number in range(1_000)]
    body = b"".join(_framed("openai", record) for record in records) + _end("openai")
    with _serve_body("openai", body, _media("openai")) as provider:
        response = provider.chat("Hi")

    assert response.text == "a" * 1_000
    assert len(response.warnings) == 20


def test_a_name_that_changes_in_each_record_is_not_looked_up_each_time() -> None:
    """Without a bound, the model list of up to 16 MiB was requested once for each record."""
    names = [f"m{number}" for number in range(100)]
    records = [{**_record("lmstudio", content="a"), "model": name} for name in names]
    body = b"".join(_framed("lmstudio", record) for record in records) + _end("lmstudio")
    chat = http_answer(body, content_type=_media("lmstudio"))
    models = http_answer({"models": [{"key": "m", "type": "llm", "variants": names}]})

    def script(exchange: Any) -> List[bytes]:
        return [chat if exchange.path == "/v1/chat/completions" else models]

    with ScriptedServer(script) as server, make("lmstudio", server) as provider:
        with pytest.raises(WrongModelError) as caught:
            provider.chat("Hi")

    assert (caught.value.served, caught.value.partial) == ("m4", "aaaa")
    assert len(server.exchanges) < 10


# --- other calls --------------------------------------------------------------------------


def test_a_model_may_have_ten_thousand_parameters_and_messages_and_no_more() -> None:
    lines = "\n".join(["a 1"] * 10_001)
    messages = [{"role": "user", "content": "a"}] * 10_001
    for more in ({"parameters": lines}, {"messages": messages}):
        with _serve_body("ollama", json.dumps(more).encode()) as provider:
            assert isinstance(provider, OllamaProvider)
            with pytest.raises(AnswerTooLargeError, match="of a model"):
                provider.show("m")


def test_verbose_model_details_may_be_large() -> None:
    body = json.dumps({"model_info": {"general.architecture": "a", "x": "y" * 20_000_000}})
    with _serve_body("ollama", body.encode()) as provider:
        assert isinstance(provider, OllamaProvider)
        assert len(provider.show("m", verbose=True).metadata["x"]) == 20_000_000
        with pytest.raises(AnswerTooLargeError):
            provider.show("m")


def test_a_transfer_with_endless_new_steps_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new status counts as progress, so the idle limit would never end the call."""
    monkeypatch.setattr(transfers, "MOST_STEPS", 1_000)
    reports = b"".join(b'{"status":"step %d"}\n' % number for number in range(1_001))
    with _serve_body("ollama", reports, "application/x-ndjson") as provider:
        with pytest.raises(AnswerTooLargeError, match="1,000 steps"):
            provider.pull("m")


@pytest.mark.slow
def test_a_prompt_of_a_million_tokens_is_counted() -> None:
    tokens = http_answer({"tokens": [128_000] * 1_000_000})
    prompt = http_answer({"prompt": "x" * 20_000_000})
    with ScriptedServer(
        lambda exchange: [prompt if exchange.path == "/apply-template" else tokens]
    ) as server, make("openai", server) as provider:
        count = provider.count_tokens([Message.user("Hi")])

    assert (count.tokens, count.source) == (1_000_000, "exact")


@pytest.mark.slow
def test_a_hint_names_no_more_than_fifty_models() -> None:
    with _serve_body("openai", _models("openai", 9_000), model=None) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.chat("Hi", tools=[Tool(name="f", parameters={"type": "object"})])

    assert "m0, m1, " in str(caught.value.hint)
    assert str(caught.value.hint).endswith("m49 and 8,950 more")


# --- compressed responses -----------------------------------------------------------------------

# A block of deflate without data.
_EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"


@pytest.mark.parametrize("where", ["after the end", "before the end"])
def test_a_compressed_response_with_endless_empty_blocks_is_an_error(where: str) -> None:
    """Empty blocks add no size. Without a bound they were read until a limit fired."""
    squeezed = zlib.compressobj()
    text = squeezed.compress(b'{"data":[{"id":"m"}]}')
    ending = zlib.Z_FINISH if where == "after the end" else zlib.Z_SYNC_FLUSH
    text += squeezed.flush(ending) + _EMPTY_BLOCK * 300_000
    answer = http_answer(text, headers=[("Content-Encoding", "deflate")])
    with ScriptedServer(lambda _: [answer]) as server, make("openai", server) as provider:
        with pytest.raises(ProtocolError, match="hold no data"):
            provider.list_models()


# --- structured output -------------------------------------------------------------------------


def _completion(value: str) -> bytes:
    choice = {"message": {"content": value}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.slow
def test_structured_output_has_a_bounded_number_of_values() -> None:
    """Without a bound, a list of 1.8 million numbers was checked for 6.6 s, beyond any limit."""
    for count, fits in ((100_000, True), (300_000, False)):
        text = json.dumps({"value": [1] * count})
        with _serve_body("openai", _completion(text)) as provider:
            if fits:
                assert len(provider.parse("Hi", List[int]).value) == count
            else:
                with pytest.raises(SchemaError) as caught:
                    provider.parse("Hi", List[int], max_attempts=1)
                assert "more values" in caught.value.reasons[0]


def test_a_value_checked_after_the_limit_is_an_error(
    clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = structured._read_value

    def slow(*args: Any) -> Any:
        clock.ahead_s = 1e6
        return read(*args)

    monkeypatch.setattr(structured, "_read_value", slow)
    asking = functools.partial(_shared_deadline.SharedDeadline, clock=clock)
    monkeypatch.setattr(structured, "SharedDeadline", asking)
    with _serve_body("openai", _completion('{"value": [1]}')) as provider:
        with pytest.raises(LimitError) as caught:
            provider.parse("Hi", List[int], timeout=20)

    assert (caught.value.limit, caught.value.partial) == ("total_s", '{"value": [1]}')


def test_the_arguments_of_a_tool_call_are_parsed_within_the_limits(
    clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localproviders.openai_compatible.wire import tool_calls

    def weigh(*args: Any, **options: Any) -> int:
        weight = framing.weigh(*args, **options)
        clock.ahead_s = 1e6
        return weight

    monkeypatch.setattr(tool_calls, "weigh", weigh)
    arguments = (
        '{"a":[' + ("0." + "1" * 50 + ",") * 2_000 + "0]"
    )  # the closing brackets are missing
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    body = _framed("openai", _record("openai", tool_calls=[call])) + _end("openai")
    with _serve_body("openai", body, _media("openai")) as provider, pytest.raises(LimitError):
        provider.chat("Hi", timeout=20)


def test_the_clock_is_checked_before_and_after_arguments_are_encoded() -> None:
    """Both parsing a body and encoding arguments may take long."""
    from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler

    told: List[str] = []

    class Arguments(Dict[str, Any]):
        def items(self) -> Any:
            told.append("written")
            return super().items()

    arguments = Arguments(a=1)
    assembler = ToolCallAssembler(look=lambda: told.append("looked"))
    assembler.add([{"id": "c", "function": {"name": "f", "arguments": arguments}}])
    assert told == ["looked", "written", "looked"]
    (call,) = assembler.complete_calls("tool_calls")
    assert call.arguments == {"a": 1}
