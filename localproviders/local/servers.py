"""The servers of a `LocalProvider`, and their order for the name of a model.

Servers are given by the caller, or configured and discovered. A circuit breaker skips a server
that keeps failing. `RULES` decides which errors count as failures of the server, and after which
errors a call tries the next server.

A project's file may come from a stranger. So its choices must not hide a model, and must not
lead to a server beyond the provider's locality. `Config.load` makes the checks that need only the
files. This module makes the checks that depend on the servers.
"""

from __future__ import annotations

import math
import time
from itertools import repeat
from types import MappingProxyType
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    cast,
)

from localproviders import discovery, errors, kinds
from localproviders._address import parse_endpoint
from localproviders._http.deadline import Call
from localproviders._redact import one_line
from localproviders.config import Config, Origin, ServerConfig
from localproviders.config.providers import make_configured
from localproviders.discovery import Discovery, FoundServer, forget
from localproviders.discovery.results import what_to_do
from localproviders.errors import ConfigurationError, LocalityError, ProviderError, UnreachableError
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed
from localproviders.telemetry import Listener
from localproviders.types.models import ModelInfo
from localproviders.types.requests import LOCALITIES, Locality

#: Number of consecutive failures that open a breaker.
FAILURES = 3
#: Seconds for which a breaker stays open.
PAUSE_S = 30.0

Clock = Callable[[], float]


class Breaker:
    """A circuit breaker for one server.

    A closed breaker lets every call through. After `failures` consecutive failures it opens, and
    other servers are tried first. After the pause, one call may try the server: its success
    closes the breaker, and its failure opens it again.

    There is no lock, because a lock that is held during a fork would stay locked in the child.
    So two threads may try the server at the same moment, which does no harm.

    Args:
        failures: Number of consecutive failures that open the breaker.
        pause_s: Seconds for which it stays open.
        clock: Function that returns monotonic seconds; tests pass their own.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause_s: float = PAUSE_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server should be skipped now."""
        return self._in_a_row >= self._failures and self._clock() < self._try_at

    @property
    def has_failed(self) -> bool:
        """Whether the server has failed since its last success."""
        return self._in_a_row > 0

    def trying(self) -> None:
        """Record the start of a call.

        If it is the first call after a pause, other calls skip the server until this call ends.
        """
        if self._in_a_row >= self._failures:
            self._try_at = self._clock() + self._pause_s

    def undecided(self) -> None:
        """Record a call that ended without success or failure. The next call may try the server."""
        self._try_at = self._clock()

    def failed(self, times: int = 1) -> None:
        """Record one or more failures of the server."""
        self._in_a_row += times
        self.trying()

    def succeeded(self) -> None:
        """Record a success, which closes the breaker."""
        self._in_a_row = 0


class Rule(NamedTuple):
    """The consequences of an error that occurs before the first token.

    Attributes:
        next: Whether to try the next server.
        counts: Whether the server's breaker counts it as a failure.
    """

    next: bool
    counts: bool


#: The rule of each class of error. A class that is not listed has the rule of its nearest base
#: class.
RULES: Mapping[Type[ProviderError], Rule] = {
    # Default for errors without a more specific rule.
    ProviderError: Rule(next=False, counts=False),
    # The request is invalid for every server, or no other server may get it.
    errors.ConfigurationError: Rule(next=False, counts=False),
    errors.LocalityError: Rule(next=False, counts=False),
    # The request is valid, but this server cannot process it.
    errors.UnsupportedError: Rule(next=True, counts=False),
    errors.AuthenticationError: Rule(next=True, counts=False),
    errors.DependencyError: Rule(next=True, counts=False),
    # The server is down, stuck, broken or busy.
    errors.TransportError: Rule(next=True, counts=True),
    errors.ServerError: Rule(next=True, counts=True),
    # The server understood the request and rejected it. Other servers would reject it, too.
    errors.RequestRejectedError: Rule(next=False, counts=False),
    # The response of another server would be too large, too.
    errors.AnswerTooLargeError: Rule(next=False, counts=False),
    # The model is missing, does not load, or lacks an ability. The server itself works.
    errors.ModelError: Rule(next=True, counts=False),
    # The prompt is the cause, and not the server.
    errors.ContextOverflowError: Rule(next=False, counts=False),
    # The server answered; the response itself is not acceptable.
    errors.AnswerError: Rule(next=False, counts=False),
    errors.CancelledError: Rule(next=False, counts=False),
    # The failed provider is itself a `LocalProvider`, and all its servers failed.
    errors.AllFailedError: Rule(next=True, counts=True),
}


def rule_of(error: ProviderError) -> Rule:
    """Return the rule of the error's class, or of its nearest base class."""
    if isinstance(error, errors.CapabilityError) and error.mass is not None:
        # The model can decide. Only its answers to this question were too unlikely.
        return RULES[errors.AnswerError]
    return next(RULES[cls] for cls in type(error).__mro__ if cls in RULES)


# Limits that bound the wait for the server: for the load, the first token and the next chunk.
_WAITS = frozenset({"load_s", "first_token_s", "idle_s"})


def causes_of(error: ProviderError) -> FrozenSet[str]:
    """Return the configuration keys whose values may have caused an error of a server.

    A configuration key is returned without its table: ``connect_s``, not ``limits.connect_s``.
    """
    if isinstance(error, errors.LimitError):
        return _WAITS if error.limit in _WAITS else frozenset({error.limit})
    if isinstance(error, errors.LocalityError):
        return frozenset({"locality"})
    # A request to a busy server is repeated only while `total_s` leaves time for it.
    busy = isinstance(error, errors.ServerBusyError)
    return frozenset({"attempts", "total_s"} if busy else {"attempts"})


Aliases = Mapping[str, Tuple[str, ...]]


class Server:
    """One server of a `LocalProvider`, with cached facts about it.

    Attributes:
        provider: Provider of the server.
        breaker: Circuit breaker of the server.
        seen: Cached information about models, by requested name, each with its expiry time.
        failed_by: Configuration keys whose values may have caused its last failure.
        lacking: Models that the server does not have, each with the time until which that is known.
        running: The requests in flight, by process id.
        is_substitute: Whether only an alias that may leave the locality uses this server.
    """

    def __init__(
        self, provider: ModelProvider, breaker: Breaker, *, is_substitute: bool = False
    ) -> None:
        self.provider = provider
        self.is_substitute = is_substitute
        self.breaker = breaker
        self.seen: Dict[str, Tuple[ModelInfo, float]] = {}
        self.failed_by: FrozenSet[str] = frozenset()
        self.lacking: Dict[str, float] = {}
        self.running: Dict[int, List[object]] = {}

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name

    @property
    def endpoint(self) -> str:
        """The server's address; empty if the provider has none."""
        settings = getattr(self.provider, "settings", None)
        return "" if settings is None else str(settings.endpoint.url)

    @property
    def locality(self) -> str:
        """The widest locality to which the provider may send prompts."""
        source: Any = getattr(self.provider, "settings", self.provider)
        return str(getattr(source, "locality", "loopback"))

    def blame(self, error: ProviderError) -> None:
        """Count a failure in the breaker; drop an unreachable server from discovery's cache."""
        is_unreachable = isinstance(error, UnreachableError)
        self.failed_by = causes_of(error)
        # The provider has already made all attempts of its retry policy.
        self.breaker.failed(self._attempts if is_unreachable else 1)
        if is_unreachable and self.endpoint:
            forget(self.endpoint)

    @property
    def _attempts(self) -> int:
        settings = getattr(self.provider, "settings", None)
        return 1 if settings is None else int(settings.retry.attempts)

    def close(self) -> None:
        """Close the provider's connections; the next call opens new ones."""
        self.provider.close()


class Route(NamedTuple):
    """A server, and the name of a model on that server.

    Attributes:
        server: The server.
        model: Name of the model.
        named: Whether the name contained the server. If not, the server may lack the model.
        substitute_for: The alias that may leave the locality for this route; empty for a route
            within the locality.
    """

    server: Server
    model: str
    named: bool
    substitute_for: str = ""

    def __str__(self) -> str:
        return f"{self.server.name}/{self.model}" if self.model else self.server.name


def split_route(name: str, servers: Sequence[Server]) -> Optional[Route]:
    """Split ``provider/model``; return None if no provider has such a name.

    LM Studio's model names contain slashes, too: ``qwen/qwen3-4b`` is split only if a provider
    is named ``qwen``. If `name` begins with the names of two providers, the longer one is used.
    """
    fitting = [s for s in servers if name.startswith(s.name + "/") and len(name) > len(s.name) + 1]
    if not fitting:
        return None
    server = max(fitting, key=lambda each: len(each.name))
    return Route(server, name[len(server.name) + 1 :], named=True)


def routes_of(
    name: str, servers: Sequence[Server], aliases: Aliases, others: Sequence[Server] = ()
) -> List[Route]:
    """Return the routes for the name of a model or an alias, in order, without repeats.

    Args:
        name: The name.
        servers: The servers of the routes.
        aliases: The aliases.
        others: Further servers. A name with the prefix of one of them leads to no route.
    """
    found: Dict[Tuple[str, str], Route] = {}
    for each in aliases.get(name, (name,)):
        if split_route(each, others) is not None:
            continue
        for route in _routes_without_alias(each, servers):
            found.setdefault((route.server.name, route.model), route)
    return list(found.values())


def _routes_without_alias(name: str, servers: Sequence[Server]) -> Iterator[Route]:
    route = split_route(name, servers)
    if route is not None:
        yield route
        return
    for server in servers:
        yield Route(server, name, named=False)


def _size(info: ModelInfo, unknown: float) -> float:
    size = info.size_bytes or info.capabilities.parameter_count
    return unknown if size is None else size


#: Sort key of each strategy. The server with the smallest value is tried first; servers with equal
#: values keep their order.
STRATEGIES: Mapping[str, Callable[[ModelInfo], Any]] = {
    "first": lambda info: 0,
    "loaded": lambda info: not info.loaded,
    "largest": lambda info: -_size(info, -1),
    "smallest": lambda info: _size(info, math.inf),
    # The server is chosen when the request is sent: see `balance.Balancer`.
    "balanced": lambda info: 0,
}


def limit_locality(config: Config, locality: Optional[str]) -> Config:
    """Return the configuration with the locality of each server limited to `locality`.

    None leaves the configuration unchanged.
    """
    if locality is None:
        return config
    servers = tuple(
        server.replace(locality=min(server.locality, locality, key=LOCALITIES.index))
        for server in config.servers
    )
    return config.replace(locality=locality, servers=servers)


def is_untrusted(config: Config, key: str) -> bool:
    """Return whether a value is from a project's file outside the trusted folders."""
    origin = config.origins.get(key)
    return origin is not None and origin.is_untrusted


def narrowed_keys(config: Config) -> FrozenSet[str]:
    """Return the configuration keys of limits, retries and servers that an untrusted file set.

    A configuration key is returned without its table: ``connect_s``, not ``limits.connect_s``.
    """
    paths = [key.split(".") for key, origin in config.origins.items() if origin.is_untrusted]
    return frozenset(path[-1] for path in paths if path[0] in ("limits", "retry", "servers"))


class Guard(NamedTuple):
    """A guard that keeps an untrusted project's file from leading prompts beyond the locality.

    Attributes:
        narrowed: Configuration keys of limits, retries and servers that the file set.
        locality: Locality of the `LocalProvider`.
    """

    narrowed: FrozenSet[str]
    locality: str

    def suspects(self, causes: Iterable[str]) -> bool:
        """Return whether the file may have caused a failure that has one of these causes."""
        return not self.narrowed.isdisjoint(causes)

    def forbids(self, server: Server, causes: Iterable[str]) -> bool:
        """Return whether a server must not replace other servers that failed."""
        return self.suspects(causes) and is_wider(server, self.locality)


def is_wider(server: Server, locality: str) -> bool:
    """Return whether the locality of a server is wider than the given one."""
    return LOCALITIES.index(server.locality) > LOCALITIES.index(locality)


def routes_within(routes: Sequence[Route], locality: str, name: str, origin: Origin) -> List[Route]:
    """Return the routes to servers within a locality.

    Args:
        routes: Routes for a name.
        locality: Locality of the `LocalProvider`.
        name: The name that was resolved, for the error.
        origin: The file and the line that chose the name.

    Raises:
        LocalityError: There are routes, but none within the locality.
    """
    found = [route for route in routes if not is_wider(route.server, locality)]
    if routes and not found:
        raise LocalityError(
            f"{origin}: {one_line(name)} leads to {routes[0].server.name}, which may send prompts"
            f" further than {locality}",
            hint="name the server yourself, or add the file's folder to trusted_folders"
            " in your own configuration file",
        )
    return found


MakeBreaker = Callable[[], Breaker]

#: Longest time for the discovery of servers, in seconds.
SEARCH_S = 1.0

_USABLE = ("available", "degraded")


def as_providers(providers: Any) -> Tuple[ModelProvider, ...]:
    """Return the argument as a tuple of providers.

    Raises:
        ConfigurationError: The argument is not a sequence of providers. The argument could be a
            list of options with an API key, so the message does not quote it.
    """
    given, providers = Sealed(providers), None
    kind = type(given.cell_contents).__name__
    if isinstance(given.cell_contents, Iterable):
        given = Sealed(tuple(given.cell_contents))
        if all(map(isinstance, given.cell_contents, repeat(ModelProvider))):
            found: Tuple[ModelProvider, ...] = given.cell_contents
            return found
    raise ConfigurationError(
        f"expected a sequence of providers, got {kind}",
        hint="pass [OllamaProvider(), LMStudioProvider()], or None to find the servers",
    )


def given_servers(
    providers: Sequence[ModelProvider],
    locality: str,
    make_breaker: MakeBreaker,
    allowed: Callable[[str], Optional[str]],
) -> List[Server]:
    """Return servers for the caller's providers, in their order.

    Args:
        providers: The providers.
        locality: The locality of the `LocalProvider`.
        make_breaker: Makes the circuit breaker of a server.
        allowed: Returns, for the name of a server, the wider locality in which an alias may use
            this server; None if no alias may use it beyond `locality`.

    Raises:
        ConfigurationError: There is no provider, or two have the same name.
        LocalityError: The locality of a provider is wider than `locality`.
    """
    if not providers:
        raise ConfigurationError(
            "the sequence of providers is empty",
            hint="pass None to find the servers of this machine",
        )
    names = [provider.name for provider in providers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(
            f"more than one provider is named {repeated[0]!r}",
            hint='give each provider a different name, such as OllamaProvider(name="gpu-box")',
        )
    servers = [Server(provider, make_breaker()) for provider in providers]
    for server in servers:
        server.is_substitute = is_wider(server, locality)
        if server.is_substitute:
            _check_locality(server, locality, allowed(server.name))
    return servers


def _check_locality(server: Server, locality: str, allowed: Optional[str]) -> None:
    """Check that an alias may use a server beyond the locality.

    Raises:
        LocalityError: No alias may use it.
    """
    if allowed is not None and not is_wider(server, allowed):
        return
    own = server.locality
    raise LocalityError(
        f"{server.name} may send prompts further ({own}) than this provider ({locality})",
        hint=f'pass locality="{own}" to allow that, or fallback_locality={{"ALIAS": "{own}"}} for '
        "an alias that uses it only if its first model fails",
        provider=server.name,
    )


_NONE_WIDENED: Mapping[str, str] = MappingProxyType({})


def find_servers(
    config: Config,
    listeners: Tuple[Listener, ...],
    make_breaker: MakeBreaker,
    call: Call,
    known: Sequence[Server] = (),
    widened: Mapping[str, str] = _NONE_WIDENED,
) -> Tuple[List[Server], Discovery]:
    """Return the configured servers and those found on this machine; and the search result.

    The servers that the configuration key `fallback` lists come first, in this order. Then come the
    other configured servers, and then the discovered ones. A server that is in `known` is reused
    with its connections. A proxy that usually sends prompts to other hosts is used only if it is
    configured, because the user must choose it. A server whose name is in `widened` gets the
    locality of this entry, and is used only through an alias that may leave the configured
    locality.
    """
    servers = [
        _make_server(each, config, widened.get(each.name), listeners, make_breaker)
        for each in config.servers
    ]
    found = discovery.discover(
        timeout_s=min(SEARCH_S, call.limits_left().total_s),
        locality=cast("Locality", config.locality),
        refresh=bool(known),
        cancel=call.token,
    )
    taken = {_address_key(server.endpoint) for server in servers}
    names = {server.name for server in servers}
    for each in found.servers:
        if (
            each.state in _USABLE
            and each.kind != kinds.UNKNOWN
            and not each.forwards_prompts
            and _address_key(each.endpoint) not in taken
        ):
            servers.append(_make_discovered(each, config, names, listeners, make_breaker))
            names.add(servers[-1].name)
    same = {(server.name, server.endpoint): server for server in known}
    servers = [same.get((server.name, server.endpoint), server) for server in servers]
    order = {name: place for place, name in enumerate(config.fallback)}
    return sorted(servers, key=lambda each: order.get(each.name, len(order))), found


def _make_server(
    server: ServerConfig,
    config: Config,
    widened: Optional[str],
    listeners: Tuple[Listener, ...],
    make_breaker: MakeBreaker,
) -> Server:
    if widened is None:
        return Server(make_configured(server, listeners), make_breaker())
    made = Server(make_configured(server.replace(locality=widened), listeners), make_breaker())
    made.is_substitute = is_wider(made, config.locality)
    return made


def _make_discovered(
    found: FoundServer,
    config: Config,
    taken: Set[str],
    listeners: Tuple[Listener, ...],
    make_breaker: MakeBreaker,
) -> Server:
    name = found.name if found.name not in taken else f"{found.name}-found"
    provider = found.make_provider(
        name=name,
        timeout=config.limits,
        retry=config.retry,
        locality=cast("Locality", config.locality),  # checked when the configuration was read
        listeners=listeners,
    )
    return Server(provider, make_breaker())


def _address_key(endpoint: str) -> str:
    """Return a key to compare addresses; all names of the loopback interface have the same key."""
    if endpoint.startswith("unix://"):
        return parse_endpoint(endpoint, default_port=80).origin
    authority = endpoint.partition("://")[2].partition("/")[0]
    host, _, port = authority.rpartition(":")
    return port if host in ("127.0.0.1", "[::1]", "localhost") else authority


def no_server_error(found: Optional[Discovery], name: str) -> UnreachableError:
    """Return the error for a search without a result; its hint lists what was tried."""
    return UnreachableError(
        "no server for language models was found",
        hint=what_to_do(found) if found is not None else None,
        provider=name,
    )
