"""No log of this package or of the libraries below shows a key, a prompt or a response."""

from __future__ import annotations

import http.client
import logging
from typing import Any, List

import pytest

from localproviders import ProviderError
from localproviders.telemetry import CallEvent
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.locality import (
    ANSWER,
    CALLS,
    KEY,
    PROMPT,
    PROVIDERS,
    Authority,
    after_model_list,
    good,
    make,
)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any) -> Any:
    """Return a function that returns all that was logged or printed, with all logs switched on."""
    caplog.set_level(0)
    for name in ("urllib3", "requests", "http.client", "localproviders"):
        caplog.set_level(1, logger=name)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 9)

    def read() -> str:
        records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
        printed = capfd.readouterr()
        return "\n".join([*records, caplog.text, printed.out, printed.err])

    return read


def _assert_no_secret(text: str) -> None:
    for secret in (KEY, KEY[:9], PROMPT, ANSWER):
        assert secret not in text


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("how", ["plain", "tls"])
def test_successful_calls_log_no_secret(
    kind: str, how: str, authority: Authority, output: Any
) -> None:
    tls = authority.context() if how == "tls" else None
    with ScriptedServer(good, tls=tls) as server:
        with make(kind, server, api_key=KEY, ca_bundle=authority.bundle) as provider:
            for call in CALLS.values():
                call(provider)
    logged = output()

    assert "Starting new HTTP" in logged  # the logs were on
    _assert_no_secret(logged)


def _echo(exchange: Exchange) -> bytes:
    quoted = f"{exchange.headers.get('authorization')} sent {exchange.body.decode()}"
    return quoted.encode()


# Faults of a server that repeats the key and the request body.
_FAILURES = {
    "refused": lambda e: [http_answer(_echo(e), status="401 Unauthorized")],
    "rejected": lambda e: [http_answer({"error": _echo(e).decode()}, status="400 No")],
    "redirected": lambda e: [
        http_answer(_echo(e), status="302 Found", headers=[("Location", f"/{PROMPT}?{KEY}")])
    ],
    "echoed": lambda e: [_echo(e) + b"\r\n\r\n", lambda x: x.close()],
    "a reason": lambda e: [b"HTTP/1.1 500 " + _echo(e) + b"\r\n\r\n", lambda x: x.close()],
    "no header": lambda e: [
        b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 2\r\n\r\n{}" % _echo(e),
        lambda x: x.close(),
    ],
    "a folded first line": lambda e: [
        b"HTTP/1.1 200 OK\r\n %s\r\nContent-Length: 2\r\n\r\n{}" % _echo(e),
        lambda x: x.close(),
    ],
    "a bad length": lambda e: [
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % _echo(e),
        lambda x: x.close(),
    ],
    "a bad chunk": lambda e: [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % _echo(e),
        lambda x: x.close(),
    ],
    "a cut answer": lambda e: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + _echo(e),
        lambda x: x.close(),
    ],
    "closed": lambda e: [lambda x: x.close()],
}


@pytest.mark.sample(7)
@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("failure", _FAILURES)
def test_failing_calls_log_no_secret(kind: str, failure: str, output: Any) -> None:
    def script(exchange: Exchange) -> List[Any]:
        return after_model_list(_FAILURES[failure](exchange))(exchange)

    with ScriptedServer(script) as server:
        with make(kind, server, api_key=KEY, timeout=10) as provider:
            for ask in ("chat", "stream", "complete", "embed"):
                with pytest.raises(ProviderError) as caught:
                    CALLS[ask](provider)
                logging.getLogger("a.users.own").error("it failed", exc_info=caught.value)
    logged = output()

    assert "it failed" in logged
    _assert_no_secret(logged)


# --- events -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS)
def test_events_show_no_secret(kind: str, output: Any) -> None:
    events: List[CallEvent] = []
    with ScriptedServer(good) as server:
        with make(kind, server, api_key=KEY, listeners=[events.append]) as provider:
            for call in CALLS.values():
                call(provider)
    echo = after_model_list(http_answer({"error": f"{KEY} {PROMPT}"}, status="400 No"))
    with ScriptedServer(echo) as server:
        with make(kind, server, api_key=KEY, listeners=[events.append]) as provider:
            for ask in ("chat", "stream", "complete", "embed"):
                with pytest.raises(ProviderError):
                    CALLS[ask](provider)

    kinds = {"started", "connected", "first_token", "finished", "failed"}
    assert {event.kind for event in events} == kinds
    _assert_no_secret(f"{events!r} {[event.to_dict() for event in events]}")


def test_a_failing_listener_is_logged_without_a_secret(output: Any) -> None:
    def broken(_: CallEvent) -> None:
        raise RuntimeError("the listener is broken")

    with ScriptedServer(good) as server:
        with make("ollama", server, api_key=KEY, listeners=[broken]) as provider:
            provider.chat(PROMPT)
    logged = output()

    assert "the listener is broken" in logged
    _assert_no_secret(logged)
