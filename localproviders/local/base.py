"""Base class of `LocalProvider`: finds the servers, and sorts them for each call."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, TypedDict, Union

from localproviders._did_you_mean import did_you_mean
from localproviders._signatures import exact_keywords
from localproviders.config import Config, Origin
from localproviders.config.providers import origin_in_project
from localproviders.errors import ConfigurationError
from localproviders.local.balance import Balancer
from localproviders.local.failover import LOOKUP_S, SEEN_S, FailoverCall
from localproviders.local.servers import (
    STRATEGIES,
    Aliases,
    Breaker,
    Guard,
    MakeBreaker,
    Route,
    Server,
    as_providers,
    find_servers,
    given_servers,
    is_untrusted,
    is_wider,
    limit_locality,
    narrowed_keys,
    no_server_error,
    routes_of,
    routes_within,
)
from localproviders.local.substitutes import (
    Substitutes,
    check_fallback_locality,
    of_configuration,
)
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed
from localproviders.telemetry import Listener
from localproviders.types.inputs import model_name
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Limits, Timeout, resolve
from localproviders.types.models import ModelCapabilities
from localproviders.types.requests import LOCALITIES, Locality

_ABILITIES = [
    name
    for name, hint in ModelCapabilities.__annotations__.items()
    if hint == "Optional[bool]" and name != "remote"
]

#: Target of an alias: one name, or several names in order.
AliasOf = Union[str, Sequence[str]]


class LocalOptions(TypedDict, total=False):
    """The keyword arguments of `LocalProvider`, without ``providers``."""

    model: Optional[str]
    aliases: Optional[Mapping[str, AliasOf]]
    strategy: Optional[str]
    fallback_locality: Optional[Mapping[str, Locality]]
    needs: Iterable[str]
    name: str
    config: Optional[Config]
    locality: Optional[Locality]
    listeners: Tuple[Listener, ...]
    timeout: Timeout
    make_breaker: MakeBreaker


class LocalProviderBase(ModelProvider):
    """Base class of `LocalProvider`: finds the servers, and chooses among them for each call."""

    @exact_keywords
    def __init__(
        self,
        providers: Optional[Sequence[ModelProvider]] = None,
        *,
        model: Optional[str] = None,
        aliases: Optional[Mapping[str, AliasOf]] = None,
        strategy: Optional[str] = None,
        fallback_locality: Optional[Mapping[str, Locality]] = None,
        needs: Iterable[str] = (),
        name: str = "local",
        config: Optional[Config] = None,
        locality: Optional[Locality] = None,
        listeners: Tuple[Listener, ...] = (),
        timeout: Timeout = None,
        make_breaker: MakeBreaker = Breaker,
    ) -> None:
        given, providers = Sealed(providers), None
        name, needs = "local" if name is None else name, needs or ()
        listeners = tuple(listeners or ())
        make_breaker = Breaker if make_breaker is None else make_breaker
        # This is not a dict literal, because "config" is also the name of a JSON field of a server.
        # A test forbids strings with such names outside the modules of the wire formats.
        self._arguments: Dict[str, Any] = dict(  # noqa: C408
            providers=None if given.cell_contents is None else as_providers(given.cell_contents),
            model=model_name(model),
            aliases=None if aliases is None else _normalize_aliases(aliases),
            strategy=strategy,
            fallback_locality=check_fallback_locality(fallback_locality),
            needs=frozenset([needs] if isinstance(needs, str) else needs),
            name=name,
            config=config,
            locality=locality,
            listeners=listeners,
            timeout=timeout,
            make_breaker=make_breaker,
        )
        _check_arguments(self._arguments)
        self._name = name
        self._timeout = timeout
        self._listeners: Tuple[Listener, ...] = listeners
        self._make_breaker = make_breaker
        self._needs = self._arguments["needs"]
        self._balancer = Balancer()
        self._config = self._own_config = config and limit_locality(config, locality)
        self._has_given_servers = self._arguments["providers"] is not None
        self._servers: Optional[List[Server]] = None
        self._locality: Optional[str] = None
        #: Aliases of a project's file, for which no server has a model of the same name. The value
        #: is the time until which the servers are not asked again.
        self._aliases_without_model: Dict[str, float] = {}
        #: Servers of the last search. The next search reuses those that it finds again.
        self._last_servers: Sequence[Server] = ()
        if self._has_given_servers:
            place = locality or os.environ.get("LOCALPROVIDERS_LOCALITY") or "loopback"
            _check_choice("locality", place, LOCALITIES)
            substitutes = self._substitutes
            substitutes.check()
            self._servers = given_servers(
                self._arguments["providers"], place, make_breaker, substitutes.allowed
            )
            self._locality = place

    @property
    def name(self) -> str:
        """The name of this provider in errors. Responses and events have the name of the server."""
        return self._name

    @property
    def locality(self) -> str:
        """The widest locality to which prompts may be sent.

        If no providers were given, the first access reads the configuration.

        Raises:
            ConfigurationError: The configuration is invalid.
        """
        return self._locality or self._load_config().locality

    def __repr__(self) -> str:
        # A traceback with local variables can show an object whose constructor has failed.
        servers: Sequence[Server] = vars(self).get("_servers") or ()
        names = [server.name for server in servers]
        return f"{type(self).__name__}({names if names else 'not searched yet'})"

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self._arguments)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        LocalProviderBase.__init__(self, **state)

    def limits(self, timeout: Timeout = None) -> Limits:
        """Return the limits of a call with this `timeout`.

        If neither `timeout` nor the constructor sets limits, the result is the limits of the
        server with the longest total. Before the first search, the configured limits and those
        of the configured servers are compared.

        Args:
            timeout: Seconds for the whole call, or a `Limits` value, or None.

        Raises:
            ConfigurationError: The configuration is invalid.
            ValueError: `timeout` is not a number of seconds above zero.
        """
        own = [each.provider.limits() for each in self._servers or self._last_servers]
        if not own and timeout is None and self._timeout is None:
            config = self._effective_config
            own = [config.limits, *(server.limits for server in config.servers)]
        longest = max(own, key=lambda each: each.total_s, default=Limits())
        return resolve(timeout, resolve(self._timeout, longest))

    def close(self) -> None:
        """Close all connections, and stop engines. The next call opens new ones."""
        for server in self._servers or self._last_servers:
            server.close()

    @exact_keywords
    def providers(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelProvider]:
        """Return the providers of all servers, in their order.

        If no providers were given, the first call searches for them.

        Args:
            timeout: Limits of this call: seconds for the whole call, or a `Limits` value. None
                means the limits of the servers, with a total of 30 s.
            cancel: Token that cancels this call.

        Raises:
            UnreachableError: No server was found. The hint lists the addresses that were tried.
            ConfigurationError: The configuration is invalid.
            LimitError: A limit expired.
            CancelledError: The call was cancelled.
        """
        with self._run("providers", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            return [server.provider for server in self._all_servers(run)]

    def refresh(self) -> None:
        """Forget the servers that were found, so that the next call searches again.

        Configuration files are read again, too. Providers that were given to the constructor
        are kept. The cached facts about their models, and the failures of their servers, are
        forgotten.
        """
        self.close()
        self._aliases_without_model.clear()
        if self._has_given_servers:
            self._servers = [
                Server(each.provider, self._make_breaker(), is_substitute=each.is_substitute)
                for each in self._servers or ()
            ]
        else:
            self._servers, self._last_servers, self._config = None, (), self._own_config

    def _search_again(self) -> None:
        """Make the next call search for servers, because every known server failed."""
        if not self._has_given_servers:
            self._servers = None

    # --- the servers --------------------------------------------------------------------------

    def _all_servers(self, run: FailoverCall) -> List[Server]:
        """Return all servers; search for them if they are not known, within the call's limits."""
        # No lock is used, because a lock that is held during a fork would stay locked in the child.
        # So two threads may search at the same time, which does no harm.
        servers = self._servers
        if servers is None:
            config = self._load_config()
            servers, found = find_servers(
                config,
                self._listeners,
                self._make_breaker,
                run.call,
                known=self._last_servers,
                widened=self._widened(config),
            )
            if not servers:
                raise no_server_error(found, self.name)
            for missing in set(self._last_servers).difference(servers):
                missing.close()
            # If another thread was faster, use the servers that it found, because one of those
            # servers may already have started an engine.
            self._servers = self._last_servers = servers = self._servers or servers
        return servers

    def _load_config(self) -> Config:
        """Return the configuration, limited to the given locality; read the files only once."""
        if self._config is None:
            self._config = limit_locality(Config.load(), self._arguments["locality"])
        return self._config

    @property
    def _effective_config(self) -> Config:
        """The configuration; it is empty if the caller gave providers and no configuration."""
        if self._has_given_servers:
            return self._config or _EMPTY_CONFIG
        return self._load_config()

    @property
    def _aliases(self) -> Aliases:
        own: Optional[Aliases] = self._arguments["aliases"]
        return self._effective_config.aliases if own is None else own

    @property
    def _substitutes(self) -> Substitutes:
        """The aliases that may leave the locality.

        If the caller passed `locality`, the `fallback_locality` of the configuration is ignored.
        """
        own: Optional[Mapping[str, str]] = self._arguments["fallback_locality"]
        if own is None:
            is_narrowed = self._arguments["locality"] is not None
            own = {} if is_narrowed else self._effective_config.fallback_locality
        return Substitutes(own, self._aliases if own else {})

    def _widened(self, config: Config) -> Mapping[str, str]:
        """Return the widened localities of the configured servers that an alias may use."""
        substitutes = self._substitutes
        substitutes.check()
        return of_configuration(config, substitutes)

    @property
    def _strategy(self) -> str:
        own: Optional[str] = self._arguments["strategy"]
        return own or self._effective_config.strategy

    @property
    def _model(self) -> Optional[str]:
        own: Optional[str] = self._arguments["model"]
        return own or self._effective_config.model

    # --- one call ------------------------------------------------------------------------------

    def _run(
        self,
        operation: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        total_s: Optional[float] = None,
        needs: Iterable[str] = (),
    ) -> FailoverCall:
        """Return a new call, whose limits start now.

        Args:
            operation: Name of the public method.
            timeout: Argument of the public method.
            cancel: Argument of the public method.
            total_s: Total limit of this method, used if `timeout` is None.
            needs: Abilities that the model must have.
        """
        limits = self.limits(timeout)
        if timeout is None and total_s is not None:
            limits = limits.replace(total_s=total_s)
        server_timeout = timeout if timeout is not None else self._timeout
        is_shared = self._strategy == "balanced" and operation not in _ABOUT_MODELS
        run = FailoverCall(
            self.name,
            operation,
            limits,
            lambda route: route.server.provider.limits(server_timeout),
            cancel=cancel,
            listeners=self._listeners,
            needs=needs,
            on_failure=self._search_again,
            guard=Guard(narrowed_keys(self._effective_config), self.locality),
            aliases=self._aliases,
            balancer=self._balancer if is_shared else None,
        )
        run.keeps_tiers = self._has_project_order
        return run

    def _routes(self, model: str, run: FailoverCall, config_key: str = "") -> List[Route]:
        """Return the servers to try for a model, in order.

        Args:
            model: Model, alias, or ``provider/model``.
            run: The call.
            config_key: Key of the configuration that names the model; empty if the caller named it.
        """
        routes = self._resolve(model, run)
        if is_untrusted(self._effective_config, config_key):
            routes = routes_within(
                routes, self.locality, model, self._effective_config.origins[config_key]
            )
        within = [route for route in routes if not route.substitute_for]
        beyond = [route for route in routes if route.substitute_for]
        return [*self._order(run.ranked(within, self._strategy)), *beyond]

    def _resolve(self, name: str, run: FailoverCall) -> List[Route]:
        """Return the routes for a name. A model has priority over an alias of a project's file."""
        servers = self._servers_within(run)
        beyond = [server for server in self._all_servers(run) if server.is_substitute]
        routes = routes_of(name, servers, self._aliases, beyond)
        if beyond:
            routes += self._substitutes.routes(name, beyond)
        origin = self._origin_of_alias(name)
        if origin is None:
            return routes
        plain = routes_of(name, servers, {})
        if self._is_model(name, plain, run):
            return plain
        return routes_within(routes, self.locality, name, origin) if origin.is_untrusted else routes

    def _origin_of_alias(self, name: str) -> Optional[Origin]:
        """Return the origin of an alias from a project's file; None for any other name."""
        given = self._arguments["aliases"] is not None
        return None if given else origin_in_project(self._effective_config, f"aliases.{name}")

    def _is_model(self, name: str, routes: Sequence[Route], run: FailoverCall) -> bool:
        """Return whether a server has a model of this name; a "no" is cached for a minute."""
        if self._aliases_without_model.get(name, 0.0) > time.monotonic():
            return False
        if run.any_has_model(routes):
            return True
        self._aliases_without_model[name] = time.monotonic() + SEEN_S
        return False

    def _order(self, routes: List[Route]) -> List[Route]:
        """Return the routes; if a project's file chose the order, wider localities come last."""
        if not self._has_project_order:
            return routes
        return sorted(routes, key=lambda route: is_wider(route.server, self.locality))

    @property
    def _has_project_order(self) -> bool:
        fallback = is_untrusted(self._effective_config, "fallback")
        return fallback or self._is_sorted_by_project

    @property
    def _is_sorted_by_project(self) -> bool:
        given = self._arguments["strategy"]
        return given is None and is_untrusted(self._effective_config, "strategy")

    def _choose_routes(
        self, requested: Optional[str], ability: str, run: FailoverCall
    ) -> List[Route]:
        """Return the routes to try for a model; without a name, choose among all models."""
        model = requested or self._model
        if model:
            is_configured = not requested and not self._arguments["model"]
            return self._routes(model, run, "model" if is_configured else "")
        if not self._needs and self._strategy in ("first", "balanced"):
            names = ", ".join(self._model_names(run)) or "none"
            raise ConfigurationError(
                "no model was named",
                hint=f"pass model=...; the servers have: {names}",
                provider=self.name,
            )
        run.require(ability)
        models = self._available_models(run)
        routes = [Route(server, info.name, named=False) for server, info in models]
        if self._is_sorted_by_project and not self._needs:
            origin = self._effective_config.origins["strategy"]
            routes = routes_within(routes, self.locality, "strategy", origin)
        return self._order(run.ranked(routes, self._strategy))

    def _all_routes(self, run: FailoverCall) -> List[Route]:
        """Return a route for each server within the locality, for requests without a model."""
        return [Route(server, "", named=True) for server in self._servers_within(run)]

    def _servers_within(self, run: FailoverCall) -> List[Server]:
        return [server for server in self._all_servers(run) if not server.is_substitute]

    def _pull_routes(self, model: str, run: FailoverCall) -> List[Route]:
        """Return the servers to try for a model that they may not have yet.

        An alias of a project's file is not resolved, because such an alias must not hide the model
        that is to be downloaded.
        """
        aliases = self._aliases if self._origin_of_alias(model) is None else {}
        return routes_of(model, self._servers_within(run), aliases)

    def _available_models(self, run: FailoverCall) -> List[Tuple[Server, Any]]:
        """Return the models of all servers that answer, without cloud models."""
        lists = run.each(
            self._all_routes(run),
            lambda route, limits: [
                (route.server, info)
                for info in route.server.provider.list_models(timeout=limits, cancel=run.call.token)
            ],
            most_s=LOOKUP_S,
        )
        return [pair for each in lists for pair in each if not pair[1].capabilities.remote]

    def _model_names(self, run: FailoverCall) -> List[str]:
        return [f"{server.name}/{info.name}" for server, info in self._available_models(run)]


_EMPTY_CONFIG = Config()
# The methods for which the strategy `balanced` does not choose: the first server gets their
# requests.
_ABOUT_MODELS = frozenset((ModelProvider.model_info.__name__, "load", "pull"))
_ALIASES_HINT = 'write {"fast": ("ollama/llama3.2", "lmstudio/qwen/qwen3-4b")}'


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for need in arguments["needs"]:
        _check_choice("an ability in needs", need, _ABILITIES)
    if arguments["strategy"] is not None:
        _check_choice("strategy", arguments["strategy"], list(STRATEGIES))
    if arguments["locality"] is not None:
        _check_choice("locality", arguments["locality"], LOCALITIES)
    try:
        resolve(arguments["timeout"], Limits())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigurationError(
            f"{what} is {value!r}{did_you_mean(str(value), list(known))}",
            hint=f"choose one of {', '.join(known)}",
        )


def _names_in(value: Any) -> Tuple[Any, ...]:
    return (value,) if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)


def _normalize_aliases(aliases: Mapping[str, AliasOf]) -> Dict[str, Tuple[str, ...]]:
    if not isinstance(aliases, Mapping):
        raise ConfigurationError(
            f"aliases is {aliases!r}; it must be a mapping", hint=_ALIASES_HINT
        )
    made = {alias: _names_in(names) for alias, names in aliases.items()}
    for alias, names in made.items():
        if not names or not all(isinstance(each, str) and each for each in names):
            raise ConfigurationError(
                f"the alias {alias!r} has the value {names!r}, which is not one or more names",
                hint=_ALIASES_HINT,
            )
    return made
