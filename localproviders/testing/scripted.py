"""A server that does exactly what a script says, byte by byte, and notes what it saw."""

from __future__ import annotations

import contextlib
import json
import math
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple, TypeVar, Union

#: What a script may do: send bytes, or call a function with the exchange (to wait for an
#: event, to close, to drip).
Step = Union[bytes, Callable[["Exchange"], None]]

#: Chooses the script for a request.
Script = Callable[["Exchange"], Iterable[Step]]

Self = TypeVar("Self", bound="ScriptedServer")

_PIECE = 64 * 1024

# How often a silent script looks whether the client is still there.
LOOK_S = 0.02


@dataclass
class Exchange:
    """One request, and what became of it.

    Attributes:
        method: Such as ``POST``.
        path: Path of the request, with its query.
        headers: Headers, names in lower case.
        connection: Number of the connection, from 1; a kept one has the same again.
        body: The body, as far as it has been read.
        client_gone: Set when the client has closed or reset the connection.
        answered: Set when the whole answer has been handed to the system.
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

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def drip(self, piece: bytes, every_s: float) -> None:
        """Send a piece again and again until the client goes or the server stops."""
        while not self.stopping.wait(every_s):
            self.sock.sendall(piece)

    def hold(self, seconds: float = math.inf) -> None:
        """Say nothing for so long, or until the client goes or the server stops."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stopping.wait(LOOK_S):
            if hung_up(self.sock):
                raise ConnectionResetError
        if self.stopping.is_set():
            raise ScriptEndsError  # what follows would race with the end of the connection

    def close(self) -> None:
        """Close the connection here, in the middle of whatever was said."""
        raise ScriptEndsError

    def reset(self) -> None:
        """Break the connection off: the client's next step fails instead of ending."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _ResetError

    def read_body(self, piece_bytes: int = _PIECE, every_s: float = 0.0) -> None:
        """Read the rest of the request's body, slowly if asked to."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._read_chunks()
            return
        missing = int(self.headers.get("content-length", "0")) - len(self.body)
        while missing > 0:
            if every_s:
                self.hold(every_s)
            piece = self.reader.read(min(piece_bytes, missing))
            if not piece or self.stopping.is_set():  # nobody answers half a request
                raise ConnectionResetError
            self.body += piece
            missing -= len(piece)

    def _read_chunks(self) -> None:
        while not self.stopping.is_set():
            size = int(self.reader.readline().partition(b";")[0].strip() or b"0", 16)
            self.body += self.reader.read(size)
            self.reader.readline()
            if not size:
                return


class ScriptEndsError(Exception):
    """The script closes the connection."""


class _ResetError(ScriptEndsError):
    """The script breaks the connection off."""


def http_answer(
    body: Union[bytes, str, Dict[str, Any], List[Any]] = b"",
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: Iterable[Tuple[str, str]] = (),
    chunked: bool = False,
    chunk_size: Optional[int] = None,
) -> bytes:
    """Write a whole HTTP/1.1 answer.

    Args:
        body: Bytes, text, or a value for JSON.
        status: Number and words of the status line.
        content_type: The media type.
        headers: Further headers.
        chunked: Use chunked framing instead of a length.
        chunk_size: Bytes in a chunk; None puts everything into one.
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
    """Write chunked framing around data, its end included."""
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class ScriptedServer:
    """An HTTP server on a loopback port; use it in a ``with`` block.

    For each request the script gives steps: bytes that are sent as they are, or functions
    that are called with the `Exchange`. After its steps the connection is kept.

    Args:
        script: Chooses the steps for a request; or bytes, sent to every request.
        tls: Context to serve TLS with, or None.
        one_byte_writes: Send every answer a byte at a time.
        port: The port to listen on; 0 takes a free one.
    """

    def __init__(
        self,
        script: Union[Script, bytes],
        *,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
        port: int = 0,
    ) -> None:
        self._script: Script = (lambda _: [script]) if isinstance(script, bytes) else script
        self._tls = tls
        self._one_byte_writes = one_byte_writes
        self._connections = 0
        self._socks: Set[socket.socket] = set()
        self._lock = threading.Condition()
        #: Every request, in the order in which they were read.
        self.exchanges: List[Exchange] = []
        self._listen(port)

    def _listen(self, port: int) -> None:
        self._stopping = threading.Event()
        self._threads: List[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        #: The port that it listens on.
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections clients have left open."""
        return len(self._socks)

    def wait_for_connections(self, count: int, timeout_s: float = 5.0) -> bool:
        """Wait until no more than so many connections are open; say whether that came."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._socks) <= count, timeout_s)

    def start(self) -> None:
        """Begin to accept connections; again, after `stop`, on the same port."""
        if self._stopping.is_set():
            self._listen(self.port)
        self._start(self._accept)

    def stop(self) -> None:
        """Break every connection off and refuse new ones."""
        self._stopping.set()
        with self._lock:
            for sock in [self._listener, *self._socks]:
                _shut(sock)
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

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
                    self._before_body(exchange)
                    exchange.read_body()
                    self._play(exchange)
                    exchange.answered.set()
                    if exchange.headers.get("connection", "").lower() == "close":
                        exchange.close()
        except ScriptEndsError as end:
            if not isinstance(end, _ResetError):
                _shut(sock)
        except OSError:
            if exchange is not None:
                exchange.client_gone.set()
        finally:
            sock.close()
            self._swap(sock, None)

    def _swap(self, old: socket.socket, new: Optional[socket.socket]) -> None:
        with self._lock:
            self._socks.discard(old)
            if new is not None:
                self._socks.add(new)
            self._lock.notify_all()

    def _before_body(self, exchange: Exchange) -> None:
        """Do something when only the head of a request has been read. Nothing by default."""

    def _play(self, exchange: Exchange) -> None:
        for step in self._script(exchange):
            if callable(step):
                step(exchange)
            elif self._one_byte_writes:
                for byte in step:
                    exchange.sock.sendall(bytes((byte,)))
            else:
                exchange.sock.sendall(step)


def _read_head(
    reader: Any, number: int, sock: Any, stopping: threading.Event
) -> Optional[Exchange]:
    if not reader.peek(1)[:1].isalpha():
        return None  # the end of the connection, or TLS on a plain port
    words = reader.readline().decode("latin-1").split(" ", 2)
    if len(words) != 3:
        return None
    method, path, _ = words
    headers: Dict[str, str] = {}
    while True:
        line = reader.readline().strip()
        if not line:
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Exchange(method, path, headers, number, sock, reader, stopping)


def hung_up(sock: socket.socket) -> bool:
    """Whether the other side has closed; what it sent before stays unread."""
    if hasattr(select, "POLLRDHUP"):
        poller = select.poll()
        poller.register(sock, select.POLLRDHUP)
        return bool(poller.poll(0))
    # Elsewhere unread bytes hide the end, and TLS sockets cannot look without taking.
    readable = bool(select.select([sock], [], [], 0)[0])
    tls = isinstance(sock, ssl.SSLSocket)
    return readable and not tls and not sock.recv(1, socket.MSG_PEEK)


def _shut(sock: socket.socket) -> None:
    # An error says that it is not connected any more.
    with contextlib.suppress(OSError):
        # Not sock.shutdown(): on a TLS socket that would drop the TLS object in use.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
