"""Sockets under the limits of a call.

Before every read and write, a `BoundedSocket` asks the `Call` how long this step may take. It
replaces the socket of a connection. http.client reads a response through a `Reader`, which
reads from this socket. docs/architecture.md, "How a call is bounded", explains the mechanism.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import selectors
import socket
import ssl
import struct
import time
from typing import Any, Callable, List, Optional, Tuple

from localproviders._http.deadline import Call, Stop
from localproviders._interrupts import Carrier, is_callers
from localproviders.secret import Sealed

#: Largest number of bytes for one send. A smaller body is sent together with the request's headers.
SEND_STEP = 64 * 1024

_READ_SIZE = 64 * 1024

# Value of the option SO_LINGER: on, with a time of zero. With it, closing resets the connection
# immediately, and does not send the remaining bytes first. On Windows the two fields are shorts.
_RESET_AT_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

# Limit for the status line and the headers together. http.client bounds each line and the
# number of headers, but not the number of "100 Continue" responses before the final response.
_MAX_HEAD_BYTES = 1024 * 1024


class HeadTooLarge(Exception):  # noqa: N818  # like `Stop`: urllib3 would wrap an OSError
    """The status line and headers of a response are larger than 1 MiB."""


class BoundedSocket:
    """A real socket, plain or TLS, under the limits of the call that currently uses it.

    The real socket lives as long as its connection. Many calls use it, one after the other, and
    `begin` binds it to the next call.
    """

    def __init__(self, real: Any, call: Call) -> None:
        self.real = real
        self.call = call
        #: Whether reads must not use the network. The reader then returns only buffered bytes.
        self.peek_only = False
        #: Whether bytes arrived after the end of a response. The next call would read them as its
        #: own response, so such a connection is not kept.
        self.has_leftover = False
        #: Whether a part of the request has not been sent yet.
        self.unsent = False
        #: Whether the next bytes are request headers, which `sendall` holds back and sends
        #: together with the body. With one send instead of two, the server wakes only once, which
        #: saves 30 µs of a call.
        self.awaits_body = False
        self._held_headers = b""
        self._head_left: Optional[int] = None
        # The timeout of the real socket. -1 differs from every timeout, so the first step sets one.
        self._timeout: Optional[float] = -1.0

    def begin(self, call: Call) -> None:
        """Bind the socket to the call that uses it from now on.

        Raises:
            Stop: The call was cancelled already.
        """
        self.call = call
        self.peek_only = self.awaits_body = False
        self._held_headers = b""
        self._head_left = _MAX_HEAD_BYTES
        call.attach(self.real)

    def end_head(self) -> None:
        """Stop counting the bytes of the headers: the next bytes belong to the body."""
        self._head_left = None

    def count_head(self, count: int) -> None:
        """Count received bytes, and check the size of the headers.

        Raises:
            HeadTooLarge: Status line and headers exceed 1 MiB.
        """
        self.call.got_bytes = True
        if self._head_left is not None:
            self._head_left -= count
            if self._head_left < 0:
                raise HeadTooLarge

    def bounded(self, step: Callable[[Any], Any], data: Any) -> Any:
        """Run one system call with the timeout that the limits of the current `Call` allow.

        Args:
            step: The method that makes the system call, such as `recv` of the real socket.
            data: The argument of this method.

        Raises:
            Stop: A limit expired, or the call was cancelled.
            Carrier: A signal handler of the caller raised an `OSError`.
        """
        left = self.call.left()
        # The timeout is set only if it differs. Often it stays the same: `idle_s`, or no timeout.
        if left != self._timeout:
            self.real.settimeout(left)
            self._timeout = left
        try:
            return step(data)
        except OSError as error:
            if is_callers(error):
                raise Carrier(error) from None
            if isinstance(error, socket.timeout):
                raise self.call.timed_out() from None
            # If another thread calls `cancel`, this socket is shut down. To this thread, that
            # looks like a broken connection.
            if self.call.cancelled:
                raise Stop from None
            raise

    def sendall(self, data: Any) -> None:
        """Send all bytes, in steps of at most 64 KiB.

        Raises:
            BrokenPipeError: The server stopped reading the request. It may have sent a
                response, such as 413, which can still be read.
            Stop: A limit expired, or the call was cancelled.
        """
        # The bytes hold the API key and the prompt. Sealed, they do not appear in a traceback that
        # shows local variables.
        given, data = Sealed(data), b""
        if self.awaits_body:
            # These bytes are the headers. They are held back, and sent together with the body.
            self.awaits_body, self.unsent, self._held_headers = False, True, given.cell_contents
            return
        if self._held_headers:
            given, self._held_headers = Sealed(self._held_headers + given.cell_contents), b""
        view = memoryview(given.cell_contents).cast("B")
        # A server may refuse a large body before it has read all of it, and then stop reading.
        # So before each step of a large body, this method checks whether a response has arrived.
        # A body of one step is sent before any response could arrive. A TLS socket cannot be
        # checked: it becomes readable before the response, when the server sends session tickets.
        checks_response = len(view) > SEND_STEP and not isinstance(self.real, ssl.SSLSocket)
        self.unsent = True
        while view:
            try:
                if checks_response and not self._can_send():
                    raise _no_reader()
                view = view[self.bounded(self.real.send, view[:SEND_STEP]) :]
            except (BrokenPipeError, ConnectionResetError) as error:
                if is_callers(error):
                    raise
                # urllib3 ignores a BrokenPipeError and reads the response. After a reset, it would
                # not read the response, although a reset can mean the same.
                raise _no_reader() from None
        self.unsent = False

    def _can_send(self) -> bool:
        """Wait until more can be sent; return False if the server responds first."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.real, selectors.EVENT_READ | selectors.EVENT_WRITE)
            ready = wait_ready(selector, self.call.left())
        if not ready or self.call.cancelled:
            raise self.call.timed_out()
        return not ready[0][1] & selectors.EVENT_READ

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """Return the buffered reader from which http.client reads a response."""
        return Reader(self)

    def settimeout(self, value: Optional[float]) -> None:
        """Do nothing with a timeout of urllib3, because `bounded` sets one before each step."""

    def gettimeout(self) -> Optional[float]:
        """Return None, and never raise: ssl reads the timeout when it wraps a socket."""
        return None

    def fileno(self) -> int:
        """Return the number of the real socket. urllib3 calls this method before each request."""
        number: int = self.real.fileno()
        return number

    @property
    def shutdown(self) -> Any:
        """The method of the real socket, which urllib3 stores in the response."""
        return self.real.shutdown

    def close(self) -> None:
        """Close the real socket."""
        try:
            self.call.detach(self.real)
            if self.unsent:
                # The kernel would send the remaining bytes before it ends the connection. A server
                # that does not read them would never notice the end. So the connection is reset.
                self.real.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        except OSError as error:
            if is_callers(error):
                raise
        finally:
            self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def wait_ready(
    selector: selectors.BaseSelector, seconds: Optional[float]
) -> List[Tuple[selectors.SelectorKey, int]]:
    """Return the ready sockets of a selector; an empty list if none is ready after `seconds`.

    Raises:
        Carrier: A signal handler raised an `InterruptedError`. Python's selectors catch this
            exception and stop waiting, so the `Carrier` contains a new `InterruptedError`.
    """
    began = time.monotonic()
    ready = selector.select(seconds)
    waited_s = time.monotonic() - began
    # Timers may fire a little early: up to 16 ms on Windows.
    if not ready and (seconds is None or waited_s < seconds - 0.02):
        raise Carrier(InterruptedError("a signal handler interrupted the call"))
    return ready


def _no_reader() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, "the server does not read the rest of the request")


class _RawReader(io.RawIOBase):
    """The unbuffered reader from which `Reader` fills its buffer."""

    # A default for `close`: an interrupt in the constructor can leave an object in which this
    # attribute was not set.
    _raw: Any = None

    def __init__(self, owner: BoundedSocket) -> None:
        self._owner = owner
        self._raw = owner.real.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        owner = self._owner
        if owner.peek_only:
            return None  # means "no data now": the buffered reader returns only its buffer
        try:
            count: Optional[int] = owner.bounded(self._raw.readinto, buffer)
        except OSError as error:
            # The buffered reader would read again after an `InterruptedError`.
            if is_callers(error):
                raise Carrier(error) from None
            raise
        if count:
            owner.count_head(count)
        elif owner.call.cancelled:
            # Cancelling shuts the socket down, which looks like the end of the connection. A
            # body without a length would then look complete.
            raise Stop
        return count

    def close(self) -> None:
        if not self.closed and self._raw is not None:
            self._raw.close()
        super().close()


class Reader(io.BufferedReader):
    """The buffered reader of one response. `close` records whether it holds unread bytes."""

    owner: BoundedSocket
    # A default for `close`: an interrupt in the constructor can leave an incomplete object.
    _is_made = False

    def __init__(self, owner: BoundedSocket) -> None:
        super().__init__(_RawReader(owner), _READ_SIZE)
        self.owner = owner
        self._is_made = True

    def buffered(self) -> bytes:
        """Return and remove the bytes in the buffer. Nothing is read from the socket."""
        owner = self.owner
        owner.peek_only = True
        try:
            return self.read(len(self.peek(1)))
        finally:
            owner.peek_only = False

    def close(self) -> None:
        """Close the reader. If it holds unread bytes, set `has_leftover` on the socket."""
        if not self._is_made:
            # The base class raises ValueError if its own constructor was interrupted.
            with contextlib.suppress(ValueError):
                super().close()
            return
        try:
            if not self.closed and self._has_more():
                self.owner.has_leftover = True
        finally:
            super().close()

    def _has_more(self) -> bool:
        owner = self.owner
        owner.peek_only = True
        try:
            # TLS decrypts complete records. If more bytes were decrypted than read, the remaining
            # bytes are inside the TLS object, where `select` does not see them.
            pending = getattr(owner.real, "pending", None)
            return bool(self.peek(1)) or bool(pending is not None and pending())
        except ValueError:
            return False  # the socket was closed before the reader
        finally:
            owner.peek_only = False
