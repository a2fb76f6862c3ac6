"""A server with a number of slots: ``python -m benchmarks.batch.slots SLOTS SERVICE_S``.

The server has the part of Ollama's API that a batch needs. It works on at most SLOTS chats at the
same time; other chats wait for a free slot. A chat then takes SERVICE_S seconds, give or take 30 %.
Its first token comes after a tenth of this time.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time

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
        """Answer a chat in a slot, and any other request as the fixture server does."""
        if request.path != "/api/chat":
            return server.answer_from_wire(connection, request)
        record = wire.chunk(wire.ollama_record("token " * _TOKENS))
        ending = wire.chunk(wire.ollama_last(_TOKENS, 10)) + wire.LAST_CHUNK
        with self._free:
            # The sleeps are the time of the request, which is what this server imitates.
            seconds = self._service_s * self._random.uniform(0.7, 1.3)
            time.sleep(seconds / 10)
            connection.sendall(server.stream_head("ollama") + record)
            time.sleep(seconds * 9 / 10)
            return connection.sendall(ending)


if __name__ == "__main__":
    server.main(_Slots(int(sys.argv[1]), float(sys.argv[2])).answer)
