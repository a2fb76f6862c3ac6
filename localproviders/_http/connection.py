"""Connections whose every read and write asks the call how long it may take.

urllib3 and http.client do the talking; after they have connected, their socket is
replaced by a thin wrapper that ignores their timeouts and obeys the call's limits.
Mechanism and traps: docs/architecture.md.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import selectors
import socket
import ssl
import struct
import threading
from typing import Any, Callable, Optional, Tuple

from urllib3.connection import HTTPConnection, HTTPSConnection

from localproviders._http import resolve
from localproviders._http.deadline import Call, Stop
from localproviders._http.reading import Reader

_SEND_STEP = 64 * 1024

# "Linger no second": closing then breaks the connection off instead of ending it.
_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

# Status line and headers together; a flood of "100 Continue" ends here too.
_MAX_HEAD_BYTES = 1024 * 1024


class HeadTooLarge(Exception):  # noqa: N818  # translated like Stop, and like it no OSError
    """The status line and headers never end."""


class Current(threading.local):
    """The call that this thread is sending, and where it may go."""

    call: Optional[Call] = None
    policy: resolve.Policy = resolve.Policy("loopback")
    response: Optional[http.client.HTTPResponse] = None
    connection: Any = None


current = Current()


def current_call() -> Call:
    """Give the call of this thread; a connection is never used without one."""
    call = current.call
    assert call is not None  # noqa: S101  # the adapter sets it around every send
    return call


def abandon() -> None:
    """Close what this thread's failed call has opened: not every urllib3 does."""
    for thing in (current.connection, current.response):
        if thing is not None:
            thing.close()


class BoundedSocket:
    """A real socket, plain or TLS, under the limits of whichever call uses it."""

    def __init__(self, real: Any, call: Call) -> None:
        self.real = real
        self.call = call
        #: Set while only what is buffered may be looked at.
        self.quiet = False
        #: Whether bytes have come that belong to no later call.
        self.dirty = False
        #: Whether a part of the request is still to go.
        self.unsent = False
        #: Set where the head of a request is to wait for its body: one step of the
        #: system for each call, and the server wakes once, 30 µs together.
        self.joins = False
        self._waiting = b""
        self._head_left: Optional[int] = None
        self._timeout: Optional[float] = -1.0

    def begin(self, call: Call) -> None:
        """Serve this call from now on.

        Raises:
            Stop: The call was cancelled before.
        """
        self.call = call
        self.quiet = self.joins = False
        self._waiting = b""
        self._head_left = _MAX_HEAD_BYTES
        call.attach(self.real)

    def head_is_over(self) -> None:
        """Stop counting: what comes now is the body."""
        self._head_left = None

    def count_head(self, count: int) -> None:
        """Note received bytes.

        Raises:
            HeadTooLarge: The head of the answer is too long.
        """
        self.call.got_bytes = True
        if self._head_left is not None:
            self._head_left -= count
            if self._head_left < 0:
                raise HeadTooLarge

    def bounded(self, step: Callable[[Any], Any], data: Any) -> Any:
        """Do one system call within what the limits leave.

        Raises:
            Stop: A limit fired, or the call was cancelled.
        """
        left = self.call.left()
        if left != self._timeout:
            self.real.settimeout(left)
            self._timeout = left
        try:
            return step(data)
        except socket.timeout:
            raise self.call.timed_out() from None
        except OSError:
            if self.call.cancelled:
                raise Stop from None
            raise

    def sendall(self, data: Any) -> None:
        """Send everything, a step at a time.

        Raises:
            BrokenPipeError: The server has stopped listening, and may have answered: what
                it said can still be read.
            Stop: A limit fired, or the call was cancelled.
        """
        if self.joins:
            self.joins, self.unsent, self._waiting = False, True, data
            return
        if self._waiting:
            data, self._waiting = self._waiting + data, b""
        view = memoryview(data).cast("B")
        del data  # a traceback with locals shows no key
        # What fits into one step is sent before an answer could be noticed. A TLS socket
        # can be readable without an answer: the session's tickets come first.
        looks = len(view) > _SEND_STEP and not isinstance(self.real, ssl.SSLSocket)
        self.unsent = True
        while view:
            try:
                if looks and not self._has_room():
                    raise BrokenPipeError
                view = view[self.bounded(self.real.send, view[:_SEND_STEP]) :]
            except (BrokenPipeError, ConnectionResetError):
                raise BrokenPipeError from None
        self.unsent = False

    def _has_room(self) -> bool:
        """Wait until more can be sent; False where the server says something before that."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.real, selectors.EVENT_READ | selectors.EVENT_WRITE)
            ready = selector.select(self.call.left())
        if not ready or self.call.cancelled:
            raise self.call.timed_out()
        return not ready[0][1] & selectors.EVENT_READ

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """Give the buffered reader that http.client reads from."""
        return Reader(self)

    def settimeout(self, value: Optional[float]) -> None:
        """Ignore urllib3's timeouts: the call knows better."""

    def gettimeout(self) -> Optional[float]:
        """Give no timeout. It must never raise: ssl asks while it adopts a descriptor."""
        return None

    def close(self) -> None:
        """Close the real socket."""
        self.call.detach(self.real)
        if self.unsent:
            # The end would wait behind what a server does not read, and never reach it.
            with contextlib.suppress(OSError):
                self.real.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _HTTPResponse(http.client.HTTPResponse):
    """http.client's response, handed to the call that reads its body."""

    fp: Any = None  # as above

    def _read_status(self) -> Tuple[str, int, str]:
        # http.client passes over 100 only, and would take 103 for the answer.
        while True:
            found: Tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # private there
            if not 102 <= found[1] < 200:
                return found
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        super().begin()
        # What is no header urllib3 would log, and it may be a piece of an answer.
        self.headers.defects.clear()
        self.headers.set_payload("")
        current.response = self


class _Bounded:
    """What both kinds of connection do differently from urllib3's."""

    # urllib3's classes set these; whether as attribute or property depends on its version.
    sock: Any
    host: Any
    port: Any
    response_class: Any = _HTTPResponse
    debuglevel = 0  # whoever raises http.client's own would see keys and prompts printed
    _served = False
    _small_body = False

    def _new_conn(self) -> socket.socket:
        call = current_call()
        host = getattr(self, "_dns_host", self.host)
        return resolve.connect(host, self.port, call, current.policy)

    def connect(self) -> None:
        call = current_call()
        connected = _Handshake(call)
        current_new_conn = self._new_conn
        self._new_conn = lambda: connected.watch(current_new_conn())  # type: ignore[method-assign]  # for this one connect
        try:
            super().connect()  # type: ignore[misc]  # HTTPConnection comes next in the MRO
        except socket.timeout:
            raise call.timed_out() from None
        except OSError:
            if call.cancelled:
                raise Stop from None
            raise
        finally:
            del self._new_conn
            connected.unwatch()
        call.left()
        self.sock = BoundedSocket(self.sock, call)
        self._served = False

    def _tunnel(self) -> None:
        """Talk to the proxy under the limits too."""
        plain = self.sock
        self.sock = BoundedSocket(plain, current_call())
        self.sock.begin(current_call())
        try:
            super()._tunnel()  # type: ignore[misc]  # as above
        finally:
            current_call().detach(plain)
            self.sock = plain
        plain.settimeout(current_call().left())

    def request(self, *args: Any, **kwargs: Any) -> Any:
        # Here and not in putrequest: closing there upsets http.client's own bookkeeping.
        if current_call().fresh and self._served and not getattr(self, "_tunnel_host", None):
            self.close()  # type: ignore[attr-defined]  # HTTPConnection's
        body = kwargs.get("body")
        self._small_body = isinstance(body, bytes) and 0 < len(body) < _SEND_STEP
        return super().request(*args, **kwargs)  # type: ignore[misc]  # as above

    def putrequest(self, *args: Any, **kwargs: Any) -> Any:
        call = current_call()
        if self.sock is None:
            self.connect()
        current.connection = self
        call.reused = self._served
        self._served = True
        sock: Any = self.sock  # connect() has set it
        sock.begin(call)
        sock.joins = self._small_body
        call.sending()
        if call.on_connected is not None:
            outer = vars(current).copy()
            call.tell_connected()
            vars(current).update(outer)  # a listener may have made a call of its own
        return super().putrequest(*args, **kwargs)  # type: ignore[misc]  # as above

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        sock = self.sock
        if sock is not None:
            current_call().awaiting()
        response = super().getresponse(*args, **kwargs)  # type: ignore[misc]  # as above
        if sock is not None:
            sock.head_is_over()
        return response


class _Handshake:
    """Lets a call be cancelled while TLS is agreed on.

    The ssl module moves the descriptor into a new object; a duplicate still names the
    same connection, so shutting it down wakes the handshake.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._twin: Optional[socket.socket] = None

    def watch(self, real: socket.socket) -> socket.socket:
        try:
            self._twin = real.dup()
            self._call.attach(self._twin)
            real.settimeout(self._call.left())
        except BaseException:
            real.close()
            raise
        return real

    def unwatch(self) -> None:
        if self._twin is not None:
            self._call.detach(self._twin)
            self._twin.close()


class PlainConnection(_Bounded, HTTPConnection):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """HTTP under limits."""


class TLSConnection(_Bounded, HTTPSConnection):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """HTTPS under limits."""
