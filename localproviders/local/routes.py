"""From a name to the servers that may answer under it, in order. Pure but for `Server`."""

from __future__ import annotations

import math
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from localproviders.discovery import forget
from localproviders.errors import ProviderError, UnreachableError
from localproviders.local.breaker import Breaker
from localproviders.provider import ModelProvider
from localproviders.types.model import ModelInfo

Aliases = Mapping[str, Tuple[str, ...]]


class Server:
    """One of the servers: its provider, and what was seen of it.

    Attributes:
        provider: Whom to ask.
        breaker: Its failures.
        seen: What it said about models, by the name asked for, and until when that holds.
    """

    def __init__(self, provider: ModelProvider, breaker: Breaker) -> None:
        self.provider = provider
        self.breaker = breaker
        self.seen: Dict[str, Tuple[ModelInfo, float]] = {}

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name

    @property
    def endpoint(self) -> str:
        """Its address, or nothing where it tells none."""
        settings = getattr(self.provider, "settings", None)
        return "" if settings is None else str(settings.endpoint.url)

    def blame(self, error: ProviderError) -> None:
        """Count an error against the server, in its breaker and in what searches have kept."""
        gone = isinstance(error, UnreachableError)
        # Its own provider has knocked that often already.
        self.breaker.failed(self._attempts if gone else 1)
        if gone and self.endpoint:
            forget(self.endpoint)

    @property
    def _attempts(self) -> int:
        settings = getattr(self.provider, "settings", None)
        return 1 if settings is None else int(settings.retry.attempts)

    def close(self) -> None:
        """Close what it keeps open; the next call opens it again."""
        self.provider.close()


class Route(NamedTuple):
    """A server, and the name of a model there.

    Attributes:
        server: Whom to ask.
        model: Which model.
        named: Whether the caller named the server; else it may not have the model.
    """

    server: Server
    model: str
    named: bool

    def __str__(self) -> str:
        return f"{self.server.name}/{self.model}" if self.model else self.server.name


def split(name: str, servers: Sequence[Server]) -> Optional[Route]:
    """Take ``provider/model`` apart, where the beginning is the name of a provider.

    LM Studio's own names hold slashes, too: ``qwen/qwen3-4b`` stays whole unless a
    provider is called ``qwen``. Of two names that fit, the longer one counts.
    """
    fitting = [s for s in servers if name.startswith(s.name + "/") and len(name) > len(s.name) + 1]
    if not fitting:
        return None
    server = max(fitting, key=lambda each: len(each.name))
    return Route(server, name[len(server.name) + 1 :], named=True)


def routes_of(name: str, servers: Sequence[Server], aliases: Aliases) -> List[Route]:
    """Give every server that may answer under a name or an alias, in order and once."""
    found: Dict[Tuple[str, str], Route] = {}
    for each in aliases.get(name, (name,)):
        for route in _routes(each, servers):
            found.setdefault((route.server.name, route.model), route)
    return list(found.values())


def _routes(name: str, servers: Sequence[Server]) -> Iterator[Route]:
    named = split(name, servers)
    if named is not None:
        yield named
        return
    for server in servers:
        yield Route(server, name, named=False)


def _size(info: ModelInfo, unknown: float) -> float:
    size = info.size_bytes or info.capabilities.parameter_count
    return unknown if size is None else size


#: How each strategy sorts what has the model: the smallest value is asked first, and what is
#: equal stays in order.
STRATEGIES: Mapping[str, Callable[[ModelInfo], Any]] = {
    "first": lambda info: 0,
    "loaded": lambda info: not info.loaded,
    "largest": lambda info: -_size(info, -1),
    "smallest": lambda info: _size(info, math.inf),
}
