"""Ctrl-C ends a call wherever it waits, at once, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from tests.life.child import Child, program
from tests.life.serving import CHUNKED, GRACE_S, CountingServer, Reached, echo, event, hold

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a signal to a process is POSIX")

_GRACE_S = 2.0

#: Waits until the child is where it is to be interrupted; until the server has seen it go.
Watch = Tuple[str, Callable[[Child], Any], Callable[[], bool]]


@contextlib.contextmanager
def _scripted(*steps: Any) -> Iterator[Watch]:
    """A server that says something and then nothing."""
    reached = Reached()

    def script(exchange: Any) -> List[Any]:
        # Ollama's list of models is not what is interrupted.
        return echo(exchange) if exchange.method == "GET" else [*steps, reached, hold]

    with CountingServer(script) as server:
        yield server.url, lambda _: reached.wait(), lambda: server.comes_to(0)


@contextlib.contextmanager
def _streaming() -> Iterator[Watch]:
    with _scripted(CHUNKED, event("Hi")) as (url, _, gone):
        yield url, Child.hear, gone


@contextlib.contextmanager
def _deaf() -> Iterator[Watch]:
    """A server that accepts, and reads a byte and no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: List[socket.socket] = []

        def reached(_: Child) -> None:
            listener.settimeout(GRACE_S)
            accepted.append(listener.accept()[0])
            accepted[0].settimeout(GRACE_S)
            accepted[0].recv(1)

        yield _url(listener), reached, lambda: _drained(accepted[0])
        accepted[0].close()


@contextlib.contextmanager
def _full() -> Iterator[Watch]:
    """A server whose queue of connections is full, so that connecting goes on."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            if not _connects(waiting, listener):
                break
        else:
            pytest.skip("here the queue never gets full")
        yield _url(listener), Child.hear, lambda: True


def _connects(waiting: contextlib.ExitStack, listener: socket.socket) -> bool:
    sock = waiting.enter_context(socket.socket())
    sock.settimeout(0.1)
    try:
        sock.connect(listener.getsockname())
    except socket.timeout:
        return False
    return True


@contextlib.contextmanager
def _nobody() -> Iterator[Watch]:
    yield "http://127.0.0.1:9", Child.hear, lambda: True


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _drained(sock: socket.socket) -> bool:
    """Whether the other side has closed, once everything has been read."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(1 << 20):
            pass
    return True


_WHERE: Dict[str, Callable[[], Any]] = {
    "connecting": _full,
    "resolving": _nobody,
    "agreeing on TLS": _deaf,
    "sending": _deaf,
    "waiting for the head": _scripted,
    "waiting for vectors": _scripted,
    "in mid-stream": _streaming,
}


def _flags(phase: str) -> List[str]:
    # Before 3.12 Python leaves the socket of an interrupted handshake to the garbage collector.
    return ["-W", "ignore::ResourceWarning"] if phase == "agreeing on TLS" else []


@pytest.mark.parametrize("phase", _WHERE)
def test_an_interrupt_ends_the_call_and_its_connection(phase: str) -> None:
    with _WHERE[phase]() as (url, reached, gone):
        with program("interrupted", url, phase, "caught", flags=_flags(phase)) as child:
            reached(child)
            started = time.monotonic()
            child.process.send_signal(signal.SIGINT)
            assert child.hear() == "interrupted"
            assert gone()
            assert time.monotonic() - started < _GRACE_S
            child.tell()
            assert child.hear() == 0
            child.tell()
            assert child.ends() == 0


@pytest.mark.parametrize("phase", _WHERE)
def test_an_interrupt_that_nobody_catches_ends_the_program(phase: str) -> None:
    with _WHERE[phase]() as (url, reached, gone):
        with program("interrupted", url, phase, "uncaught", flags=_flags(phase)) as child:
            reached(child)
            started = time.monotonic()
            child.process.send_signal(signal.SIGINT)
            _, complaint = child.process.communicate()
            assert gone()
            assert time.monotonic() - started < _GRACE_S

    assert child.process.returncode == -signal.SIGINT
    assert complaint.decode().splitlines()[-1] == "KeyboardInterrupt"
    assert "ignored" not in complaint.decode()


def test_after_an_interrupt_at_any_line_the_next_answer_is_right() -> None:
    # Between two lines an interrupt can leave a socket to the garbage collector.
    flags = ["-W", "ignore::ResourceWarning"]
    with CountingServer(echo) as server:
        with program("interrupt_anywhere", server.url, flags=flags) as child:
            lines, wrong, descriptors = child.hear()
            assert server.comes_to(0)
            child.tell()
            assert child.ends() == 0

    assert (wrong, descriptors) == ([], 0)
    assert lines > 200
