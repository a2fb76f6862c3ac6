"""A server that follows a script byte by byte, and records the requests that it receives."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
)

from localproviders._signatures import exact_keywords
from localproviders.discovery.candidates import avoided_ports

#: One step of a script: bytes to send, or a function that is called with the exchange, for
#: example to wait for an event or to close the connection.
Step = Union[bytes, Callable[["Exchange"], None]]

#: A function that returns the steps for a request.
Script = Callable[["Exchange"], Iterable[Step]]

Self = TypeVar("Self", bound="ScriptedServer")

_PIECE = 64 * 1024

# While a script sends nothing, the server checks again after this number of seconds whether the
# client has closed the connection.
LOOK_S = 0.02


@dataclass
class Exchange:
    """One request, and the state of its response.

    Attributes:
        method: The method, such as ``POST``.
        path: The path of the request, with its query.
        headers: The headers, with names in lower case.
        connection: The number of the connection, from 1. Requests on the same connection have
            the same number.
        sock: The socket of the connection.
        reader: A buffered file object that reads from the socket.
        stopping: Event that is set when the server stops.
        body: The part of the body that has been read.
        client_gone: Event that is set when the client has closed or reset the connection.
        answered: Event that is set when the whole response has been passed to the operating
            system.
    """

    method: str
    path: str
    headers: Dict[str, str]
    connection: int
    sock: Any
    reader: Any
    stopping: threading.Event
    body: bytes = b""
    client_gone: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    _is_read: bool = field(default=False, init=False, repr=False)

    def __repr__(self) -> str:
        # The repr has no headers and no body, because the exchanges of a `Recorder` contain real
        # keys and prompts.
        known = vars(self)
        return f"<Exchange {known.get('method')} {known.get('path')}>"

    @property
    def json(self) -> Any:
        """The body, parsed as JSON; None if there is no body, as in a GET request."""
        return json.loads(self.body) if self.body else None

    def drip(self, piece: bytes, every_s: float) -> None:
        """Send a piece repeatedly until the client closes the connection or the server stops."""
        while not self.stopping.wait(every_s):
            self.sock.sendall(piece)

    def hold(self, seconds: float = math.inf) -> None:
        """Send nothing for a time. End early if the client disconnects or the server stops."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stopping.wait(LOOK_S):
            if hung_up(self.sock):
                raise ConnectionResetError
        if self.stopping.is_set():
            raise ScriptEndsError  # later steps would race with the end of the connection

    def close(self) -> None:
        """Close the connection at this point, even in the middle of a response."""
        raise ScriptEndsError

    def reset(self) -> None:
        """Reset the connection. The client's next read fails instead of reporting the end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _ResetError

    def read_body(self, piece_bytes: int = _PIECE, every_s: float = 0.0) -> None:
        """Read the rest of the request body, with pauses if `every_s` is set."""
        for piece in self.body_pieces(piece_bytes, every_s):
            self.body += piece

    def body_pieces(self, piece_bytes: int = _PIECE, every_s: float = 0.0) -> Iterator[bytes]:
        """Yield the rest of the request body in pieces, without keeping them in `body`."""
        if self._is_read:
            return
        chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        sizes = self._chunk_sizes() if chunked else [_size(self._length, 10) - len(self.body)]
        for size in sizes:
            while size > 0:
                self._check_stopping()
                if every_s:
                    self.hold(every_s)
                piece = self.reader.read(min(piece_bytes, size))
                if not piece:
                    raise ConnectionResetError
                size -= len(piece)
                yield piece
        self._is_read = True

    @property
    def _length(self) -> str:
        return self.headers.get("content-length", "0")

    def _chunk_sizes(self) -> Iterator[int]:
        """Yield the size of each chunk, and read the line end that follows the chunk."""
        while True:
            self._check_stopping()
            line = self.reader.readline()
            if not line:
                raise ConnectionResetError
            size = _size(line.partition(b";")[0].decode("latin-1"), 16)
            yield size
            self.reader.readline()
            if not size:
                return

    def _check_stopping(self) -> None:
        """End the script if the server stops, so that no incomplete request is answered."""
        if self.stopping.is_set():
            raise ScriptEndsError


class ScriptEndsError(Exception):
    """Raised by a script to close the connection."""


class _ResetError(ScriptEndsError):
    """Raised by a script to reset the connection."""


class _MalformedError(ScriptEndsError):
    """Raised if a request is not valid HTTP."""


def _size(text: str, base: int) -> int:
    """Return the size of a body or of a chunk.

    Raises:
        _MalformedError: The text is not a number.
    """
    if not re.fullmatch(r"[0-9]+" if base == 10 else r"[0-9a-fA-F]+", text.strip()):
        raise _MalformedError
    return int(text, base)


def http_answer(
    body: Union[bytes, str, Dict[str, Any], List[Any]] = b"",
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: Iterable[Tuple[str, str]] = (),
    chunked: bool = False,
    chunk_size: Optional[int] = None,
) -> bytes:
    """Return a complete HTTP/1.1 response as bytes.

    Args:
        body: Bytes, text, or a value to write as JSON.
        status: The status code and the reason phrase.
        content_type: The media type.
        headers: Further headers.
        chunked: Use chunked transfer encoding instead of a ``Content-Length``.
        chunk_size: Number of bytes per chunk; None uses a single chunk.
    """
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    data = body.encode("utf-8") if isinstance(body, str) else body
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(data)))
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in [length, *headers]]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + (chunks(data, chunk_size or max(1, len(data))) if chunked else data)


def chunks(data: bytes, size: int) -> bytes:
    """Return data in chunked transfer encoding, including the last chunk."""
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class ScriptedServer:
    """An HTTP server on a loopback port or a UNIX socket; use it in a ``with`` block.

    For each request the script returns steps: bytes that are sent unchanged, or functions that
    are called with the `Exchange`. After the steps the connection stays open, unless the request
    has the header ``Connection: close``.

    An exception of the script, or of a function among its steps, is kept in `errors`. `stop`, or
    the end of the ``with`` block, raises the first one. If the script itself fails, the client
    receives status 500 with the text of the exception; if a step fails, the connection is closed.
    A request that is not valid HTTP receives status 400.

    Args:
        script: Function that returns the steps for a request; or bytes to send as the response
            to every request.
        tls: The TLS context of the server; None serves plain HTTP.
        one_byte_writes: Send every response one byte at a time.
        port: The port to listen on; 0 uses a free port.
        unix: The path of a UNIX socket to listen on, instead of a port. While the server runs,
            the file of the socket exists.

    Raises:
        ValueError: `unix` is given together with `tls` or `port`.
        OSError: The address is in use, or the socket cannot be made there.
    """

    @exact_keywords
    def __init__(
        self,
        script: Union[Script, bytes],
        *,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
        port: int = 0,
        unix: Optional[str] = None,
    ) -> None:
        if unix is not None and (tls is not None or port):
            raise ValueError("unix excludes tls and port: a UNIX socket has neither")
        #: The path of the UNIX socket on which the server listens; None for a port.
        self.unix: Optional[str] = None if unix is None else os.path.abspath(unix)
        self._script: Script = (lambda _: [script]) if isinstance(script, bytes) else script
        self._tls = tls
        self._one_byte_writes = one_byte_writes
        self._connections = 0
        self._socks: Set[socket.socket] = set()
        self._lock = threading.Condition()
        #: The exceptions of the script and of its functions since the server started. `stop`, or
        #: the end of the ``with`` block, raises the first one, unless the test has removed it.
        self.errors: List[BaseException] = []
        #: All requests, in the order in which they were read.
        self.exchanges: List[Exchange] = []
        self._listen(port)

    def _listen(self, port: int) -> None:
        self._stopping = threading.Event()
        self._threads: List[threading.Thread] = []
        if self.unix is None:
            self._listener = _listen_on_port(port)
        else:
            self._listener = _listen_on_socket(self.unix)
        #: The port on which the server listens; 0 for a UNIX socket.
        self.port: int = self._listener.getsockname()[1] if self.unix is None else 0

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        if self.unix is not None:
            return f"unix://{self.unix}"
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def url_of(self, path: str) -> str:
        """Return the address of the server with a path, such as ``/v1``."""
        return f"{self.url}:{path}" if self.unix is not None else self.url + path

    @property
    def open_connections(self) -> int:
        """The number of connections that are open."""
        return len(self._socks)

    def wait_for_connections(self, count: int, timeout_s: float = 5.0) -> bool:
        """Wait until at most `count` connections are open; return False after the timeout."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._socks) <= count, timeout_s)

    def start(self) -> None:
        """Start to accept connections. After `stop`, the server starts again on the same port."""
        if self._stopping.is_set():
            self._listen(self.port)
        self._start(self._accept)

    def stop(self) -> None:
        """Close all connections and refuse new ones.

        Raises:
            BaseException: The first of `errors`. After that, the list is empty, so that a further
                call does not raise it again.
        """
        self._close()
        self._raise_failure()

    def _close(self) -> None:
        self._stopping.set()
        with self._lock:
            for sock in [self._listener, *self._socks]:
                _shut(sock)
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()
        if self.unix is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.unix)

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        self._close()
        # A failure of the script probably caused the error of the ``with`` block. So the failure is
        # raised, and the error becomes its context. But an interrupt, or the exception of a skipped
        # test, is not an `Exception`, and must reach the caller unchanged.
        if error is None or isinstance(error, Exception):
            self._raise_failure()

    def _keep_failure(self, error: BaseException) -> None:
        """Keep the exception of a function for `stop`; no code in this thread could handle it."""
        with self._lock:
            self.errors.append(error)

    def _raise_failure(self) -> None:
        with self._lock:
            found = list(self.errors)
            self.errors.clear()
        if found:
            raise found[0]

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        listener, stopping = self._listener, self._stopping
        while not stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._connections += 1
            with self._lock:
                self._socks.add(sock)
            self._start(self._serve, sock, self._connections, stopping)

    def _serve(self, raw: socket.socket, number: int, stopping: threading.Event) -> None:
        sock = raw
        exchange: Optional[Exchange] = None
        try:
            if self.unix is None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._swap(raw, sock)
            with sock.makefile("rb") as reader:
                while not stopping.is_set():
                    following = _read_head(reader, number, sock, stopping)
                    if following is None:
                        raise ConnectionResetError
                    exchange = following
                    self.exchanges.append(exchange)
                    self._play(exchange)
                    exchange.answered.set()
                    if exchange.headers.get("connection", "").lower() == "close":
                        exchange.close()
        except BaseException as error:
            self._end(sock, exchange, error)
        finally:
            sock.close()
            self._swap(sock, None)

    def _end(self, sock: socket.socket, exchange: Optional[Exchange], error: BaseException) -> None:
        """End a connection. The exception that its last request raised decides how."""
        if isinstance(error, _MalformedError):
            _refuse_malformed(sock)
        elif _is_of_socket(error):
            if exchange is not None:
                exchange.client_gone.set()
        elif not isinstance(error, _ResetError):
            if not isinstance(error, ScriptEndsError):
                self._keep_failure(error)
            _shut(sock)

    def _swap(self, old: socket.socket, new: Optional[socket.socket]) -> None:
        with self._lock:
            self._socks.discard(old)
            if new is not None:
                self._socks.add(new)
            self._lock.notify_all()

    def _before_body(self, exchange: Exchange) -> None:
        """Do nothing. Subclasses use this step between the head and the body of a request."""

    def _play(self, exchange: Exchange) -> None:
        for step in self._steps(exchange):
            if callable(step):
                step(exchange)
            elif self._one_byte_writes:
                for byte in step:
                    exchange.sock.sendall(bytes((byte,)))
            else:
                exchange.sock.sendall(step)

    def _steps(self, exchange: Exchange) -> Iterable[Step]:
        """Return the steps of the script; if it fails, the steps of a response with status 500."""
        try:
            self._before_body(exchange)
            exchange.read_body()
            return self._script(exchange)
        except BaseException as error:
            if isinstance(error, ScriptEndsError) or _is_of_socket(error):
                raise  # the script closed the connection, or the client did
            self._keep_failure(error)
            words = f"the script of this server raised {type(error).__name__}: {error}"
            answer = http_answer({"error": words}, status="500 Internal Server Error")
            if exchange.method == "HEAD":
                answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            # The server would take unread bytes of this request's body for the next request.
            return [answer] if exchange._is_read else [answer, Exchange.close]


def _listen_on_port(port: int) -> socket.socket:
    """Listen on a port of 127.0.0.1; 0 means any free port to which `discover` may connect.

    The operating system can also assign ports to which `discover` never connects.
    """
    with contextlib.ExitStack() as refused:
        while True:
            listener = socket.create_server(("127.0.0.1", port), backlog=128)
            if port or listener.getsockname()[1] not in avoided_ports():
                return listener
            refused.enter_context(listener)  # keep it open, so that the next port is another one


def _listen_on_socket(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _read_head(
    reader: Any, number: int, sock: Any, stopping: threading.Event
) -> Optional[Exchange]:
    if not reader.peek(1)[:1].isalpha():
        return None  # the connection has ended, or a client speaks TLS to a plain HTTP port
    words = reader.readline().decode("latin-1").split(" ", 2)
    if len(words) != 3:
        raise _MalformedError
    method, path, _ = words
    headers: Dict[str, str] = {}
    while True:
        line = reader.readline().strip()
        if not line:
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Exchange(method, path, headers, number, sock, reader, stopping)


def _is_of_socket(error: BaseException) -> bool:
    """Return whether an exception means that the connection has ended.

    An `OSError` that names a file comes from a function of the test.
    """
    return isinstance(error, OSError) and error.filename is None


def _refuse_malformed(sock: socket.socket) -> None:
    """Answer a request that is not valid HTTP, and close the connection."""
    # An error means that the client has closed the connection.
    with contextlib.suppress(OSError):
        words, close = b"400 Bad Request", [("Connection", "close")]
        sock.sendall(
            http_answer(words, status=words.decode(), content_type="text/plain", headers=close)
        )
        _shut(sock)


def hung_up(sock: socket.socket) -> bool:
    """Return whether the client has closed the connection. Bytes that it sent stay unread."""
    if hasattr(select, "POLLRDHUP"):
        poller = select.poll()
        poller.register(sock, select.POLLRDHUP)
        return bool(poller.poll(0))
    # On other systems, unread bytes hide the end of the connection. A TLS socket cannot peek, so
    # the end of a TLS connection is not noticed here.
    readable = bool(select.select([sock], [], [], 0)[0])
    tls = isinstance(sock, ssl.SSLSocket)
    return readable and not tls and not sock.recv(1, socket.MSG_PEEK)


def _shut(sock: socket.socket) -> None:
    # An error means that the socket is no longer connected.
    with contextlib.suppress(OSError):
        # `sock.shutdown()` is not used: on a TLS socket, it would drop the TLS object that another
        # thread may be using.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
