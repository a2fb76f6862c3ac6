"""The servers of a `LocalProvider`: given ones, or those that are configured and found."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence, Set, Tuple, cast

from localproviders import discovery
from localproviders._http.deadline import Call
from localproviders.config import Config, ServerConfig
from localproviders.discovery import Discovery, FoundServer
from localproviders.errors import ConfigurationError, LocalityError, UnreachableError
from localproviders.lmstudio import LMStudioProvider
from localproviders.local.breaker import Breaker
from localproviders.local.hosted import HostedProvider
from localproviders.local.routes import Server
from localproviders.ollama import OllamaProvider
from localproviders.openai_compatible import OpenAICompatibleProvider
from localproviders.provider import ModelProvider
from localproviders.telemetry import Listener
from localproviders.types.request import LOCALITIES, Locality

MakeBreaker = Callable[[], Breaker]

_KINDS: Mapping[str, Callable[..., ModelProvider]] = {
    "ollama": OllamaProvider,
    "lmstudio": LMStudioProvider,
    "openai-compatible": OpenAICompatibleProvider,
}
#: The longest search, in seconds.
SEARCH_S = 1.0

_USABLE = ("available", "degraded")


def as_providers(providers: Any) -> Tuple[ModelProvider, ...]:
    """Take what was given for a sequence of providers.

    Raises:
        ConfigurationError: It is something else.
    """
    found: Tuple[Any, ...] = (None,) if isinstance(providers, ModelProvider) else tuple(providers)
    if not all(isinstance(each, ModelProvider) for each in found):
        raise ConfigurationError(
            f"{providers!r} is no sequence of providers",
            hint="pass [OllamaProvider(), LMStudioProvider()], or nothing to have them found",
        )
    return found


def given_servers(
    providers: Sequence[ModelProvider], locality: str, make_breaker: MakeBreaker
) -> List[Server]:
    """Take the providers that somebody made, in their order.

    Raises:
        ConfigurationError: There is none, or two have one name.
        LocalityError: One may send prompts further than `locality` says.
    """
    if not providers:
        raise ConfigurationError(
            "no provider was given", hint="pass None to have the servers of this machine found"
        )
    names = [provider.name for provider in providers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            f"more than one provider is named {twice[0]!r}",
            hint='give each a name of its own, such as OllamaProvider(name="gpu-box")',
        )
    for provider in providers:
        _check_locality(provider, locality)
    return [Server(provider, make_breaker()) for provider in providers]


def _check_locality(provider: ModelProvider, locality: str) -> None:
    source: Any = getattr(provider, "settings", provider)
    own = getattr(source, "locality", locality)
    if LOCALITIES.index(own) > LOCALITIES.index(locality):
        raise LocalityError(
            f"{provider.name} may send prompts further ({own}) than this provider ({locality})",
            hint=f'pass locality="{own}" to allow that',
            provider=provider.name,
        )


def found_servers(
    config: Config,
    listeners: Tuple[Listener, ...],
    make_breaker: MakeBreaker,
    call: Call,
    known: Sequence[Server] = (),
) -> Tuple[List[Server], Discovery]:
    """Make the configured servers, then search for others on this machine.

    Those of `fallback` come first, in its order; then the other configured ones; then what
    else was found. A server of an earlier search stays what it was.
    """
    servers = [_configured(each, listeners, make_breaker) for each in config.servers]
    found = discovery.discover(
        timeout_s=min(SEARCH_S, call.limits_left().total_s),
        locality=cast("Locality", config.locality),
        refresh=bool(known),
        cancel=call.token,
    )
    taken = {_place(server.endpoint) for server in servers}
    names = {server.name for server in servers}
    for each in found.servers:
        if each.state in _USABLE and each.kind in _KINDS and _place(each.endpoint) not in taken:
            servers.append(_made(each, config, names, listeners, make_breaker))
            names.add(servers[-1].name)
    same = {(server.name, server.endpoint): server for server in known}
    servers = [same.get((server.name, server.endpoint), server) for server in servers]
    order = {name: place for place, name in enumerate(config.fallback)}
    return sorted(servers, key=lambda each: order.get(each.name, len(order))), found


def _configured(
    server: ServerConfig, listeners: Tuple[Listener, ...], make_breaker: MakeBreaker
) -> Server:
    if server.kind == "gguf":
        return Server(HostedProvider(server, listeners), make_breaker())
    options = {**server.options(), "listeners": listeners}
    return Server(_KINDS[server.kind](**options), make_breaker())


def _made(
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
        locality=config.locality,
        listeners=listeners,
    )
    return Server(provider, make_breaker())


def _place(endpoint: str) -> str:
    """Give what tells whether two addresses are one server, whatever loopback is called."""
    authority = endpoint.partition("://")[2].partition("/")[0]
    host, _, port = authority.rpartition(":")
    return port if host in ("127.0.0.1", "[::1]", "localhost") else authority


def no_server(found: Optional[Discovery], name: str) -> UnreachableError:
    """Say that nothing runs here, what was tried, and what to do."""
    return UnreachableError(
        "no server of language models was found",
        hint=found.explain() if found is not None else None,
        provider=name,
    )
