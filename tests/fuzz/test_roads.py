"""Whatever a server sends: a result or a typed error, within the limit, and the next call works."""

from __future__ import annotations

import gc
import time
from typing import Any, Callable, Dict, Iterable, Iterator, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import (
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.fuzz.answers import GOOD, bad_answers
from tests.fuzz.pieces import examples
from tests.fuzz.promises import check, check_error, fits_vectors

LIMIT_S = 0.3
GRACE_S = 2.0


class Server(ScriptedServer):
    """One server for all examples: it sends what the example says, else what is good."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.bad: Dict[str, bytes] = {}
        self.closes = True

    def _answer(self, exchange: Exchange) -> Iterable[Any]:
        if exchange.path not in self.bad:
            return [GOOD[exchange.path][0]]
        return [self.bad[exchange.path], Exchange.close if self.closes else give_up_late]


def give_up_late(exchange: Exchange) -> None:
    """Close after any limit: a client that has none comes back late, instead of never."""
    exchange.sock.settimeout(LIMIT_S + 2 * GRACE_S)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Let a forgotten connection speak up in the test that forgot it."""
    yield
    gc.collect()


# --- the calls ------------------------------------------------------------------------------

Call = Callable[[ModelProvider, float], Any]


def chat(provider: ModelProvider, timeout: float) -> str:
    answer = provider.chat("Hello", timeout=timeout)
    check(answer)
    return answer.text


def stream(provider: ModelProvider, timeout: float) -> str:
    with provider.stream("Hello", timeout=timeout) as chunks:
        for chunk in chunks:
            check(chunk)
        return chunks.result().text


def embed(provider: ModelProvider, timeout: float) -> int:
    answer = provider.embed(["one", "two"], timeout=timeout)
    assert fits_vectors(answer, 2)
    check(answer)
    return len(answer.vectors)


def list_models(provider: ModelProvider, timeout: float) -> str:
    found = provider.list_models(timeout=timeout)
    for info in found:
        check(info)
    return found[0].name.partition(":")[0] if found else ""


Maker = Callable[[str], ModelProvider]
_MAKERS: Dict[str, Maker] = {
    "ollama": lambda url: OllamaProvider(url, model="m"),
    "lmstudio": lambda url: LMStudioProvider(url, model="m"),
    "dialect": lambda url: OpenAICompatibleProvider(url + "/v1", model="m"),
}
_PATHS = {
    "ollama": ("/api/chat", "/api/embed", "/api/tags"),
    "lmstudio": ("/v1/chat/completions", "/v1/embeddings", "/api/v1/models"),
    "dialect": ("/v1/chat/completions", "/v1/embeddings", "/v1/models"),
}
ROADS: Dict[str, Tuple[Maker, Call, str]] = {
    f"{kind}, {call.__name__}": (make, call, path)
    for kind, make in _MAKERS.items()
    for call, path in zip((chat, embed, list_models), _PATHS[kind])
}
ROADS.update({f"{kind}, stream": (make, stream, _PATHS[kind][0]) for kind, make in _MAKERS.items()})


def end_of(call: Call, provider: ModelProvider) -> Any:
    started = time.monotonic()
    try:
        return call(provider, LIMIT_S)
    except ProviderError as error:
        check_error(error)
        return error
    finally:
        assert time.monotonic() - started < LIMIT_S + GRACE_S


@pytest.mark.parametrize("road", ROADS)
@examples(24)
@given(data=st.data(), warm=st.booleans(), stays=st.integers(0, 9))
def test_any_answer_ends_in_time_and_the_next_call_works(
    road: str, server: Server, data: Any, warm: bool, stays: int
) -> None:
    make, call, path = ROADS[road]
    with make(server.url) as provider:
        server.bad = {}
        good = call(provider, 10) if warm else None
        server.closes = stays > 0
        server.bad = {path: data.draw(bad_answers(path), label="answer")}
        end_of(call, provider)
        server.bad = {}
        again = call(provider, 10)

    assert again == good or not warm
    assert again


@pytest.mark.parametrize("road", ROADS)
@examples(8)
@given(data=st.data())
def test_a_cut_answer_is_the_whole_one_or_an_error(road: str, server: Server, data: Any) -> None:
    make, call, path = ROADS[road]
    good = data.draw(st.sampled_from(GOOD[path]))
    at = data.draw(st.integers(0, len(good) - 1))
    server.closes = False
    with make(server.url) as provider:
        server.bad = {path: good}
        whole = call(provider, 10)
        server.closes = True
        server.bad = {path: good[:at]}
        end = end_of(call, provider)

    assert isinstance(end, ProviderError) or end == whole


# --- what was found this way ------------------------------------------------------------------

_BAD_LINE = {
    "ollama": b'{"model":"m","message":{"content":"Hi"},"done":false}\n\xff\n',
    "dialect": b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\ndata: \xff\n\n',
}
_TYPES = {"ollama": "application/x-ndjson", "dialect": "text/event-stream"}


@pytest.mark.parametrize("kind", _BAD_LINE)
def test_what_came_before_a_bad_line_counts_however_the_bytes_were_cut(
    kind: str, server: Server
) -> None:
    bad = http_answer(_BAD_LINE[kind], content_type=_TYPES[kind])
    server.bad = {_PATHS[kind][0]: bad}
    with _MAKERS[kind](server.url) as provider, pytest.raises(ProtocolError) as caught:
        provider.chat("Hello", timeout=10)

    assert caught.value.partial == "Hi"


def test_a_charset_without_a_value_costs_no_answer(server: Server) -> None:
    head = b"Content-Type: application/json"
    server.bad = {"/v1/models": GOOD["/v1/models"][0].replace(head, head + b"; charset")}
    with _MAKERS["dialect"](server.url) as provider:
        assert list_models(provider, 10) == "m"


def test_two_lengths_are_no_http_on_every_version(server: Server) -> None:
    head = b"Content-Length: 1\r\nContent-Length: "
    server.bad = {"/v1/models": GOOD["/v1/models"][0].replace(b"Content-Length: ", head)}
    with _MAKERS["dialect"](server.url) as provider, pytest.raises(ProtocolError):
        list_models(provider, 10)
