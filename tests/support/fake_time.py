"""A fake clock that advances only while a client waits for a server that is silent on purpose.

A test of a time limit on a real clock needs a margin, and on a slow machine no margin is large
enough. With the fake clock, the steps of a server script that wait (`Exchange.hold`,
`Exchange.drip`) announce for how long the server will be silent. A client that waits during the
silence advances the clock to the end of the silence or to the end of its own wait, whichever is
earlier. A limit therefore fires exactly when it should, on any machine and without real waiting,
after the client has read everything that the server sent before. The pause before a retry or
before the next poll takes no real time either.

Name resolution and connecting use the real clock. So does a TLS handshake, without the limits of
the call, because on a busy machine it may take longer than they allow.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import struct
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Set
from unittest import mock

from localproviders._http.connection import _HandshakeCanceller
from localproviders._http.deadline import Call, Stop
from localproviders._http.socket import BoundedSocket
from localproviders._shared_deadline import SharedDeadline
from localproviders.testing.scripted import Exchange, ScriptEndsError, hung_up

_WAIT_FOR = Call.wait_for
_WATCH = _HandshakeCanceller.watch

# Interval at which a waiting client or server polls, in seconds of the real clock.
_POLL_S = 0.001

# Longest wait on the real clock for an event that is certain to come.
_PATIENCE_S = 30.0

_in_use: List[FakeTime] = []


def in_use() -> Optional[FakeTime]:
    """Return the fake clock that calls use now; None if they use the real clock."""
    return _in_use[-1] if _in_use else None


def now() -> float:
    """Return the seconds of the clock that calls use now."""
    fake = in_use()
    return time.monotonic() if fake is None else fake.now


class FakeTime:
    """A clock that waiting clients advance, as the docstring of this module describes.

    Attributes:
        now: The current time, in seconds.
    """

    def __init__(self) -> None:
        self.now = 1024.0
        self._changed = threading.Condition()
        #: The time at which the server will send again, by the port of the client.
        self._silent_until: Dict[int, float] = {}
        #: The same for servers at UNIX sockets, whose clients have no address: by the socket of
        #: the server's connection.
        self._silent_sockets: Dict[socket.socket, float] = {}
        #: Ports of servers that never send anything.
        self._silent_ports: Set[int] = set()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        with self._changed:
            self.now += seconds
            self._changed.notify_all()

    @contextlib.contextmanager
    def silent_port(self, port: int) -> Iterator[None]:
        """Treat the server of this port as silent for ever, because no script announces it."""
        self._silent_ports.add(port)
        yield
        self._silent_ports.discard(port)

    # --- the server's side ------------------------------------------------------------------

    def silence(self, exchange: Exchange, seconds: float) -> None:
        """Send nothing for this long, or until the client disconnects or the server stops."""
        client = exchange.sock.getpeername()
        is_unix = isinstance(client, str)
        silences: Dict[Any, float] = self._silent_sockets if is_unix else self._silent_until
        place = exchange.sock if is_unix else client[1]
        _wait_until_delivered(exchange.sock)
        with self._changed:
            until = silences[place] = self.now + seconds
            try:
                while self.now < until and not exchange.stopping.is_set():
                    if hung_up(exchange.sock):
                        raise ConnectionResetError
                    self._changed.wait(_POLL_S)
            finally:
                del silences[place]

    def hold(self, exchange: Exchange, seconds: float = math.inf) -> None:
        """Stand in for `Exchange.hold`."""
        self.silence(exchange, seconds)
        if exchange.stopping.is_set():
            raise ScriptEndsError

    def drip(self, exchange: Exchange, piece: bytes, every_s: float) -> None:
        """Stand in for `Exchange.drip`."""
        while not exchange.stopping.is_set():
            self.silence(exchange, every_s)
            exchange.sock.sendall(piece)

    # --- the client's side ------------------------------------------------------------------

    def bounded(self, sock: BoundedSocket, step: Callable[[Any], Any], data: Any) -> Any:
        """Stand in for `BoundedSocket.bounded`."""

        def attempt() -> Any:
            sock.real.settimeout(_POLL_S)
            try:
                return step(data)
            except socket.timeout:
                _make_readable(step)
                raise

        try:
            return self._wait(sock, attempt)
        except OSError:
            if sock.call.cancelled:
                raise Stop from None
            raise

    def can_send(self, sock: BoundedSocket) -> bool:
        """Stand in for `BoundedSocket._can_send`."""
        with selectors.DefaultSelector() as selector:
            selector.register(sock.real, selectors.EVENT_READ | selectors.EVENT_WRITE)

            def attempt() -> int:
                ready = selector.select(_POLL_S)
                if not ready:
                    raise socket.timeout
                return ready[0][1]

            events = self._wait(sock, attempt)
        if sock.call.cancelled:
            raise sock.call.timed_out()
        return not events & selectors.EVENT_READ

    def _wait(self, sock: BoundedSocket, attempt: Callable[[], Any]) -> Any:
        left = sock.call.left()
        end = math.inf if left is None else self.now + left
        announced = 0.0
        while True:
            try:
                return attempt()
            except socket.timeout:
                # Bytes that the server sent before a silence may still be on their way when it
                # announces this silence. Only an attempt that began after the announcement shows
                # that there are none, so the clock advances at the second timeout of one silence.
                until = self._silence_end(sock)
                if announced == until > self.now and self._advance_to(sock, end):
                    raise sock.call.timed_out() from None
                announced = until

    def _silence_end(self, sock: BoundedSocket) -> float:
        """Return the time at which the server will send again; 0 if it is not silent."""
        try:
            server, client = sock.real.getpeername(), sock.real.getsockname()
        except OSError:
            return 0.0  # the server has just reset the connection: the next attempt fails
        if isinstance(server, str):
            return self._silence_at(server)
        if server[1] in self._silent_ports:
            return math.inf
        return self._silent_until.get(client[1], 0.0)

    def _silence_at(self, path: str) -> float:
        """Return the time at which a server at a UNIX socket will send again.

        A connection that its client has closed does not count: its server may not have noticed.
        """
        for sock, until in list(self._silent_sockets.items()):
            with contextlib.suppress(OSError):
                if sock.getsockname() == path and not hung_up(sock):
                    return until
        return 0.0

    def _advance_to(self, sock: BoundedSocket, end: float) -> bool:
        """Advance the clock over the silence, at most to ``end``; return whether it is there."""
        with self._changed:
            until = self._silence_end(sock)
            if until > self.now:
                self.now = min(until, end)
                self._changed.notify_all()
            return self.now >= end

    def wait_for(self, call: Call, event: threading.Event, seconds: float = math.inf) -> bool:
        """Stand in for `Call.wait_for`: a wait with an end advances the clock and returns at once."""
        if seconds == math.inf:
            return _WAIT_FOR(call, event, seconds)
        left = call.left()
        self.advance(seconds if left is None else min(seconds, left))
        call.left()
        return event.is_set()


def _wait_until_delivered(sock: socket.socket) -> None:
    """Wait until the client's system has acknowledged all sent bytes, or has disconnected.

    A busy system may deliver late. No event reports the delivery, and only Linux can be asked
    for the number of unacknowledged bytes.
    """
    # Bytes for a UNIX socket are delivered at once.
    if sys.platform != "linux" or isinstance(sock.getsockname(), str):
        return
    import fcntl
    import termios

    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and not hung_up(sock):
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
        if not unacknowledged:
            return
        time.sleep(_POLL_S)


def _shake_hands(handshake: _HandshakeCanceller, real: socket.socket) -> socket.socket:
    """Stand in for `_HandshakeCanceller.watch`."""
    watched = _WATCH(handshake, real)
    # The real clock, without the limits of the call.
    watched.settimeout(_PATIENCE_S)
    return watched


def _make_readable(step: Any) -> None:
    """Reset the mark of a timeout in `socket.SocketIO`, which otherwise refuses to read again."""
    reader = getattr(step, "__self__", None)
    if hasattr(reader, "_timeout_occurred"):
        reader._timeout_occurred = False


@contextlib.contextmanager
def fake_time() -> Iterator[FakeTime]:
    """Let every call that begins within the block use one fake clock."""
    made = FakeTime()
    replaced = (
        (Call, "wait_for", lambda call, event, *most_s: made.wait_for(call, event, *most_s)),
        (BoundedSocket, "bounded", lambda sock, step, data: made.bounded(sock, step, data)),
        (BoundedSocket, "_can_send", lambda sock: made.can_send(sock)),
        (Exchange, "hold", lambda exchange, seconds=math.inf: made.hold(exchange, seconds)),
        (Exchange, "drip", lambda exchange, piece, every_s: made.drip(exchange, piece, every_s)),
        (_HandshakeCanceller, "watch", _shake_hands),
        (Call.__init__, "__defaults__", (None, made)),
        (SharedDeadline.__init__, "__defaults__", (made,)),
    )
    with contextlib.ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        _in_use.append(made)
        stack.callback(_in_use.pop)
        yield made
