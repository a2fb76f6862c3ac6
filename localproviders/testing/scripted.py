"""A server that does exactly what a script says, byte by byte, and notes what it saw."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

#: What a script may do: send bytes, or call a function with the exchange (to wait for an
#: event, to close, to drip).
Step = Union[bytes, Callable[["Exchange"], None]]

#: Chooses the script for a request.
Script = Callable[["Exchange"], Iterable[Step]]

_PIECE = 64 * 1024


@dataclass
class Exchange:
    """One request, and what became of it.

    Attributes:
        method: Such as ``POST``.
        path: Path of the request, with its query.
        headers: Headers, names in lower case.
        body: The whole body.
        connection: Number of the connection, from 1; a kept one has the same again.
        client_gone: Set when the client has closed or reset the connection.
    """

    method: str
    path: str
    headers: Dict[str, str]
    body: bytes
    connection: int
    client_gone: threading.Event = field(default_factory=threading.Event)
    sock: Any = None
    stopping: Optional[threading.Event] = None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def drip(self, piece: bytes, every_s: float) -> None:
        """Send a piece again and again until the client goes or the server stops."""
        assert self.stopping is not None  # noqa: S101  # set by the server
        while not self.stopping.wait(every_s):
            self.sock.sendall(piece)

    def hold(self) -> None:
        """Say nothing until the client goes or the server stops."""
        assert self.stopping is not None  # noqa: S101  # set by the server
        self.sock.settimeout(0.05)
        while not self.stopping.is_set():
            try:
                if not self.sock.recv(_PIECE):
                    raise ConnectionResetError
            except socket.timeout:
                continue

    def close(self) -> None:
        """Close the connection here, in the middle of whatever was said."""
        raise _ScriptEndsError


class _ScriptEndsError(Exception):
    """The script closes the connection."""


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
    """An HTTP server on a free loopback port; use it in a ``with`` block.

    For each request the script gives steps: bytes that are sent as they are, or functions
    that are called with the `Exchange`. After its steps the connection is kept.

    Args:
        script: Chooses the steps for a request; or bytes, sent to every request.
        tls: Context to serve TLS with, or None.
        one_byte_writes: Send every answer a byte at a time.
    """

    def __init__(
        self,
        script: Union[Script, bytes],
        *,
        tls: Optional[ssl.SSLContext] = None,
        one_byte_writes: bool = False,
    ) -> None:
        self._script: Script = (lambda _: [script]) if isinstance(script, bytes) else script
        self._tls = tls
        self._one_byte_writes = one_byte_writes
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: The port that it listens on.
        self.port: int = self._listener.getsockname()[1]
        self._threads: List[threading.Thread] = []
        self._socks: List[socket.socket] = []
        self._lock = threading.Lock()
        #: Every request, in the order in which they were read.
        self.exchanges: List[Exchange] = []

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with self._lock:
            for sock in [self._listener, *self._socks]:
                _shut(sock)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            with self._lock:
                self._socks.append(sock)
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        exchange: Optional[Exchange] = None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._socks.append(sock)  # the one before is an empty shell now
            with sock.makefile("rb") as reader:
                while not self._stopping.is_set():
                    exchange = _read_request(reader, number)
                    if exchange is None:
                        return
                    exchange.sock, exchange.stopping = sock, self._stopping
                    self.exchanges.append(exchange)
                    self._play(exchange)
        except _ScriptEndsError:
            pass
        except (OSError, ValueError):
            if exchange is not None:
                exchange.client_gone.set()
        finally:
            _shut(sock)
            sock.close()

    def _play(self, exchange: Exchange) -> None:
        for step in self._script(exchange):
            if callable(step):
                step(exchange)
            elif self._one_byte_writes:
                for byte in step:
                    exchange.sock.sendall(bytes((byte,)))
            else:
                exchange.sock.sendall(step)


def _read_request(reader: Any, number: int) -> Optional[Exchange]:
    line = reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: Dict[str, str] = {}
    while True:
        line = reader.readline().strip()
        if not line:
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, body, number)


def _shut(sock: socket.socket) -> None:
    # An error says that it is not connected any more.
    with contextlib.suppress(OSError):
        # Not sock.shutdown(): on a TLS socket that would drop the TLS object in use.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
