"""Connection classes for urllib3 that use bounded sockets.

urllib3 and http.client connect and speak HTTP. After connecting, their socket is replaced with a
`BoundedSocket`, which ignores their timeouts and obeys the limits of the current call.
docs/architecture.md, "How a call is bounded", explains the mechanism.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import threading
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from urllib3.connection import HTTPConnection, HTTPSConnection

from localproviders._http import certificates, resolve
from localproviders._http.deadline import AWAITING, SENDING, Call, Stop, shut_down
from localproviders._http.socket import SEND_STEP, BoundedSocket
from localproviders._interrupts import Carrier, is_callers
from localproviders._lazy import LazyModule
from localproviders.secret import bare

if TYPE_CHECKING:
    from localproviders._http import unix_socket
else:
    unix_socket = LazyModule("localproviders._http.unix_socket")

# Limits of http.client: the number of bytes in a header line, and the number of header lines.
_LONGEST_LINE, _MOST_LINES = 65536, 100

# Each of these values ends the headers: a blank line, or b"" if the connection ended.
_BLANK = (b"\r\n", b"\n", b"")

# A plain header, which every parser reads in the same way: a name, and a value of printable ASCII
# characters. Continuation lines, other line ends and other bytes do not match.
_PLAIN_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~]*[!-~])?)\r\n")


class CurrentRequest(threading.local):
    """State of the request that this thread is sending.

    urllib3 creates and uses the connections, and its methods have no parameter for our `Call`.
    So the adapter stores the call here, and the connection reads it. Threads share a session,
    but each thread sends one request at a time.
    """

    call: Optional[Call] = None
    policy: resolve.LocalityPolicy = resolve.LocalityPolicy("loopback")
    response: Optional[http.client.HTTPResponse] = None
    connection: Any = None


current = CurrentRequest()


def current_call() -> Call:
    """Return the call whose request this thread is sending."""
    call = current.call
    assert call is not None  # noqa: S101  # the adapter sets it around every send
    return call


def abandon() -> None:
    """Close the connection and the response of this thread's failed request.

    Some versions of urllib3 leave them open.
    """
    for opened in (current.connection, current.response):
        if opened is not None:
            opened.close()


class _HTTPResponse(http.client.HTTPResponse):
    """A response of http.client that reads its headers faster.

    It stores itself in `current`, because our code reads the body directly from this object and
    not through urllib3.
    """

    # A default for `close`: an interrupt in the constructor can leave an object in which this
    # attribute was not set.
    fp: Any = None

    def _read_status(self) -> Tuple[str, int, str]:
        # http.client skips "100 Continue" only. It would treat other interim responses, such as
        # "103 Early Hints", as the final response. 101 is a final response, because the protocol
        # changes after it.
        while True:
            found: Tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if found[1] == 101 or not 100 <= found[1] < 200:
                return found
            http.client.parse_headers(self.fp)  # read and ignore its headers

    def begin(self) -> None:
        """Read the status line and the headers, four times as fast as http.client.

        http.client uses Python's email parser, which takes 40 µs for three headers. That is a
        noticeable part of a short call.
        """
        if self.headers is not None:
            return
        try:
            self._read_head()
        except BaseException as error:
            if isinstance(error, Exception) and not is_callers(error):
                raise
            # This is an interrupt, such as KeyboardInterrupt. Its traceback would show the frames
            # of the parser to the caller. These frames hold response headers, which may quote the
            # API key.
            failure = bare(error)
        else:
            current.response = self
            return
        try:
            # Without its frames, an exception of the caller looks like an exception of the
            # connection. So `Carrier` marks it as the caller's.
            raise Carrier(failure) if isinstance(failure, Exception) else failure
        finally:
            del failure

    def _read_head(self) -> None:
        """Do what `http.client.HTTPResponse.begin` does, with our own header parser."""
        version, status, reason = self._read_status()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        if self.version == 11 and not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.headers = self.msg = read_headers(self.fp)
        # urllib3 logs lines that are not headers as "defects" or "payload" of the message. Such
        # a line may be a part of the response text, which must not get into a log.
        self.headers.defects.clear()
        self.headers.set_payload("")
        self._find_body_end()

    def _find_body_end(self) -> None:
        """Set the attributes that say where the body ends (RFC 9112 §6.3)."""
        # Blanks around a value do not belong to it (RFC 9112 §5), but http.client keeps the blanks
        # after a value.
        self.chunked = self.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
        if self.chunked:
            self.chunk_left = None
        self.length = None if self.chunked else _length(self.headers.get("Content-Length"))
        method: str = self._method  # type: ignore[attr-defined]  # not in the stubs
        if self.status in (204, 304) or self.status < 200 or method == "HEAD":
            self.length = 0  # such a response has no body, even if its headers announce one
        # A body with neither chunks nor a length ends where the connection ends.
        closes: bool = self._check_close()  # type: ignore[attr-defined]  # not in the stubs
        self.will_close = closes or not (self.chunked or self.length is not None)


def read_headers(fp: Any) -> http.client.HTTPMessage:
    """Read header lines up to the blank line; return the same as `http.client.parse_headers`.

    Plain headers are parsed here. If any line is unusual, http.client parses all lines, so that
    the two parsers cannot disagree about a difficult line.

    Raises:
        http.client.LineTooLong: A line has more than 65,536 bytes.
        http.client.HTTPException: There are more than 100 lines.
    """
    lines: List[bytes] = []
    while not lines or lines[-1] not in _BLANK:
        lines.append(fp.readline(_LONGEST_LINE + 1))
        if len(lines[-1]) > _LONGEST_LINE or len(lines) > _MOST_LINES:
            return _parse_headers(lines)  # raises the right error
    headers = http.client.HTTPMessage()
    for line in lines[:-1]:
        plain = _PLAIN_HEADER.fullmatch(line)
        if plain is None:
            return _parse_headers(lines)
        headers.set_raw(*map(_ascii, plain.groups()))
    return headers


def _parse_headers(lines: List[bytes]) -> http.client.HTTPMessage:
    return http.client.parse_headers(io.BytesIO(b"".join(lines)))


def _ascii(word: bytes) -> str:
    return word.decode("ascii")


def _length(header: Optional[str]) -> Optional[int]:
    """Return the value of Content-Length, as http.client reads it; None if it is not valid."""
    try:
        length = int(header or "")
    except ValueError:
        return None
    return length if length >= 0 else None


class _BoundedMixin:
    """Mixin with our changes to urllib3's connections, for plain and for TLS connections."""

    # urllib3's classes define these. Some of its versions use properties, others attributes.
    sock: Any
    host: Any
    port: Any
    response_class: Any = _HTTPResponse
    # If a program sets `HTTPConnection.debuglevel`, http.client prints requests, with API keys and
    # prompts. This attribute overrides that level.
    debuglevel = 0
    _was_used = False  # whether this connection has carried a request
    _has_small_body = False

    def _new_conn(self) -> socket.socket:
        call, policy = current_call(), current.policy
        if policy.socket_path:
            return unix_socket.connect(policy.socket_path, call)
        # `host` has no final dot. The resolver needs the name as the user wrote it: if the name
        # has a final dot, the resolver does not append the search domains. urllib3 keeps that name
        # in `_dns_host`.
        host = getattr(self, "_dns_host", self.host)
        return resolve.connect(host, self.port, call, policy)

    def connect(self) -> None:
        call = current_call()
        canceller = _HandshakeCanceller(call, is_tls=isinstance(self, HTTPSConnection))
        # urllib3's method connects and then makes the TLS handshake. The canceller needs the
        # socket between these two steps, so `_new_conn` is replaced here.
        new_conn = self._new_conn
        self._new_conn = lambda: canceller.watch(new_conn())  # type: ignore[method-assign]  # for this one connect
        try:
            super().connect()  # type: ignore[misc]  # HTTPConnection comes next in the MRO
        except BaseException as error:
            if not isinstance(error, OSError) or is_callers(error):
                # Before 3.12, ssl leaves the socket of an interrupted handshake open.
                canceller.abandon()
                raise
            if isinstance(error, socket.timeout):
                raise call.timed_out() from None
            # `cancel` shuts the socket down, which makes the handshake fail.
            if call.cancelled:
                raise Stop from None
            raise
        finally:
            del self._new_conn  # deletes the instance attribute, which hid the method
            canceller.unwatch()
        # Raise if the call was cancelled just as the handshake ended. No other code would notice.
        call.left()
        self.sock = BoundedSocket(self.sock, call)
        self._was_used = False

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel, under the limits of the call."""
        # The bounded socket is for the proxy's response only. The TLS handshake that follows
        # needs the real socket.
        plain = self.sock
        self.sock = BoundedSocket(plain, current_call())
        self.sock.begin(current_call())
        try:
            super()._tunnel()  # type: ignore[misc]  # HTTPConnection's
            # These bytes came from the proxy. The server has not responded yet.
            current_call().got_bytes = False
        finally:
            current_call().detach(plain)
            self.sock = plain
        plain.settimeout(current_call().left())

    def request(self, *args: Any, **kwargs: Any) -> Any:
        # If one pooled connection was dead, the others probably are, too: connect again. A
        # connection through a proxy's tunnel is excluded, because urllib3 2 forgets the target of
        # the tunnel when it closes the connection. Other connections are closed here, because
        # closing them in `putrequest` would leave http.client in an inconsistent state.
        if current_call().fresh and self._was_used and not getattr(self, "_tunnel_host", None):
            self.close()  # type: ignore[attr-defined]  # HTTPConnection's
        body = kwargs.get("body")
        self._has_small_body = isinstance(body, bytes) and 0 < len(body) < SEND_STEP
        try:
            return super().request(*args, **kwargs)  # type: ignore[misc]  # HTTPConnection's
        except OSError as error:
            # urllib3 ignores a broken pipe and reads the response.
            if is_callers(error):
                raise Carrier(error) from None
            raise

    def putrequest(self, *args: Any, **kwargs: Any) -> Any:
        call = current_call()
        if self.sock is None:
            self.connect()
        # If the request fails from here on, the state of this connection is unknown. Then
        # `abandon` closes the connection.
        current.connection = self
        call.reused = self._was_used
        self._was_used = True
        sock: Any = self.sock  # connect() has set it
        sock.begin(call)
        sock.awaits_body = self._has_small_body
        call.enter(SENDING)
        if call.on_connected is not None:
            # The listener is the user's code. It may make another call in this thread, which
            # overwrites `current`. So `current` is restored afterwards.
            outer = vars(current).copy()
            call.report_connected()
            vars(current).update(outer)
        return super().putrequest(*args, **kwargs)  # type: ignore[misc]  # HTTPConnection's

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        # If the response closes the connection, http.client sets `self.sock` to None, but the
        # response still reads its body from the socket. So the socket is kept in a variable.
        sock = self.sock
        if sock is not None:
            current_call().enter(AWAITING)
        # urllib3 1 passes an argument of Python 2, and catches the TypeError. Before Python 3.11,
        # if a signal handler raises an exception while CPython makes the TypeError, that exception
        # is lost.
        kwargs.pop("buffering", None)
        response = super().getresponse(*args, **kwargs)  # type: ignore[misc]  # HTTPConnection's
        if sock is not None:
            sock.end_head()
        return response


class _HandshakeCanceller:
    """Cancellation of a TLS handshake, through a duplicate of the socket.

    During the handshake, the ssl module moves the file descriptor into a new socket object,
    which code outside the module cannot reach yet. The duplicate refers to the same connection,
    so shutting it down ends the handshake. A plain connection has no handshake and needs no
    duplicate.
    """

    def __init__(self, call: Call, is_tls: bool) -> None:
        self._call = call
        self._is_tls = is_tls
        self._duplicate: Optional[socket.socket] = None

    def watch(self, real: socket.socket) -> socket.socket:
        """Register a duplicate of a TLS socket with the call; return the socket itself."""
        try:
            if self._is_tls:
                duplicate = self._duplicate = _duplicate(real)
                self._call.attach(duplicate)
            real.settimeout(self._call.left())
        except BaseException:
            real.close()
            raise
        return real

    def abandon(self) -> None:
        """End the connection of a handshake that failed."""
        if self._duplicate is not None:
            shut_down(self._duplicate)

    def unwatch(self) -> None:
        """Unregister and close the duplicate. The connection itself stays open."""
        if self._duplicate is not None:
            try:
                self._call.detach(self._duplicate)
            finally:
                self._duplicate.close()


def _duplicate(real: socket.socket) -> Any:
    """Return a second socket object, with a descriptor of its own, for the same connection.

    `socket.dup` keeps the new descriptor in a variable before it makes the object, and a signal
    handler that raises in between would lose the descriptor. Here, C code makes both in one step.
    """
    descriptors = map(socket.dup, (real.fileno(),))
    kind = (real.family,), (real.type,), (real.proto,)
    return next(map(socket.SocketType, *kind, descriptors))


class PlainConnection(_BoundedMixin, HTTPConnection):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """An HTTP connection under the limits of the current call."""


class TLSConnection(_BoundedMixin, HTTPSConnection):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """An HTTPS connection under the limits of the current call."""

    def connect(self) -> None:
        """Connect with a new TLS context."""
        # Some releases of requests pass a shared context, which obeys SSLKEYLOGFILE: that
        # would write the secrets of the connection into a file.
        self.ssl_context = certificates.context()
        super().connect()

    def _connect_tls_proxy(self, hostname: str, *args: Any, **kwargs: Any) -> Any:
        """Connect to a proxy that speaks TLS, and check the name in its certificate."""
        made = super()._connect_tls_proxy(hostname, *args, **kwargs)
        try:
            certificates.check_name(made, hostname)
        except BaseException:
            made.close()
            raise
        return made
