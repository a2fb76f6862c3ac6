"""The strategy ``balanced``: choose one of several servers with the same model for a request.

The next request goes to the server with the fewest requests in flight for each of its slots. But a
request that begins like an earlier request goes to the server of that earlier request if this
server has a free slot, because the server may still have the processed beginning in its cache. Only
the requests of one `LocalProvider` in one process are counted.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b
from typing import Dict, Iterator, List, Sequence, Tuple

from localproviders.local.servers import Route, Server
from localproviders.types.requests import CompletionRequest

# Prompts are compared message by message. Long messages are split into pieces of this length, in
# characters.
_PIECE = 1024
# Highest number of hashes for one prompt, and highest number of hashes that are kept in total.
_MOST_BEGINNINGS, _MOST_REMEMBERED = 32, 8192


class Lease:
    """A request in flight. It is counted from the creation of this object until `end`.

    No lock is used, because a lock that is held during a fork would stay locked in the child. The
    operations of a list are atomic. A forked child does not count the requests of its parent.

    Args:
        server: The server of the request.
    """

    def __init__(self, server: Server) -> None:
        self._running = _running(server)
        self._running.append(self)

    def end(self) -> None:
        """End the request. This method may be called more than once."""
        with contextlib.suppress(ValueError):
            self._running.remove(self)


def _running(server: Server) -> List[object]:
    return server.running.setdefault(os.getpid(), [])


def _load(server: Server) -> int:
    """Return the number of requests in flight on a server, and one more if it has just failed.

    After a request to a hanging server has failed, this server has fewer requests in flight than
    the others. Without the addition, the next requests would go to it and wait, too, until its
    circuit breaker opens. With the addition, it gets a request only when the others are busy.
    """
    return len(_running(server)) + server.breaker.has_failed


def _slots(route: Route) -> int:
    """Return how many requests a server processes at the same time; 1 if this is not known."""
    known = route.server.seen.get(route.model)
    found = None if known is None else route.server.provider._slots(known[0])
    return found or 1


class Balancer:
    """The balancer of one `LocalProvider`. It remembers which server has read which prompts.

    The prompts are remembered as hashes of their beginnings, never as text.
    """

    def __init__(self) -> None:
        self._homes: Dict[bytes, Server] = {}

    def choose(self, routes: Sequence[Route], beginnings: Sequence[bytes]) -> Tuple[Route, Lease]:
        """Return the route for the next request, and its lease. The lease starts now.

        Args:
            routes: The servers that have the model, in the order of preference.
            beginnings: Hashes of the beginnings of the prompt, the longest beginning first.
        """
        home = next((self._homes[each] for each in beginnings if each in self._homes), None)
        used = [(_load(route.server), _slots(route), route) for route in routes]
        free = [route for count, slots, route in used if route.server is home and count < slots]
        route = free[0] if free else min(used, key=lambda each: each[0] / each[1])[2]
        lease = Lease(route.server)
        if len(self._homes) > _MOST_REMEMBERED:
            self._homes.clear()
        self._homes.update(dict.fromkeys(beginnings, route.server))
        return route, lease


def beginnings_of(request: CompletionRequest) -> List[bytes]:
    """Return hashes of the beginnings of a prompt, for the comparison with other prompts.

    The hash of the longest beginning comes first. Only the first part of a very long prompt is
    used.
    """
    hasher, found = blake2b(digest_size=12), []
    for piece in _pieces(request):
        hasher.update(piece.encode("utf-8", "surrogatepass"))
        found.append(hasher.digest())
        if len(found) == _MOST_BEGINNINGS:
            break
    return found[::-1]


def _pieces(request: CompletionRequest) -> Iterator[str]:
    texts = [(message.role, message.content) for message in request.messages]
    for role, text in texts or [("", request.prompt or "")]:
        yield f"\0{role}\0{text[:_PIECE]}"
        yield from (text[at : at + _PIECE] for at in range(_PIECE, len(text), _PIECE))
