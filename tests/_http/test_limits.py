"""A server that stalls or drips at any phase is left at the limit, plain and over TLS.

The grace of two seconds is for shared machines; a limit that does not work never ends.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

import pytest
import trustme

from localproviders import (
    CancelledError,
    CancelToken,
    LimitError,
    Limits,
    OpenAICompatibleProvider,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer

GRACE_S = 2.0
LIMIT_S = 0.4

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_FIRST = b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n'
_CHUNK = b"%x\r\n%s\r\n" % (len(_FIRST), _FIRST)


def drip(piece: bytes, every_s: float = 0.05) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.drip(piece, every_s)


def hold(exchange: Exchange) -> None:
    exchange.hold()


# name: what the server does, the text that came before
STALLS: Dict[str, Tuple[List[Any], str]] = {
    "silent": ([hold], ""),
    "status line dripped": ([b"HTTP/1.1 200 O", drip(b"O")], ""),
    "headers dripped": ([_HEAD, drip(b"X-A: b\r\n")], ""),
    "one endless header": ([_HEAD + b"X-A: ", drip(b"a")], ""),
    "flood of 100 Continue": ([drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001)], ""),
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


@pytest.fixture(params=["plain", "tls"])
def serve(request: Any, authority: Tuple[str, ssl.SSLContext]) -> Callable[..., Any]:
    path, context = authority

    def start(script: Any) -> Tuple[ScriptedServer, Dict[str, Any]]:
        if request.param == "plain":
            return ScriptedServer(script), {}
        return ScriptedServer(script, tls=context), {"ca_bundle": path}

    return start


def limited(server: ScriptedServer, extra: Dict[str, Any], **limits: float) -> Any:
    return OpenAICompatibleProvider(
        server.url, model="m", timeout=Limits(**limits) if limits else None, **extra
    )


@pytest.mark.parametrize("name", STALLS)
def test_total_ends_every_stall(name: str, serve: Any) -> None:
    steps, partial = STALLS[name]
    server, extra = serve(lambda exchange: steps)
    with server, limited(server, extra, total_s=LIMIT_S) as provider:
        started = time.monotonic()
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")
        took_s = time.monotonic() - started

    assert caught.value.limit == "total_s"
    assert caught.value.limit_s == LIMIT_S
    assert caught.value.partial == partial
    assert LIMIT_S - 0.05 <= took_s < LIMIT_S + GRACE_S


@pytest.mark.parametrize("name", ["silent in mid-stream", "size line dripped"])
def test_idle_counts_silence_only(name: str, serve: Any) -> None:
    steps, partial = STALLS[name]
    server, extra = serve(lambda exchange: steps)
    with server, limited(server, extra, idle_s=0.2, total_s=1.0) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert caught.value.limit == ("idle_s" if name == "silent in mid-stream" else "total_s")
    assert caught.value.partial == partial


@pytest.mark.parametrize(
    "name", ["silent", "headers dripped", "silent after the head", "comments for ever"]
)
def test_first_token_runs_until_something_is_said(name: str, serve: Any) -> None:
    server, extra = serve(lambda exchange: STALLS[name][0])
    with server, limited(server, extra, load_s=0, first_token_s=0.3) as provider:
        with pytest.raises(LimitError) as caught:
            provider.chat("Hi")

    assert (caught.value.limit, caught.value.limit_s) == ("first_token_s", 0.3)


def test_a_server_that_does_not_read_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = listener.getsockname()[1]
        with OpenAICompatibleProvider(f"http://127.0.0.1:{port}", model="m") as provider:
            with pytest.raises(LimitError):
                provider.chat("x" * 50_000_000, timeout=0.5)


def test_a_silent_handshake_is_left(authority: Tuple[str, ssl.SSLContext]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with OpenAICompatibleProvider(url, model="m", ca_bundle=authority[0]) as provider:
            with pytest.raises(LimitError) as caught:
                provider.chat("Hi", timeout=Limits(connect_s=0.3))

    assert caught.value.limit == "connect_s"


@pytest.mark.parametrize("where", ["silent", "silent in mid-stream"])
@pytest.mark.parametrize("how", ["token", "close"])
def test_cancel_wakes_the_reader_and_the_server_sees_it(where: str, how: str, serve: Any) -> None:
    reached = threading.Event()
    seen: List[Exchange] = []

    def script(exchange: Exchange) -> Any:
        seen.append(exchange)
        *before, _ = STALLS[where][0]
        return [*before, lambda _: reached.set(), hold]

    server, extra = serve(script)
    token = CancelToken()
    with server, limited(server, extra, total_s=30) as provider:
        if how == "close" and where == "silent in mid-stream":
            stream = provider.stream("Hi")
            ends: Callable[[], None] = stream.close
            call: Callable[[], Any] = stream.result
        elif how == "close":
            pytest.skip("there is no stream to close before the head has come")
        else:
            ends, call = token.cancel, lambda: provider.chat("Hi", cancel=token)

        def cancel() -> None:
            assert reached.wait(10)
            ends()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(CancelledError) as caught:
            call()
        thread.join()
        assert seen[0].client_gone.wait(GRACE_S)

    assert caught.value.partial in ("", STALLS[where][1])


def test_a_thrown_token_sends_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with ScriptedServer(http_answer({})) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            with pytest.raises(CancelledError):
                provider.chat("Hi", cancel=token)

    assert server.exchanges == []


def test_no_thread_is_left_or_made(serve: Any) -> None:
    server, extra = serve(
        lambda exchange: [_CHUNKED + _CHUNK + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]
    )
    with server, limited(server, extra) as provider:
        provider.chat("Hi")
        before = set(threading.enumerate())
        assert provider.chat("Hi").text == "Hi"
        assert set(threading.enumerate()) <= before


# --- cancelled at every phase ---------------------------------------------------------------

# A cancelled call ends at once; this is what a shared machine may add to that.
AT_ONCE_S = 0.25 + GRACE_S


def _ended_after_cancel(
    provider: OpenAICompatibleProvider, reached: threading.Event, prompt: str = "Hi"
) -> float:
    """Cancel a call when it has come so far; give the seconds from there to its end."""
    token = CancelToken()
    thrown: List[float] = []

    def cancel() -> None:
        assert reached.wait(10)
        thrown.append(time.monotonic())
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledError):
        provider.chat(prompt, cancel=token, timeout=30)
    thread.join()
    return time.monotonic() - thrown[0]


def test_cancel_while_connecting() -> None:
    """Every place in the listener's queue is taken: nobody answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        reached = threading.Event()
        reached.set()
        limits = Limits(connect_s=30)
        url = f"http://127.0.0.1:{address[1]}"
        with OpenAICompatibleProvider(url, model="m", timeout=limits) as provider:
            assert _ended_after_cancel(provider, reached) < AT_ONCE_S
        for sock in waiting:
            sock.close()


def test_cancel_within_a_handshake(authority: Tuple[str, ssl.SSLContext]) -> None:
    reached, accepted = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            accepted.append(listener.accept()[0])
            accepted[0].recv(1)  # the first byte of the client's hello
            reached.set()

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        limits = Limits(connect_s=30)
        with OpenAICompatibleProvider(
            url, model="m", ca_bundle=authority[0], timeout=limits
        ) as provider:
            assert _ended_after_cancel(provider, reached) < AT_ONCE_S
        thread.join()
        accepted[0].settimeout(GRACE_S)
        while accepted[0].recv(65536):
            pass  # the rest of the hello, and then the end: the server sees it
        accepted[0].close()


@pytest.mark.parametrize("over", ["plain", "tls"])
def test_cancel_while_sending(over: str, authority: Tuple[str, ssl.SSLContext]) -> None:
    reached = threading.Event()
    gone: List[Exchange] = []

    class Deaf(ScriptedServer):
        def _before_body(self, exchange: Exchange) -> None:
            gone.append(exchange)
            reached.set()
            exchange.hold()

    tls = authority[1] if over == "tls" else None
    extra: Dict[str, Any] = {"ca_bundle": authority[0]} if tls else {}
    with Deaf(b"", tls=tls) as server, limited(server, extra, idle_s=30) as provider:
        assert _ended_after_cancel(provider, reached, "x" * 30_000_000) < AT_ONCE_S
        assert gone[0].client_gone.wait(GRACE_S)


def test_cancel_while_waiting_for_another_attempt() -> None:
    reached = threading.Event()
    busy = http_answer(status="503 Busy", headers=[("Retry-After", "20")])
    with ScriptedServer(busy) as server:
        listeners = [lambda event: event.kind == "retried" and reached.set()]
        with OpenAICompatibleProvider(server.url, model="m", listeners=listeners) as provider:
            assert _ended_after_cancel(provider, reached) < AT_ONCE_S
