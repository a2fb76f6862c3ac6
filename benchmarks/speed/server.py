"""The fixture server: a separate process that is as fast as plain sockets allow.

It serves just enough of the APIs of Ollama and OpenAI. It keeps connections alive, counts them, and
exits when its standard input closes. Its own CPU time is not measured, only the client's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Tuple

from benchmarks.speed import wire
from benchmarks.speed.wire import Shape

_PAUSE_S = 0.001
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
_TYPES = {"ollama": b"application/x-ndjson", "openai": b"text/event-stream"}

_opened = itertools.count()
_last_opened = [0]


class Request(NamedTuple):
    """A request that has been read."""

    path: str
    shape: Shape
    body: bytes

    def json(self) -> Dict[str, Any]:
        """Return the body, parsed as JSON."""
        value: Dict[str, Any] = json.loads(self.body)
        return value


#: Answers one request on a connection.
Answer = Callable[[socket.socket, Request], None]


def serve(listener: socket.socket, answer: Answer) -> None:
    """Accept connections until the process ends; serve each in a thread."""
    while True:
        connection, _ = listener.accept()
        _last_opened[0] = next(_opened) + 1
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve_connection, args=(connection, answer), daemon=True).start()


def _serve_connection(connection: socket.socket, answer: Answer) -> None:
    with connection, contextlib.suppress(ConnectionError):
        for request in _requests(connection):
            answer(connection, request)


def _requests(connection: socket.socket) -> Iterator[Request]:
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            piece = connection.recv(1 << 18)
            if not piece:
                return
            held += piece
        head, _, held = held.partition(b"\r\n\r\n")
        size = _body_size(head)
        pieces = [held]
        while len(held) < size:
            pieces.append(connection.recv(1 << 18))
            if not pieces[-1]:
                return
            held = b"".join(pieces) if sum(map(len, pieces)) >= size else held
        body, held = held[:size], held[size:]
        path = head.split(b" ", 2)[1].decode("ascii")
        yield Request(*_split_path(path), body)


def _body_size(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def _split_path(path: str) -> Tuple[str, Shape]:
    """Split a path into the path of the API, and the shape at the beginning."""
    parts = path.split("?")[0].split("/", 4)
    if len(parts) == 5 and parts[1] in (*wire.CUTS, wire.FLOATS):
        return "/" + parts[4], Shape(parts[1], int(parts[2]), int(parts[3]))
    return path, Shape("coalesced", 1, 1)


def answer_from_wire(connection: socket.socket, request: Request) -> None:
    """Answer a request with the prepared bytes of `wire`."""
    if request.path in wire.FIXED:
        _send(connection, wire.FIXED[request.path])
    elif request.path == "/connections":
        _send(connection, b"%d" % _last_opened[0])
    elif request.path == "/api/chat":
        _chat(connection, request, "ollama", request.json().get("stream", True))
    elif request.path == "/v1/chat/completions":
        body = request.json()
        is_streamed = body.get("stream", False)
        if body.get("top_logprobs"):
            _send_first_token(connection, is_streamed)
        else:
            _chat(connection, request, "openai", is_streamed)
    elif request.path == "/api/embed":
        _send(connection, wire.ollama_vectors(request.shape))
    elif request.path == "/v1/embeddings":
        packed = request.json().get("encoding_format") == "base64"
        packed = packed and request.shape.cut != wire.FLOATS
        _send(connection, wire.openai_vectors(request.shape, packed))
    else:
        connection.sendall(_MISSING)


def _send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(_HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body)


def stream_head(dialect: str) -> bytes:
    """Return the head of a streamed response."""
    return _HEAD % (_TYPES[dialect], _CHUNKED)


def _send_first_token(connection: socket.socket, stream: bool) -> None:
    body = wire.openai_first_token(stream)
    if not stream:
        return _send(connection, body)
    head = stream_head("openai")
    return connection.sendall(head + wire.chunk(body) + wire.LAST_CHUNK)


def _chat(connection: socket.socket, request: Request, dialect: str, stream: bool) -> None:
    shape, prompt = request.shape, max(1, len(request.body) // 4)
    if not stream:
        completion = wire.ollama_last if dialect == "ollama" else wire.openai_completion
        return _send(connection, completion(shape.number, prompt, wire.text_of(shape)))
    last = wire.ollama_last if dialect == "ollama" else wire.openai_last
    ending = wire.chunk(last(shape.number, prompt)) + wire.LAST_CHUNK
    head = stream_head(dialect)
    if shape.cut == "paced":
        return _paced(connection, head, shape.number, dialect, ending)
    *before, final = wire.writes(shape, dialect)
    if shape.cut == "tokens":
        before, final = [*before, final], b""
    for block in before:
        connection.sendall(head + block)
        head = b""
    return connection.sendall(head + final + ending)


def _paced(connection: socket.socket, head: bytes, count: int, dialect: str, ending: bytes) -> None:
    """Send events 1 ms apart; the text of each event is the time at which it is sent."""
    record = wire.ollama_record if dialect == "ollama" else wire.openai_record
    before, _, after = record("@").partition(b"@")
    for _ in range(count):
        stamped = b"%b%.6f %b" % (before, time.monotonic(), after)
        connection.sendall(head + wire.chunk(stamped))
        head = b""
        time.sleep(_PAUSE_S)
    connection.sendall(ending)


def main(answer: Answer = answer_from_wire) -> None:
    """Print the port, then serve until the standard input closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
