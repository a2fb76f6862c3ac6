"""Retries: which requests are sent again, how often, and after which wait."""

from __future__ import annotations

import socket
import threading
from email.utils import formatdate
from typing import Any, Callable, Dict, List

import pytest

from localproviders import (
    AuthenticationError,
    CallEvent,
    CancelledError,
    CancelToken,
    LimitError,
    Limits,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RetryPolicy,
    ServerBusyError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders._http.deadline import AWAITING, Call
from localproviders._http.retry import Attempts
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

#: Use the fake clock, for exact times on any machine.
exactly = pytest.mark.usefixtures("fake_clock")

LIST = http_answer({"data": [{"id": "m"}]})
AT_ONCE = RetryPolicy(first_wait_s=0)
LOADING = http_answer(
    {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    status="503 Service Unavailable",
)


def refusal(status: str, **headers: str) -> bytes:
    return http_answer({"error": "no"}, status=status, headers=list(headers.items()))


def failing(times: int, failure: Any, then: bytes = LIST) -> Callable[[Exchange], Any]:
    """Return a script that sends a failure this many times, then a good response."""
    left = [failure] * times

    def script(_: Exchange) -> List[Any]:
        return [left.pop() if left else then]

    return script


def dialect(server: ScriptedServer, **options: Any) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(server.url, model="m", **{"retry": AT_ONCE, **options})


BUSY = ["408 Timeout", "429 Too Many", "502 Bad Gateway", "503 Busy", "504 Gateway Timeout"]


@pytest.mark.parametrize("status", BUSY)
def test_a_busy_server_is_asked_again(status: str) -> None:
    with ScriptedServer(failing(2, refusal(status))) as server, dialect(server) as provider:
        provider.list_models()

    assert len(server.exchanges) == 3


@pytest.mark.parametrize("status", BUSY)
def test_but_not_more_often_than_the_policy_says(status: str) -> None:
    with ScriptedServer(refusal(status)) as server, dialect(server) as provider:
        with pytest.raises(ServerBusyError):
            provider.list_models()

    assert len(server.exchanges) == 3


@pytest.mark.parametrize(
    "status", ["400 Bad", "401 No", "403 No", "404 None", "409 Conflict", "500 Oops", "501 No"]
)
def test_a_refusal_is_final(status: str) -> None:
    with ScriptedServer(refusal(status)) as server, dialect(server) as provider:
        with pytest.raises(ProviderError):
            provider.list_models()

    assert len(server.exchanges) == 1


def test_one_attempt_is_one() -> None:
    once = RetryPolicy(attempts=1)
    for failure in (refusal("503 Busy"), LOADING):
        with ScriptedServer(failure) as server, dialect(server, retry=once) as provider:
            with pytest.raises(ServerBusyError):
                provider.list_models()
        assert len(server.exchanges) == 1


def test_ollamas_full_queue_empties() -> None:
    full = http_answer(
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        status="503 Service Unavailable",
    )
    record = {"model": "m", "message": {"content": "Hi"}, "done": True, "done_reason": "stop"}
    said = http_answer(record, content_type="application/x-ndjson", chunked=True)
    events: List[CallEvent] = []
    with ScriptedServer(failing(1, full, said)) as server:
        options: Dict[str, Any] = {"locality": "any", "retry": AT_ONCE}
        with OllamaProvider(server.url, listeners=[events.append], **options) as provider:
            response = provider.chat("Hi", model="m")

    assert response.attempts == 2
    retried = events[2]
    assert (retried.kind, retried.error, retried.attempts) == ("retried", "ServerBusyError", 1)
    assert retried.wait_s == 0
    assert " ".join(event.kind for event in events) == (
        "started connected retried connected first_token finished"
    )


@exactly
def test_a_loading_server_is_asked_until_it_is_ready() -> None:
    often = AT_ONCE.attempts + 4
    with ScriptedServer(failing(often, LOADING)) as server, dialect(server) as provider:
        provider.list_models()

    assert len(server.exchanges) == often + 1


@exactly
def test_and_no_longer_than_load_s() -> None:
    limits = Limits(load_s=5)
    with ScriptedServer(LOADING) as server, dialect(server, timeout=limits) as provider:
        with pytest.raises(LimitError) as caught:
            provider.list_models()

    assert (caught.value.limit, caught.value.limit_s) == ("load_s", 5)
    assert 5 <= caught.value.elapsed_s < 6
    assert "Loading model" in str(caught.value.server_message)


def test_nobody_there_yet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    servers: List[ScriptedServer] = []

    def start(event: CallEvent) -> None:
        if event.kind == "retried":
            servers.append(ScriptedServer(LIST, port=port).__enter__())

    provider = OpenAICompatibleProvider(
        f"http://127.0.0.1:{port}", model="m", retry=AT_ONCE, listeners=[start]
    )
    with provider, pytest.raises(ProviderError) as caught:
        provider.chat(
            "Hi"
        )  # a model list is no chat response, but it shows that the request arrived
    for server in servers:
        server.stop()

    assert len(servers) == 1
    assert not isinstance(caught.value, UnreachableError)
    assert len(servers[0].exchanges) == 1


def test_nobody_there_at_all() -> None:
    events: List[CallEvent] = []
    provider = OpenAICompatibleProvider(
        "http://127.0.0.1:1", model="m", retry=AT_ONCE, listeners=[events.append]
    )
    with provider, pytest.raises(UnreachableError):
        provider.chat("Hi")

    assert [event.kind for event in events] == ["started", "retried", "retried", "failed"]


@exactly
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_kept_connection_that_died(attempts: int) -> None:
    """With a policy of one attempt, this request is not repeated either."""

    def script(exchange: Exchange) -> List[Any]:
        if exchange.connection == 1 and len(server.exchanges) > 1:
            exchange.close()
        return [LIST]

    policy = RetryPolicy(attempts=attempts)
    with ScriptedServer(script) as server, dialect(server, retry=policy) as provider:
        provider.list_models()
        if attempts == 1:
            with pytest.raises(StreamInterruptedError):
                provider.list_models()
        else:
            provider.list_models()

    assert len(server.exchanges) == (2 if attempts == 1 else 3)


@pytest.mark.parametrize("first", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_nothing_is_repeated_after_the_first_byte(first: bytes) -> None:
    def script(exchange: Exchange) -> List[Any]:
        return [LIST] if len(server.exchanges) == 1 else [first, lambda e: e.close()]

    with ScriptedServer(script) as server, dialect(server) as provider:
        provider.list_models()
        with pytest.raises((StreamInterruptedError, ProtocolError)):
            provider.list_models()

    assert len(server.exchanges) == 2


@exactly
def test_a_load_that_took_too_long_is_not_begun_again() -> None:
    """Closing the connection aborts the load (docs/reference/ollama.md, "Disconnecting")."""
    with ScriptedServer(lambda _: [lambda e: e.hold()]) as server:
        with dialect(server) as provider, pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert (caught.value.limit, caught.value.elapsed_s) == ("first_token_s", 900)
    assert len(server.exchanges) == 1


# --- waits ----------------------------------------------------------------------------------


def waits(error: ProviderError, policy: RetryPolicy, jitter: float = 0.0) -> List[Any]:
    """Return the wait after each failure with the same error, until the last attempt."""
    attempts = Attempts(policy, Call(Limits(total_s=1000)), rand=lambda: jitter)
    found: List[Any] = []
    while attempts.number < 10:
        found.append(attempts.wait_before_next(error))
        if found[-1] is None:
            break
        attempts.number += 1
    return found


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=6, first_wait_s=1, longest_wait_s=5)

    assert waits(UnreachableError("x"), policy) == [1, 2, 4, 5, 5, None]
    assert waits(ServerBusyError("x"), policy, jitter=1) == [0.5, 1, 2, 2.5, 2.5, None]


def test_the_server_decides_where_it_says() -> None:
    policy = RetryPolicy(first_wait_s=0.1)

    assert waits(ServerBusyError("x", retry_after_s=7), policy) == [7, 7, None]
    assert waits(ServerBusyError("x", retry_after_s=10), policy, jitter=1)[0] == pytest.approx(11)


@pytest.mark.parametrize("seconds", [61 * 1.1, 10**6])
def test_a_server_that_asks_for_too_much_is_not_waited_for(seconds: float) -> None:
    assert waits(ServerBusyError("x", retry_after_s=seconds), RetryPolicy()) == [None]


@exactly
@pytest.mark.parametrize("header", ["5", formatdate(2**31, usegmt=True)])
def test_a_wait_that_does_not_fit_is_not_begun(header: str) -> None:
    busy = refusal("503 Busy", **{"Retry-After": header})
    with ScriptedServer(busy) as server, dialect(server) as provider:
        with pytest.raises(ServerBusyError) as caught:
            provider.list_models(timeout=1)

    assert caught.value.retry_after_s is not None
    assert len(server.exchanges) == 1


def test_a_date_in_the_past_is_now() -> None:
    busy = refusal("429 Busy", **{"Retry-After": formatdate(0, usegmt=True)})
    with ScriptedServer(failing(1, busy)) as server, dialect(server) as provider:
        provider.list_models()

    assert len(server.exchanges) == 2


def test_waiting_can_be_cancelled() -> None:
    token = CancelToken()
    policy = RetryPolicy(first_wait_s=60)
    waiting = threading.Event()

    def listen(event: CallEvent) -> None:
        if event.kind == "retried":
            waiting.set()

    def cancel() -> None:
        assert waiting.wait(GRACE_S)
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with ScriptedServer(refusal("503 Busy")) as server:
        with dialect(server, retry=policy, listeners=[listen]) as provider:
            with pytest.raises(CancelledError):
                provider.chat("Hi", cancel=token)
    thread.join()

    assert len(server.exchanges) == 1


def test_the_total_includes_the_waits(fake_clock: FakeTime) -> None:
    policy = RetryPolicy(attempts=1000, first_wait_s=4, longest_wait_s=4)
    began = fake_clock.now
    with ScriptedServer(refusal("503 Busy")) as server, dialect(server, retry=policy) as provider:
        with pytest.raises(ServerBusyError):
            provider.list_models(timeout=30)

    # Jitter shortens each wait by up to a half. A wait that does not fit into the total is not begun.
    assert 8 <= len(server.exchanges) <= 15
    assert 26 < fake_clock.now - began < 30


def test_a_refused_key_is_not_offered_again() -> None:
    with ScriptedServer(refusal("401 No")) as server, dialect(server, api_key="k" * 9) as provider:
        with pytest.raises(AuthenticationError):
            provider.list_models()

    assert len(server.exchanges) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first_wait_s": -1},
        {"longest_wait_s": float("inf")},
        {"first_wait_s": float("nan")},
        {"first_wait_s": "1"},
    ],
)
def test_an_impossible_policy_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RetryPolicy(**bad)


def test_a_connection_that_breaks_late_may_have_been_used() -> None:
    clock = [0.0]
    call = Call(Limits(), clock=lambda: clock[0])
    call.reused = True
    call.enter(AWAITING)
    attempts = Attempts(RetryPolicy(), call)

    assert attempts.wait_before_next(StreamInterruptedError("x")) == 0.0
    clock[0] = 1.5
    assert attempts.wait_before_next(StreamInterruptedError("x")) is None


def test_asking_a_loading_server_costs_no_attempt() -> None:
    script = iter([LOADING] * 5 + [refusal("503 Busy")] * 2)
    with ScriptedServer(lambda _: [next(script, LIST)]) as server, dialect(server) as provider:
        provider.list_models()

    assert len(server.exchanges) == 8
