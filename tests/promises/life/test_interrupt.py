"""Ctrl-C ends a call at once in every phase, and leaves no connection open."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from tests.promises.life.child import Child, start_program
from tests.promises.life.serving import CHUNKED, CountingServer, ReachedStep, echo, event, hold
from tests.support.timing import GRACE_S

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

#: The URL of a server; a function that waits until the child is in the phase to interrupt; and one
#: that waits until the server has seen the disconnect.
Watch = Tuple[str, Callable[[Child], Any], Callable[[], bool]]


@contextlib.contextmanager
def _scripted(*steps: Any, **options: Any) -> Iterator[Watch]:
    """Start a server that sends these steps and is then silent."""
    reached = ReachedStep()

    def script(exchange: Any) -> List[Any]:
        # The interrupt must come after Ollama's model list.
        return echo(exchange) if exchange.method == "GET" else [*steps, reached, hold]

    with CountingServer(script, **options) as server:
        yield server.url, lambda _: reached.wait(), lambda: server.wait_until_open(0)


@contextlib.contextmanager
def _streaming() -> Iterator[Watch]:
    with _scripted(CHUNKED, event("Hi")) as (url, _, gone):
        yield url, Child.read_result, gone


@contextlib.contextmanager
def _unread() -> Iterator[Watch]:
    """Start a server that accepts a connection and reads only one byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: List[socket.socket] = []

        def reached(_: Child) -> None:
            listener.settimeout(GRACE_S)
            accepted.append(listener.accept()[0])
            accepted[0].settimeout(GRACE_S)
            accepted[0].recv(1)

        yield _url(listener), reached, lambda: _wait_for_disconnect(accepted[0])
        accepted[0].close()


@contextlib.contextmanager
def _full_queue() -> Iterator[Watch]:
    """Start a listener whose queue is full, so that connecting does not end."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            if not _can_connect(waiting, listener):
                break
        else:
            pytest.skip("on this system the queue never becomes full")
        yield _url(listener), Child.read_result, lambda: True


@contextlib.contextmanager
def _full_unix_queue() -> Iterator[Watch]:
    """Start a listener at a UNIX socket whose queue is full, so that connecting does not end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as waiting:
        listener = waiting.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(os.path.join(folder, "s"))
        listener.listen(0)
        for _ in range(16):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(listener.getsockname()):
                break
        else:
            pytest.skip("on this system the queue never becomes full")
        yield f"unix://{listener.getsockname()}", Child.read_result, lambda: True


@contextlib.contextmanager
def _streaming_over_unix() -> Iterator[Watch]:
    with tempfile.TemporaryDirectory() as folder:
        with _scripted(CHUNKED, event("Hi"), unix=os.path.join(folder, "s")) as (url, _, gone):
            yield url, Child.read_result, gone


def _can_connect(waiting: contextlib.ExitStack, listener: socket.socket) -> bool:
    sock = waiting.enter_context(socket.socket())
    sock.settimeout(0.1)
    try:
        sock.connect(listener.getsockname())
    except socket.timeout:
        return False
    return True


@contextlib.contextmanager
def _no_server() -> Iterator[Watch]:
    yield "http://127.0.0.1:9", Child.read_result, lambda: True


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _wait_for_disconnect(sock: socket.socket) -> bool:
    """Read until the client has closed the connection, and return True."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(1 << 20):
            pass
    return True


_WHERE: Dict[str, Callable[[], Any]] = {
    "connecting": _full_queue,
    "resolving": _no_server,
    "agreeing on TLS": _unread,
    "sending": _unread,
    "waiting for the head": _scripted,
    "waiting for vectors": _scripted,
    "in mid-stream": _streaming,
    "connecting to a UNIX socket": _full_unix_queue,
    "in mid-stream over a UNIX socket": _streaming_over_unix,
}


def _flags(phase: str) -> List[str]:
    # Before 3.12 Python leaves the socket of an interrupted handshake to the garbage collector.
    return ["-W", "ignore::ResourceWarning"] if phase == "agreeing on TLS" else []


@pytest.mark.sample(1)
@pytest.mark.parametrize("phase", _WHERE)
def test_an_interrupt_ends_the_call_and_its_connection(phase: str) -> None:
    with _WHERE[phase]() as (url, reached, gone):
        with start_program("interrupted", url, phase, "caught", flags=_flags(phase)) as child:
            reached(child)
            started = time.monotonic()
            child.process.send_signal(signal.SIGINT)
            assert child.read_result() == "interrupted"
            assert gone()
            assert time.monotonic() - started < GRACE_S
            child.resume()
            assert child.read_result() == 0
            child.resume()
            assert child.exit_status() == 0


@pytest.mark.sample(1)
@pytest.mark.parametrize("phase", _WHERE)
def test_an_uncaught_interrupt_ends_the_program(phase: str) -> None:
    with _WHERE[phase]() as (url, reached, gone):
        with start_program("interrupted", url, phase, "uncaught", flags=_flags(phase)) as child:
            reached(child)
            started = time.monotonic()
            child.process.send_signal(signal.SIGINT)
            _, stderr = child.process.communicate()
            assert gone()
            assert time.monotonic() - started < GRACE_S

    assert child.process.returncode == -signal.SIGINT
    lines = stderr.decode().splitlines()
    assert "KeyboardInterrupt" in lines
    # If the interrupt arrives while Python makes a SocketIO, Python cannot close it, and says so.
    ignored = [line for line in lines if line.startswith("Exception ignored")]
    assert all("socket.SocketIO object" in line for line in ignored)


@pytest.mark.sample(0)
def test_after_an_interrupt_at_any_line_the_next_answer_is_right_and_no_key_was_seen() -> None:
    # After an interrupt between two lines, a socket may be closed only by the garbage collector.
    flags = ["-W", "ignore::ResourceWarning"]
    with CountingServer(echo) as server:
        with start_program("interrupt_anywhere", server.url, flags=flags) as child:
            lines, wrong, descriptors, leaks = child.read_result()
            assert server.wait_until_open(0)
            child.resume()
            assert child.exit_status() == 0

    assert (wrong, descriptors, leaks) == ([], 0, [])
    assert lines > 200
