"""A server with a number of slots: ``python -m benchmarks.batch.slots SLOTS SERVICE_S``.

The server has the part of Ollama's API that a batch needs. It works on at most SLOTS chats at the
same time; other chats wait for a free slot. A chat then takes SERVICE_S seconds, give or take 30 %.
Its first token comes after a tenth of this time.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
import time
from typing import Any

from benchmarks.speed import server, wire

_TOKENS = 20


class _Slots:
    """The slots of this server, which limit how many chats it works on at the same time.

    Args:
        count: Number of the slots.
        service_s: Mean seconds of a request.
    """

    def __init__(self, count: int, service_s: float) -> None:
        self._free = threading.Semaphore(count)
        self._service_s = service_s
        self._random = random.Random(1)

    def answer(self, connection: socket.socket, request: server.Request) -> None:
        """Answer one chat."""
        record = wire.chunk(wire.ollama_record("token " * _TOKENS))
        ending = wire.chunk(wire.ollama_last(_TOKENS, 10)) + wire.LAST_CHUNK
        with self._free:
            seconds = self._service_s * self._random.uniform(0.7, 1.3)
            time.sleep(seconds / 10)
            connection.sendall(_HEAD + record)
            time.sleep(seconds * 9 / 10)
            connection.sendall(ending)


_HEAD = server._HEAD % (server._TYPES["ollama"], server._CHUNKED)


def _serve(connection: socket.socket, slots: _Slots) -> None:
    with connection, contextlib.suppress(ConnectionError):
        for request in server._requests(connection):
            answer: Any = slots.answer if request.path == "/api/chat" else server._answer
            answer(connection, request)


def main() -> None:
    """Print the port, then serve until the standard input closes."""
    slots = _Slots(int(sys.argv[1]), float(sys.argv[2]))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection, slots), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
