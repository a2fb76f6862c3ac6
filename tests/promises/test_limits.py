"""A call ends at its limit if the server stalls or drips in any phase, plain or over TLS.

Most tests use a fake clock and compare exact times. A few check the limits on the real clock.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
import trustme

from localproviders import (
    CancelledError,
    CancelToken,
    LimitError,
    Limits,
    OpenAICompatibleProvider,
)
from localproviders._http.deadline import Call
from localproviders._http.socket import BoundedSocket
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

LIMIT_S = 0.5
# Longer than GRACE_S: a call with this limit that ends within GRACE_S was not ended by the limit.
LONG_S = 3 * GRACE_S

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_FIRST = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
_REST = b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_END = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_REST), _REST)
_CHUNK = b"%x\r\n%s\r\n" % (len(_FIRST), _FIRST)


def drip(piece: bytes, every_s: float = 0.05) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.drip(piece, every_s)


def hold(exchange: Exchange) -> None:
    exchange.hold()


# By name: the steps of the server, and the text that the client receives before the stall.
STALLS: Dict[str, Tuple[List[Any], str]] = {
    "silent": ([hold], ""),
    "status line dripped": ([b"HTTP/1.1 200 O", drip(b"O")], ""),
    "headers dripped": ([_HEAD, drip(b"X-A: b\r\n")], ""),
    "one endless header": ([_HEAD + b"X-A: ", drip(b"a")], ""),
    "flood of 100 Continue": ([drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01)], ""),
    "silent after the head": ([_CHUNKED, hold], ""),
    "comments for ever": ([_CHUNKED, drip(b"3\r\n:\n\n\r\n")], ""),
    "body dripped in one line": ([_CHUNKED, drip(b"1\r\nx\r\n")], ""),
    "size line dripped": ([_CHUNKED + _CHUNK, drip(b"0")], "Hi"),
    "silent in mid-stream": ([_CHUNKED + _CHUNK, hold], "Hi"),
    "dripped until closing": ([_HEAD + b"\r\n" + _FIRST, drip(b"x")], "Hi"),
    "dripped with a length": (
        [_HEAD + b"Content-Length: 99999\r\n\r\n" + _FIRST, drip(b"x")],
        "Hi",
    ),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Tuple[str, ssl.SSLContext]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    return str(path), context


@pytest.fixture(params=["plain", "tls", "unix"])
def serve(request: Any, authority: Tuple[str, ssl.SSLContext]) -> Callable[..., Any]:
    path, context = authority

    def start(script: Any) -> Tuple[ScriptedServer, Dict[str, Any]]:
        if request.param == "plain":
            return ScriptedServer(script), {}
        if request.param == "unix":
            return ScriptedServer(script, unix=request.getfixturevalue("socket_path")), {}
        return ScriptedServer(script, tls=context), {"ca_bundle": path}

    return start


def limited(server: ScriptedServer, extra: Dict[str, Any], **limits: float) -> Any:
    return OpenAICompatibleProvider(
        server.url, model="m", timeout=Limits(**limits) if limits else None, **extra
    )


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", STALLS)
def test_total_ends_every_stall(name: str, serve: Any, fake_clock: FakeTime) -> None:
    steps, partial = STALLS[name]
    server, extra = serve(lambda exchange: steps)
    with server, limited(server, extra, total_s=LIMIT_S) as provider:
        started = fake_clock.now
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert fake_clock.now - started == LIMIT_S
    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("total_s", LIMIT_S, LIMIT_S)
    assert error.partial == partial


# For each limit: the stall that it must end on the real clock, and the limits of the call.
REAL_CLOCK: Dict[str, Tuple[str, Limits]] = {
    "total_s": ("headers dripped", Limits(total_s=LIMIT_S)),
    "first_token_s": ("comments for ever", Limits(load_s=0, first_token_s=LIMIT_S)),
    "idle_s": ("silent in mid-stream", Limits(idle_s=LIMIT_S)),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("limit", REAL_CLOCK)
def test_a_limit_fires_on_the_real_clock_too(limit: str, serve: Any) -> None:
    """The limit may fire a little late. The tests with the fake clock check the exact time."""
    stall, limits = REAL_CLOCK[limit]
    server, extra = serve(lambda exchange: STALLS[stall][0])
    with server, limited(server, extra, **limits.to_dict()) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert (caught.value.limit, caught.value.limit_s) == (limit, LIMIT_S)
    assert LIMIT_S <= caught.value.elapsed_s < LIMIT_S + GRACE_S


@pytest.mark.parametrize(
    ("name", "limit", "elapsed_s"),
    [("silent in mid-stream", "idle_s", 0.25), ("size line dripped", "total_s", 1.0)],
)
def test_idle_counts_silence_only(
    name: str, limit: str, elapsed_s: float, serve: Any, fake_clock: FakeTime
) -> None:
    steps, partial = STALLS[name]
    server, extra = serve(lambda exchange: steps)
    with server, limited(server, extra, idle_s=0.25, total_s=1.0) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert (caught.value.limit, caught.value.elapsed_s) == (limit, elapsed_s)
    assert caught.value.partial == partial


def _pausing(*pauses_s: float) -> List[Any]:
    pauses = [lambda exchange, each=each: exchange.hold(each) for each in pauses_s]
    steps = [step for pause in pauses for step in (pause, _CHUNK)]
    return [_CHUNKED, *steps, _END]


@pytest.mark.parametrize(
    ("pauses_s", "limit", "elapsed_s"),
    [
        ((15.5, 7.5, 7.5), None, 0),
        ((16, 1, 1), "first_token_s", 16),
        ((15.5, 8, 1), "idle_s", 23.5),
        ((15.5, 7.5, 7.5, 1.5), "total_s", 32),
    ],
)
def test_each_limit_fires_at_its_end_and_not_before(
    pauses_s: Tuple[float, ...],
    limit: Optional[str],
    elapsed_s: float,
    serve: Any,
    fake_clock: FakeTime,
) -> None:
    limits = {"load_s": 12, "first_token_s": 4, "idle_s": 8, "total_s": 32}
    server, extra = serve(lambda exchange: _pausing(*pauses_s))
    with server, limited(server, extra, **limits) as provider:
        if limit is None:
            assert provider.chat("Hi").text == "Hi" * len(pauses_s)
            return
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")
    assert (caught.value.limit, caught.value.elapsed_s) == (limit, elapsed_s)


def test_the_fake_clock_ignores_a_connection_that_was_just_reset(
    fake_clock: FakeTime,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        with client:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            with pytest.raises(OSError):  # so the fake clock cannot ask for the port
                client.getpeername()
            assert fake_clock._silence_end(BoundedSocket(client, Call(Limits()))) == 0.0


def test_the_fake_clock_reads_what_came_just_before_the_next_silence(
    fake_clock: FakeTime,
) -> None:
    """The bytes arrive between the timeout of an attempt and the announcement of a silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            silences, port = fake_clock._silent_until, client.getsockname()[1]
            first, second = fake_clock.now + 15.0, fake_clock.now + 30.0
            silences[port] = first
            arrived = False

            def attempt() -> str:
                nonlocal arrived
                if arrived:
                    return "Hi"
                if fake_clock.now >= first:
                    arrived = True
                    silences[port] = second
                raise socket.timeout

            call = Call(Limits(total_s=23.0))
            assert fake_clock._wait(BoundedSocket(client, call), attempt) == "Hi"
            assert fake_clock.now == first


@pytest.mark.parametrize(
    "name", ["silent", "headers dripped", "silent after the head", "comments for ever"]
)
def test_first_token_runs_until_the_first_token(
    name: str, serve: Any, fake_clock: FakeTime
) -> None:
    server, extra = serve(lambda exchange: STALLS[name][0])
    with server, limited(server, extra, load_s=0, first_token_s=LIMIT_S) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    error = caught.value
    assert (error.limit, error.limit_s, error.elapsed_s) == ("first_token_s", LIMIT_S, LIMIT_S)


def test_a_limit_ends_a_call_to_a_server_that_does_not_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = listener.getsockname()[1]
        with OpenAICompatibleProvider(f"http://127.0.0.1:{port}", model="m") as provider:
            with pytest.raises(LimitError):
                provider.chat("x" * 50_000_000, timeout=0.5)


def test_a_limit_ends_a_silent_handshake(authority: Tuple[str, ssl.SSLContext]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with OpenAICompatibleProvider(url, model="m", ca_bundle=authority[0]) as provider:
            with pytest.raises(LimitError) as caught:
                provider.chat("Hi", timeout=Limits(connect_s=0.3))

    assert caught.value.limit == "connect_s"


@pytest.mark.parametrize("where", ["silent", "silent in mid-stream"])
@pytest.mark.parametrize("how", ["token", "close"])
def test_cancelling_wakes_the_reader_and_closes_the_connection(
    where: str, how: str, serve: Any
) -> None:
    reached = threading.Event()
    seen: List[Exchange] = []

    def script(exchange: Exchange) -> Any:
        seen.append(exchange)
        *before, _ = STALLS[where][0]
        return [*before, lambda _: reached.set(), hold]

    server, extra = serve(script)
    token = CancelToken()
    with server, limited(server, extra, total_s=LONG_S) as provider:
        if how == "close" and where == "silent in mid-stream":
            stream = provider.stream("Hi")
            end_call: Callable[[], None] = stream.close
            call: Callable[[], Any] = stream.result
        elif how == "close":
            pytest.skip("before the headers there is no stream to close")
        else:
            end_call, call = token.cancel, lambda: provider.chat("Hi", cancel=token)

        def cancel() -> None:
            assert reached.wait(GRACE_S)
            end_call()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(CancelledError) as caught:
            call()
        thread.join()
        assert seen[0].client_gone.wait(GRACE_S)

    assert caught.value.partial in ("", STALLS[where][1])


def test_a_call_with_a_cancelled_token_sends_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with ScriptedServer(http_answer({})) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            with pytest.raises(CancelledError):
                provider.chat("Hi", cancel=token)

    assert server.exchanges == []


def test_a_call_leaves_no_thread(serve: Any) -> None:
    server, extra = serve(lambda exchange: [_CHUNKED + _CHUNK + _END])
    with server, limited(server, extra) as provider:
        provider.chat("Hi")
        before = set(threading.enumerate())
        assert provider.chat("Hi").text == "Hi"
        assert set(threading.enumerate()) <= before


# --- cancelling in every phase ---------------------------------------------------------------


def _seconds_to_end(
    provider: OpenAICompatibleProvider, reached: threading.Event, prompt: str = "Hi"
) -> float:
    """Cancel a call after an event; return the seconds from there to the end of the call."""
    token = CancelToken()
    cancelled_at: List[float] = []

    def cancel() -> None:
        assert reached.wait(GRACE_S)
        cancelled_at.append(time.monotonic())
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledError):
        provider.chat(prompt, cancel=token, timeout=LONG_S)
    thread.join()
    return time.monotonic() - cancelled_at[0]


def test_cancel_while_connecting() -> None:
    """The queue of the listener is full, so that connecting does not end."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        reached = threading.Event()
        reached.set()
        limits = Limits(connect_s=LONG_S)
        url = f"http://127.0.0.1:{address[1]}"
        with OpenAICompatibleProvider(url, model="m", timeout=limits) as provider:
            assert _seconds_to_end(provider, reached) < GRACE_S
        for sock in waiting:
            sock.close()


def test_cancel_within_a_handshake(authority: Tuple[str, ssl.SSLContext]) -> None:
    reached, accepted = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].recv(1)  # the first byte of the ClientHello
            reached.set()

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        limits = Limits(connect_s=LONG_S)
        with OpenAICompatibleProvider(
            url, model="m", ca_bundle=authority[0], timeout=limits
        ) as provider:
            assert _seconds_to_end(provider, reached) < GRACE_S
        thread.join()
        accepted[0].settimeout(GRACE_S)
        while accepted[0].recv(65536):
            pass  # the rest of the ClientHello, until the client has disconnected
        accepted[0].close()


@pytest.mark.sample(1)
@pytest.mark.parametrize("over", ["plain", "tls"])
def test_cancel_while_sending(over: str, authority: Tuple[str, ssl.SSLContext]) -> None:
    reached = threading.Event()
    gone: List[Exchange] = []

    class UnreadServer(ScriptedServer):
        def _before_body(self, exchange: Exchange) -> None:
            gone.append(exchange)
            reached.set()
            exchange.hold()

    tls = authority[1] if over == "tls" else None
    extra: Dict[str, Any] = {"ca_bundle": authority[0]} if tls else {}
    with UnreadServer(b"", tls=tls) as server, limited(server, extra, idle_s=LONG_S) as provider:
        assert _seconds_to_end(provider, reached, "x" * 30_000_000) < GRACE_S
        assert gone[0].client_gone.wait(GRACE_S)


def test_cancel_while_waiting_for_a_retry() -> None:
    reached = threading.Event()
    busy = http_answer(status="503 Busy", headers=[("Retry-After", "30")])
    with ScriptedServer(busy) as server:
        listeners = [lambda event: event.kind == "retried" and reached.set()]
        with OpenAICompatibleProvider(server.url, model="m", listeners=listeners) as provider:
            assert _seconds_to_end(provider, reached) < GRACE_S
