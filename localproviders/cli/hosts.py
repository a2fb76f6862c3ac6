"""Makes the provider of the servers that ``--host`` names, or of all servers."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any, List, Optional, Tuple, cast

from localproviders import kinds
from localproviders._address import parse_endpoint
from localproviders._create_provider import read_model, with_timeout
from localproviders.cli.usage import UsageError
from localproviders.config import Config, ServerConfig
from localproviders.config.providers import make_configured
from localproviders.discovery import FoundServer
from localproviders.discovery.search import identify
from localproviders.errors import UnsupportedError
from localproviders.local.provider import LocalProvider
from localproviders.provider import ModelProvider
from localproviders.telemetry import Listener

_HOST = re.compile(r"([a-z0-9-]+)=(.+)", re.DOTALL)


def make_host_provider(
    arguments: Namespace, listeners: Tuple[Listener, ...], model: Optional[str]
) -> ModelProvider:
    """Make the provider of the servers of ``--host``. Several servers share the requests.

    Args:
        arguments: The parsed arguments, with the options of `options.MODEL` and ``--timeout``.
        listeners: The listeners of the provider.
        model: The model; None means the configured one.

    Raises:
        UsageError: A host has an unknown kind.
        ProviderError: The configuration or an address is invalid; or the kind of a server was not
            given, and no server of a known kind answers at the address.
    """
    config = _load(arguments)
    servers = [_server_at(host, model or config.model, config) for host in arguments.host]
    if len(servers) == 1:
        return make_configured(servers[0], listeners)
    named = [each.replace(name=_unique(each, at, servers)) for at, each in enumerate(servers)]
    return LocalProvider(
        [make_configured(each, listeners) for each in named],
        model=servers[0].model,
        strategy="balanced",
        locality=cast("Any", config.locality),
        listeners=listeners,
    )


def make_all(arguments: Namespace, listeners: Tuple[Listener, ...]) -> Optional[LocalProvider]:
    """Make the provider of all servers; return None if ``-m`` names one of them.

    A model in the configuration is ignored here, so it does not choose a server.

    Args:
        arguments: The parsed arguments, with the options of `options.MODEL` and ``--timeout``.
        listeners: The listeners of the provider.

    Raises:
        UsageError: The model names no server.
        ProviderError: The configuration is invalid.
    """
    config = _load(arguments)
    if arguments.model is None:
        return LocalProvider(config=config, timeout=arguments.timeout, listeners=listeners)
    if read_model(arguments.model, config) is None:
        raise UsageError(
            f"-m {arguments.model!r} names no server, but only a server's models can be listed",
            hint="write -m SERVER/MODEL, or leave -m out",
        )
    return None


def _load(arguments: Namespace) -> Config:
    config = Config.load(profile=arguments.profile, locality=arguments.locality)
    return with_timeout(config, arguments.timeout)


def _unique(server: ServerConfig, at: int, servers: List[ServerConfig]) -> str:
    same = sum(each.name == server.name for each in servers[:at])
    return f"{server.name}-{same + 1}" if same else server.name


def _server_at(host: str, model: Optional[str], config: Config) -> ServerConfig:
    """Return the server of one ``--host``, with the API key and headers configured for it."""
    kind, address = _split(host)
    if kind is None:
        found = _ask(address, config)
        kind, address = found.kind, found.endpoint
    model = _without_prefix(model, kind)
    for server in config.servers:
        if server.endpoint and server.kind == kind and _same(server.endpoint, address):
            return server.replace(model=model or server.model)
    return ServerConfig(
        name=kind,
        kind=kind,
        endpoint=address,
        model=model,
        limits=config.limits,
        retry=config.retry,
        locality=config.locality,
    )


def _split(host: str) -> Tuple[Optional[str], str]:
    found = _HOST.fullmatch(host)
    if found is None:
        return None, host
    kind, address = found.groups()
    known = kinds.find(kind)
    if known is None or known.is_file:
        names = ", ".join(each.name for each in kinds.registered() if not each.is_file)
        raise UsageError(
            f"--host {host!r}: there is no kind {kind!r} of servers; the kinds are {names}"
        )
    return known.name, address


def _ask(address: str, config: Config) -> FoundServer:
    """Find out which kind of server answers at an address."""
    try:
        return identify(address, locality=cast("Any", config.locality))
    except UnsupportedError as error:
        raise UsageError(
            f"--host {address}: {error.message}",
            hint=f"if it has OpenAI's API: --host openai-compatible={address}",
        ) from None


def _without_prefix(model: Optional[str], kind: str) -> Optional[str]:
    prefix = f"{kind}/"
    return model[len(prefix) :] if model and model.startswith(prefix) else model


def _same(one: str, other: str) -> bool:
    return parse_endpoint(one, default_port=80) == parse_endpoint(other, default_port=80)
