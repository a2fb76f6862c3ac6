"""What every verb of `LocalProvider` stands on: its servers, its rules, and one run."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from localproviders._record import did_you_mean
from localproviders.config import Config
from localproviders.errors import ConfigurationError
from localproviders.local.breaker import Breaker
from localproviders.local.routes import STRATEGIES, Aliases, Route, Server, routes_of
from localproviders.local.run import LOOK_S, Run
from localproviders.local.servers import (
    MakeBreaker,
    as_providers,
    found_servers,
    given_servers,
    no_server,
)
from localproviders.provider import ModelProvider
from localproviders.telemetry import Listener
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Limits, Timeout, resolve
from localproviders.types.model import ModelCapabilities
from localproviders.types.request import LOCALITIES, Locality

_ABILITIES = [
    name
    for name, hint in ModelCapabilities.__annotations__.items()
    if hint == "Optional[bool]" and name != "remote"
]

#: What an alias stands for: a name, or several in order.
AliasOf = Union[str, Sequence[str]]


class Choosing(ModelProvider):
    """The ground of `LocalProvider`; see there."""

    def __init__(
        self,
        providers: Optional[Sequence[ModelProvider]] = None,
        *,
        model: Optional[str] = None,
        aliases: Optional[Mapping[str, AliasOf]] = None,
        strategy: Optional[str] = None,
        needs: Iterable[str] = (),
        name: str = "local",
        config: Optional[Config] = None,
        locality: Optional[Locality] = None,
        listeners: Tuple[Listener, ...] = (),
        timeout: Timeout = None,
        make_breaker: MakeBreaker = Breaker,
    ) -> None:
        self._made: Dict[str, Any] = dict(  # noqa: C408  # as text, `config` is a server's word
            providers=None if providers is None else as_providers(providers),
            model=model,
            aliases=None if aliases is None else _checked_aliases(aliases),
            strategy=strategy,
            needs=frozenset([needs] if isinstance(needs, str) else needs),
            name=name,
            config=config,
            locality=locality,
            listeners=tuple(listeners),
            timeout=timeout,
            make_breaker=make_breaker,
        )
        _check(self._made)
        self._name = name
        self._timeout = timeout
        self._listeners: Tuple[Listener, ...] = tuple(listeners)
        self._make_breaker = make_breaker
        self._needs = self._made["needs"]
        self._config = self._own_config = config
        self._given = providers is not None
        self._servers: Optional[List[Server]] = None
        self._place: Optional[str] = None
        #: Those of the last search; what is still there is not made anew.
        self._known: Sequence[Server] = ()
        if self._given:
            place = locality or os.environ.get("LOCALPROVIDERS_LOCALITY") or "loopback"
            _check_choice("locality", place, LOCALITIES)
            self._servers = given_servers(self._made["providers"], place, make_breaker)
            self._place = place

    @property
    def name(self) -> str:
        """The name of the whole; answers and events name the server that was asked."""
        return self._name

    @property
    def locality(self) -> str:
        """Where prompts may go, at the furthest.

        Raises:
            ConfigurationError: The configuration, which is read for this, is impossible.
        """
        return self._place or self._settled().locality

    def __repr__(self) -> str:
        names = [server.name for server in self._servers or ()]
        return f"{type(self).__name__}({names if self._servers else 'not searched yet'})"

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self._made)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        Choosing.__init__(self, **state)

    def limits(self, timeout: Timeout = None) -> Limits:
        """Give the limits of a call with this `timeout`.

        Where neither it nor the constructor says anything, they are those of the server with
        the longest total; before the first search, of those that are configured.

        Raises:
            ConfigurationError: The configuration is impossible.
            ValueError: It is not a number of seconds above zero.
        """
        own = [each.provider.limits() for each in self._servers or self._known]
        if not own and timeout is None and self._timeout is None:
            config = self._configured
            own = [config.limits, *(server.limits for server in config.servers)]
        longest = max(own, key=lambda each: each.total_s, default=Limits())
        return resolve(timeout, resolve(self._timeout, longest))

    def close(self) -> None:
        """Close all servers' kept connections, and stop engines; the next call opens anew."""
        for server in self._servers or self._known:
            server.close()

    def providers(
        self, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> List[ModelProvider]:
        """Give the providers, in their order; a search finds them first where none were given.

        Raises:
            UnreachableError: No server was found; the hint says what was tried, and what to do.
            ConfigurationError: The configuration is impossible.
        """
        with self._run("providers", timeout, cancel, total_s=LISTING_TOTAL_S) as run:
            return [server.provider for server in self._all(run)]

    def refresh(self) -> None:
        """Forget what was found and seen: the next call reads and searches anew.

        Given providers stay; what is known of their models and failures is forgotten.
        """
        self.close()
        if self._given:
            self._servers = [
                Server(each.provider, self._make_breaker()) for each in self._servers or ()
            ]
        else:
            self._servers, self._known, self._config = None, (), self._own_config

    def _search_again(self) -> None:
        """Have the next call search for servers: of those that are known, none could."""
        if not self._given:
            self._servers = None

    # --- the servers --------------------------------------------------------------------------

    def _all(self, run: Run) -> List[Server]:
        """Give all servers; the first call finds them, within its limits."""
        # No lock: a fork can come while one is held. Two threads may both search once.
        servers = self._servers
        if servers is None:
            config = self._settled()
            servers, found = found_servers(
                config, self._listeners, self._make_breaker, run.call, known=self._known
            )
            if not servers:
                raise no_server(found, self.name)
            for gone in set(self._known).difference(servers):
                gone.close()
            # Another thread that was faster has perhaps started an engine already.
            self._servers = self._known = servers = self._servers or servers
        return servers

    def _settled(self) -> Config:
        """Give the configuration, read once, under what the constructor was given."""
        if self._config is None:
            self._config = Config.load()
        locality = self._made["locality"]
        return self._config.replace(locality=locality) if locality else self._config

    @property
    def _configured(self) -> Config:
        """What was configured; nothing where the providers were given."""
        if self._given:
            return self._config or _NOTHING
        return self._settled()

    @property
    def _aliases(self) -> Aliases:
        own: Optional[Aliases] = self._made["aliases"]
        return self._configured.aliases if own is None else own

    @property
    def _strategy(self) -> str:
        own: Optional[str] = self._made["strategy"]
        return own or self._configured.strategy

    @property
    def _model(self) -> Optional[str]:
        own: Optional[str] = self._made["model"]
        return own or self._configured.default_model

    # --- one call ------------------------------------------------------------------------------

    def _run(
        self,
        operation: str,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        total_s: Optional[float] = None,
        needs: Iterable[str] = (),
    ) -> Run:
        """Start the clock of a call.

        Args:
            operation: The public method.
            timeout: As the method got it.
            cancel: As the method got it.
            total_s: A total for this verb, where the caller said nothing.
            needs: What the model must be able to do.
        """
        limits = self.limits(timeout)
        if timeout is None and total_s is not None:
            limits = limits.replace(total_s=total_s)
        said = timeout if timeout is not None else self._timeout
        return Run(
            self.name,
            operation,
            limits,
            lambda route: route.server.provider.limits(said),
            cancel=cancel,
            listeners=self._listeners,
            needs=needs,
            on_nobody=self._search_again,
        )

    def _routes(self, model: str, run: Run) -> List[Route]:
        """Give whom to ask for a model, in order."""
        return run.ranked(routes_of(model, self._all(run), self._aliases), self._strategy)

    def _chosen(self, asked: Optional[str], task: str, run: Run) -> List[Route]:
        """Give whom to ask for text or vectors; without a name, by what was asked for."""
        model = asked or self._model
        if model:
            return self._routes(model, run)
        if not self._needs and self._strategy == "first":
            raise ConfigurationError(
                "no model was named",
                hint=f"pass model=...; the servers have: {', '.join(self._listed(run)) or 'none'}",
                provider=self.name,
            )
        run.wants(task)
        every = [Route(server, info.name, named=False) for server, info in self._infos(run)]
        return run.ranked(every, self._strategy)

    def _everyone(self, run: Run) -> List[Route]:
        """Give all servers, for a question that is about no model."""
        return [Route(server, "", named=True) for server in self._all(run)]

    def _targets(self, model: str, run: Run) -> List[Route]:
        """Give whom to ask for a model that it may not have yet."""
        return routes_of(model, self._all(run), self._aliases)

    def _infos(self, run: Run) -> List[Tuple[Server, Any]]:
        """Give every model of every server that answers, but for cloud models."""
        lists = run.each(
            self._everyone(run),
            lambda route, limits: [
                (route.server, info)
                for info in route.server.provider.list_models(timeout=limits, cancel=run.call.token)
            ],
            most_s=LOOK_S,
        )
        return [pair for each in lists for pair in each if not pair[1].capabilities.remote]

    def _listed(self, run: Run) -> List[str]:
        return [f"{server.name}/{info.name}" for server, info in self._infos(run)]


_NOTHING = Config()
_LIKE_THIS = 'write {"fast": ("ollama/llama3.2", "lmstudio/qwen/qwen3-4b")}'


def _check(made: Mapping[str, Any]) -> None:
    for need in made["needs"]:
        _check_choice("a need", need, _ABILITIES)
    if made["strategy"] is not None:
        _check_choice("strategy", made["strategy"], list(STRATEGIES))
    if made["locality"] is not None:
        _check_choice("locality", made["locality"], LOCALITIES)
    try:
        resolve(made["timeout"], Limits())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigurationError(
            f"{what} is {value!r}{did_you_mean(str(value), list(known))}",
            hint=f"choose one of {', '.join(known)}",
        )


def _checked_aliases(aliases: Mapping[str, AliasOf]) -> Dict[str, Tuple[str, ...]]:
    if not isinstance(aliases, Mapping):
        raise ConfigurationError(f"the aliases are {aliases!r}", hint=_LIKE_THIS)
    made = {
        alias: (names,) if isinstance(names, str) else tuple(names)
        for alias, names in aliases.items()
    }
    for alias, names in made.items():
        if not names or not all(isinstance(each, str) and each for each in names):
            raise ConfigurationError(
                f"the alias {alias!r} stands for {names!r}",
                hint=_LIKE_THIS,
            )
    return made
