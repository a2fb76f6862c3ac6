"""For any response a call ends in time with a result or a typed error; the next call works."""

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
from tests.promises.fuzz.answers import GOOD, bad_answers
from tests.promises.fuzz.promises import check, check_error, fits_vectors
from tests.support.depth import examples
from tests.support.timing import GRACE_S

LIMIT_S = 0.3
#: The limit of calls that must end without it, even on a slow machine.
LONG_S = 3 * GRACE_S


class Server(ScriptedServer):
    """A server for all examples: it sends the bad responses of an example, and good ones otherwise."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.bad: Dict[str, bytes] = {}
        self.closes = True

    def _answer(self, exchange: Exchange) -> Iterable[Any]:
        if exchange.path not in self.bad:
            return [GOOD[exchange.path][0]]
        return [self.bad[exchange.path], Exchange.close if self.closes else close_late]


def close_late(exchange: Exchange) -> None:
    """Close after the limit of the call, so that even a client without a limit returns."""
    exchange.sock.settimeout(LIMIT_S + 2 * GRACE_S)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def _collect_garbage() -> Iterator[None]:
    """Collect garbage after each test, so that a leaked connection warns in the test that leaks it."""
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
CALL_FORMS: Dict[str, Tuple[Maker, Call, str]] = {
    f"{kind}, {call.__name__}": (make, call, path)
    for kind, make in _MAKERS.items()
    for call, path in zip((chat, embed, list_models), _PATHS[kind])
}
CALL_FORMS.update(
    {f"{kind}, stream": (make, stream, _PATHS[kind][0]) for kind, make in _MAKERS.items()}
)


def end_of(call: Call, provider: ModelProvider) -> Any:
    """Return the result or the typed error of a call, and check its duration."""
    started = time.monotonic()
    try:
        return call(provider, LIMIT_S)
    except ProviderError as error:
        check_error(error)
        return error
    finally:
        assert time.monotonic() - started < LIMIT_S + GRACE_S


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", CALL_FORMS)
@examples(24)
@given(data=st.data(), warm=st.booleans(), close_choice=st.integers(0, 9))
def test_any_answer_ends_in_time_and_the_next_call_works(
    form: str, server: Server, data: Any, warm: bool, close_choice: int
) -> None:
    make, call, path = CALL_FORMS[form]
    with make(server.url) as provider:
        server.bad = {}
        good = call(provider, LONG_S) if warm else None
        server.closes = close_choice > 0
        server.bad = {path: data.draw(bad_answers(path), label="answer")}
        end_of(call, provider)
        server.bad = {}
        again = call(provider, LONG_S)

    assert again == good or not warm
    assert again


@pytest.mark.sample(2)
@pytest.mark.parametrize("form", CALL_FORMS)
@examples(8)
@given(data=st.data())
def test_a_cut_response_is_complete_or_an_error(form: str, server: Server, data: Any) -> None:
    make, call, path = CALL_FORMS[form]
    good = data.draw(st.sampled_from(GOOD[path]))
    at = data.draw(st.integers(0, len(good) - 1))
    server.closes = False
    with make(server.url) as provider:
        server.bad = {path: good}
        complete = call(provider, LONG_S)
        server.closes = True
        server.bad = {path: good[:at]}
        end = end_of(call, provider)

    assert isinstance(end, ProviderError) or end == complete


# --- faults that the examples above have found ------------------------------------------------------------------

_BAD_LINE = {
    "ollama": b'{"model":"m","message":{"content":"Hi"},"done":false}\n\xff\n',
    "dialect": b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\ndata: \xff\n\n',
}
_TYPES = {"ollama": "application/x-ndjson", "dialect": "text/event-stream"}


@pytest.mark.parametrize("kind", _BAD_LINE)
def test_the_text_before_a_bad_line_is_kept(kind: str, server: Server) -> None:
    bad = http_answer(_BAD_LINE[kind], content_type=_TYPES[kind])
    server.bad = {_PATHS[kind][0]: bad}
    with _MAKERS[kind](server.url) as provider, pytest.raises(ProtocolError) as caught:
        provider.chat("Hello", timeout=LONG_S)

    assert caught.value.partial == "Hi"


def test_a_charset_without_a_value_is_accepted(server: Server) -> None:
    head = b"Content-Type: application/json"
    server.bad = {"/v1/models": GOOD["/v1/models"][0].replace(head, head + b"; charset")}
    with _MAKERS["dialect"](server.url) as provider:
        assert list_models(provider, LONG_S) == "m"


def test_two_content_lengths_are_a_protocol_error(server: Server) -> None:
    head = b"Content-Length: 1\r\nContent-Length: "
    server.bad = {"/v1/models": GOOD["/v1/models"][0].replace(b"Content-Length: ", head)}
    with _MAKERS["dialect"](server.url) as provider, pytest.raises(ProtocolError):
        list_models(provider, LONG_S)
