"""Every body, line, header and JSON nesting is bounded in every response, also in refusals."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from typing import Any, Callable, List, Mapping

import pytest

from localproviders import (
    AnswerTooLargeError,
    LimitError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
)
from localproviders._dialect.error_answers import explain, from_words, read_words
from localproviders._http import deadline
from localproviders.lmstudio.wire.errors import RULES as LM_STUDIO
from localproviders.ollama.wire.errors import RULES as OLLAMA
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.locality import AGAIN, ANSWER, CALLS, PROVIDERS, after_model_list, make
from tests.support.timing import GRACE_S

_LISTING = ("list_models", "supports_model", "model_capabilities")
_SMALL = {"max_body_bytes": 20_000, "max_line_bytes": 20_000, "max_json_depth": 20}


def _media(kind: str) -> str:
    return "application/x-ndjson" if kind == "ollama" else "text/event-stream"


def _chunk(kind: str) -> bytes:
    if kind == "ollama":
        return b'{"model":"m","message":{"content":"Hi"},"done":false}\n'
    return b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'


def _head(kind: str, framing: str = "Connection: close") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {_media(kind)}\r\n{framing}\r\n\r\n".encode()


def _repeat(piece: bytes) -> Callable[[Exchange], None]:
    """Return a step that sends a piece again and again until the client disconnects."""

    def flood(exchange: Exchange) -> None:
        while True:
            exchange.sock.sendall(piece)

    return flood


# --- JSON responses ------------------------------------------------------------------------------

_NESTED = b'{"a":' * 30 + b"1" + b"}" * 30
_ANSWERS: Mapping[str, bytes] = {
    "a large body": http_answer(b" " * 20_001),
    "in chunks": http_answer(b" " * 20_001, chunked=True, chunk_size=1000),
    "a bomb": http_answer(gzip.compress(b" " * 50_000_000), headers=[("Content-Encoding", "gzip")]),
    "deep JSON": http_answer(_NESTED),
    "deep arrays": http_answer(b"[" * 100_000),
}


@pytest.mark.sample(13)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("ask", [*_LISTING, "embed"])
@pytest.mark.parametrize("answer", _ANSWERS)
def test_a_json_response_is_bounded(kind: str, ask: str, answer: str) -> None:
    script = after_model_list(_ANSWERS[answer])
    with ScriptedServer(script if ask == "embed" else _ANSWERS[answer]) as server:
        with make(kind, server, **_SMALL) as provider, pytest.raises(AnswerTooLargeError):
            CALLS[ask](provider)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_response_of_exactly_the_limit_is_accepted(kind: str) -> None:
    key = {"ollama": "models", "lmstudio": "models"}.get(kind, "data")
    body = json.dumps({key: []})
    with ScriptedServer(http_answer(body + " " * (20_000 - len(body)))) as server:
        with make(kind, server, **_SMALL) as provider:
            assert provider.list_models() == []


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("ask", [*_LISTING, "embed"])
def test_an_endless_json_response_is_an_error(kind: str, ask: str) -> None:
    steps: List[Any] = [b"HTTP/1.1 200 OK\r\n\r\n", _repeat(b" " * 1000)]
    with ScriptedServer(after_model_list(steps) if ask == "embed" else lambda _: steps) as server:
        with make(kind, server, **_SMALL, timeout=20) as provider:
            with pytest.raises(AnswerTooLargeError):
                CALLS[ask](provider)


# --- streams ------------------------------------------------------------------------------

# Endless responses that a limit for single records or lines does not bound.
_FLOODS: Mapping[str, Callable[[str], bytes]] = {
    "records": _chunk,
    "blank lines": lambda kind: b"\n" * 1000,
    "one line": lambda kind: b"x" * 1000,
    "comments": lambda kind: b": \n\n" if kind != "ollama" else b"   \n",
    "unknown fields": lambda kind: b"event: x\nid: 7\n" if kind != "ollama" else b"\r\n",
    "an event of empty lines": lambda kind: b"data:\ndata\n" if kind != "ollama" else b" \n",
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("ask", ["chat", "stream", "complete"])
@pytest.mark.parametrize("flood", _FLOODS)
def test_an_endless_stream_is_an_error(kind: str, ask: str, flood: str) -> None:
    steps = [_head(kind) + _chunk(kind), _repeat(_FLOODS[flood](kind) * 50)]
    with ScriptedServer(after_model_list(steps)) as server:
        with make(kind, server, **_SMALL, timeout=20) as provider:
            with pytest.raises(AnswerTooLargeError) as caught:
                CALLS[ask](provider)

    # The records are not those of a plain completion, and a long line is an error at once.
    if ask != "complete" and flood != "one line":
        assert caught.value.partial.startswith("Hi")


@pytest.mark.parametrize("kind", ["lmstudio", "openai"])
def test_an_event_of_empty_lines_needs_little_memory(kind: str) -> None:
    steps = [_head(kind), _repeat(b"data:\n" * 1000)]
    with ScriptedServer(after_model_list(steps)) as server:
        with make(kind, server, max_line_bytes=20_000, timeout=20) as provider:
            tracemalloc.start()
            with pytest.raises(AnswerTooLargeError, match="an event"):
                provider.chat("Hi")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_deep_record_is_refused_with_the_text_so_far(kind: str) -> None:
    deep = _NESTED + b"\n" if kind == "ollama" else b"data: " + _NESTED + b"\n\n"
    answer = http_answer(_chunk(kind) + deep, content_type=_media(kind))
    with ScriptedServer(after_model_list(answer)) as server, make(
        kind, server, **_SMALL
    ) as provider:
        with pytest.raises(AnswerTooLargeError, match="nested") as caught:
            provider.chat("Hi")

    assert caught.value.partial == "Hi"


# --- heads --------------------------------------------------------------------------------

_HEADS: Mapping[str, List[Any]] = {
    "a status line": [b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n"],
    "a header": [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"],
    "many headers": [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"],
    "folded headers": [b"HTTP/1.1 200 OK\r\nX: y\r\n" + b" folded\r\n" * 200 + b"\r\n"],
    "endless status": [b"HTTP/1.1 200 ", _repeat(b"O" * 1000)],
    "endless header": [b"HTTP/1.1 200 OK\r\nX: ", _repeat(b"x" * 1000)],
    "endless headers": [b"HTTP/1.1 200 OK\r\n", _repeat(b"X: y\r\n" * 100)],
    "endless 100": [_repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)],
    "endless 103": [_repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)],
    "large 100": [_repeat(b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 9000 + b"\r\n\r\n")],
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("head", _HEADS)
def test_a_head_is_bounded(kind: str, head: str) -> None:
    with ScriptedServer(lambda _: [*_HEADS[head], lambda e: e.close()]) as server:
        with make(kind, server, timeout=20) as provider, pytest.raises(ProviderError) as caught:
            provider.list_models()

    # http.client returns a response with status 103 like any other.
    assert isinstance(caught.value, ServerError)


@pytest.mark.parametrize(
    "body",
    [
        [b"1;" + b"x" * 70_000],
        [b"0" * 70_000 + b"1\r\nx\r\n"],
        [b"F" * 10_000 + b"\r\n"],
        [_repeat(b"0" * 1000)],
        [b"1;", _repeat(b"x" * 1000)],
    ],
    ids=["a long extension", "a long size", "a huge size", "an endless size", "endless words"],
)
def test_the_line_of_a_chunk_is_bounded(body: List[Any]) -> None:
    steps = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *body]
    with ScriptedServer(lambda _: [*steps, lambda e: e.close()]) as server:
        with make("openai", server, timeout=20) as provider:
            with pytest.raises(ProviderError) as caught:
                provider.list_models()

    assert not isinstance(caught.value, LimitError)


# --- refusals -----------------------------------------------------------------------------

_STATUSES = {
    "400 Bad Request": RequestRejectedError,
    "500 Oops": ServerError,
    "503 Busy": ServerBusyError,
}
_MESSAGE = b'{"error": "the reason"}'
_OPEN = "HTTP/1.1 {}\r\nContent-Type: application/json\r\n\r\n"
# The rest of the body of a refusal, after its message.
_RESTS: Mapping[str, Any] = {
    "endless blanks": _repeat(b" " * 1000),
    "endless words": _repeat(b"word " * 1000),
    "dripped": lambda exchange: exchange.drip(b" ", 0.5),
    "held": lambda exchange: exchange.hold(),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("status", _STATUSES)
@pytest.mark.parametrize("rest", _RESTS)
def test_a_refusal_with_an_endless_body_is_a_refusal(
    kind: str, status: str, rest: str, fake_clock: FakeTime
) -> None:
    steps = [_OPEN.format(status).encode() + _MESSAGE, _RESTS[rest]]
    with ScriptedServer(lambda _: steps) as server, make(kind, server) as provider:
        for ask in ("list_models", "chat"):
            started = fake_clock.now
            with pytest.raises(_STATUSES[status]) as caught:
                CALLS[ask](provider)
            assert fake_clock.now - started <= deadline.REASON_S
            assert type(caught.value) is _STATUSES[status]
            assert caught.value.status == int(status[:3])
            assert "the reason" in str(caught.value.server_message)
            assert len(str(caught.value)) < 1000
        assert all(exchange.client_gone.wait(GRACE_S) for exchange in server.exchanges)


@pytest.mark.parametrize("status", _STATUSES)
def test_a_shorter_limit_ends_reading_a_refusal_earlier(status: str, fake_clock: FakeTime) -> None:
    steps = [_OPEN.format(status).encode() + _MESSAGE, _RESTS["dripped"]]
    with ScriptedServer(lambda _: steps) as server:
        with make("ollama", server, timeout=3) as provider:
            started = fake_clock.now
            with pytest.raises(_STATUSES[status], match="the reason"):
                provider.list_models()

    assert fake_clock.now - started == 3


_BODIES: Mapping[str, bytes] = {
    "large": http_answer(b"word " * 500_000, status="400 No"),
    "a bomb": http_answer(
        gzip.compress(b"word " * 10_000_000),
        status="400 No",
        headers=[("Content-Encoding", "gzip")],
    ),
    "deep": http_answer(b'{"error":' * 50_000, status="400 No"),
    "deep and complete": http_answer(b'{"error":' * 50_000 + b"1" + b"}" * 50_000, status="400 No"),
    "deep in words": http_answer({"error": '{"error":' * 50_000}, status="400 No"),
    "many digits": http_answer(b'{"error":' + b"9" * 900_000 + b"}", status="400 No"),
    "many digits in words": http_answer({"error": '{"error":' + "9" * 900_000}, status="400 No"),
    "a false encoding": http_answer(b"no", status="400 No", headers=[("Content-Encoding", "br")]),
    "cut": http_answer(b"no", status="400 No").replace(b"Length: 2", b"Length: 9"),
    "a bad chunk": b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "no UTF-8": http_answer(b"\xff\xfe no", status="400 No"),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("body", _BODIES)
def test_any_body_of_a_refusal_keeps_the_status_and_costs_little(kind: str, body: str) -> None:
    with ScriptedServer(lambda _: [_BODIES[body], lambda e: e.close()]) as server:
        with make(kind, server, retry=AGAIN) as provider:
            for ask in ("list_models", "chat"):
                started = time.monotonic()
                with pytest.raises(RequestRejectedError) as caught:
                    CALLS[ask](provider)
                assert time.monotonic() - started < GRACE_S
                assert caught.value.status == 400
                assert len(str(caught.value)) < 1000
                assert len(caught.value.server_message or "") <= 2000


# Beginnings of messages for which a pattern of some dialect searches the end.
_HALVES = (
    "input length ",
    "model ",
    "requires ",
    "option ",
    "(1 tokens) ",
    "n_keep: 1",
    "first 1 tokens ",
    "not_found_error ",
    "keep the first 1",
)


@pytest.mark.sample(1)
@pytest.mark.parametrize("half", _HALVES)
def test_an_error_message_is_read_in_linear_time(half: str) -> None:
    said = half * (1_000_000 // len(half))
    started = time.monotonic()
    for rules in (OLLAMA, LM_STUDIO):
        explain(500, said, {}, rules)
        words = read_words({"error": {"message": said, "type": said, "code": said}})
        assert words is not None
        error = from_words(words, rules)
        assert len(str(error)) < 1000

    assert time.monotonic() - started < GRACE_S


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", PROVIDERS)
def test_an_error_within_a_stream_costs_little(kind: str) -> None:
    record = json.dumps({"error": "model " * 1_000_000})
    framed = f"{record}\n" if kind == "ollama" else f"data: {record}\n\n"
    answer = http_answer(_chunk(kind) + framed.encode(), content_type=_media(kind))
    with ScriptedServer(after_model_list(answer)) as server, make(kind, server) as provider:
        started = time.monotonic()
        with pytest.raises(ServerError) as caught:
            provider.chat("Hi")

    assert time.monotonic() - started < GRACE_S
    assert caught.value.partial == "Hi"
    assert ANSWER not in str(caught.value) and len(str(caught.value)) < 1000
