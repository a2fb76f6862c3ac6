"""Ask servers for their lists of models and for facts about models, as a call would ask them.

The requests have no prompt, and load no model.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, cast

from localproviders import kinds
from localproviders._address import Endpoint, parse_endpoint
from localproviders._interrupts import is_callers
from localproviders.config.cascade import Config
from localproviders.config.providers import make_configured
from localproviders.config.values import ServerConfig
from localproviders.doctor.facts import (
    AskedServer,
    ExaminedModel,
    Facts,
    Server,
    WantedModel,
    is_on_this_machine,
    ready_servers,
)
from localproviders.errors import ConfigurationError, ProviderError
from localproviders.kinds import ProviderKind
from localproviders.types.requests import Locality

# Maximum number of configured models, and of loaded models on one server, that are examined.
_MOST_WANTED = 20
_MOST_LOADED = 8
# Errors that an optional request raises if the server does not support it.
_NO_ROUTE = (AttributeError, ProviderError)


class NamedServer(NamedTuple):
    """A server that the configuration or a variable names.

    Attributes:
        name: Name of the server.
        kind: The kind of the server.
        source: The origin of the server's address: a file with a line, or a variable, as text.
        make: Function that makes the provider for the server.
        config: The configuration of the server; None if a variable names the server.
        key_source: The origin of the API key: a file with a line, or a variable, as text. Empty if
            the configuration has no API key for the server.
    """

    name: str
    kind: ProviderKind
    source: str
    make: Callable[[], Any]
    config: Optional[ServerConfig] = None
    key_source: str = ""


def named_servers(config: Optional[Config], environ: Mapping[str, str]) -> List[NamedServer]:
    """Return the servers that the configuration names, then those that only a variable names."""
    found = list(_configured(config)) if config is not None else []
    names = {each.name for each in found}
    for kind in kinds.registered():
        variable = kind.address_variable or ""
        if environ.get(variable, "").strip() and kind.name not in names:
            options = {"locality": locality_of(config)} if "locality" in kind.options else {}
            found.append(NamedServer(kind.name, kind, variable, partial(kind.make, **options)))
    return found


def locality_of(config: Optional[Config]) -> Locality:
    """Return the configured locality; if the configuration is invalid, the narrowest one."""
    return cast("Locality", config.locality) if config is not None else "loopback"


def _configured(config: Config) -> Iterator[NamedServer]:
    for server in config.servers:
        keys = [key for key in config.origins if key.startswith(f"servers.{server.name}.")]
        first = [f"servers.{server.name}.{key}" for key in ("endpoint", "gguf")]
        source = next((config.origins[key] for key in [*first, *keys] if key in config.origins), "")
        make = partial(make_configured, server, ())
        key = str(config.origins.get(f"servers.{server.name}.api_key", ""))
        yield NamedServer(server.name, kinds.get(server.kind), str(source), make, server, key)


def ask_server(named: NamedServer, seconds: float) -> AskedServer:
    """Ask a server for its models; return its lists of models, or the error of the request.

    The request uses the configured API key, certificates and locality of this server. So a call to
    the server would raise the same error.
    """
    answer = _describe(named)
    if named.kind.is_file:
        return answer._replace(error=_missing_file(answer.endpoint))
    until = time.monotonic() + seconds
    try:
        with named.make() as provider:
            endpoint: Endpoint = provider.settings.endpoint
            local = is_on_this_machine(endpoint)
            answer = answer._replace(endpoint=endpoint.url, is_local=local)
            models = provider.list_models(timeout=seconds)
            loaded = _try(lambda: provider.loaded_models(timeout=_left_s(until)), [])
            return answer._replace(models=tuple(models), loaded=tuple(loaded))
    except ProviderError as error:
        return answer._replace(error=error.with_traceback(None))


def _describe(named: NamedServer) -> AskedServer:
    config, kind = named.config, named.kind
    address = (config and (config.endpoint or config.gguf)) or kind.default_address or ""
    return AskedServer(
        name=named.name,
        kind=kind.name,
        endpoint=str(address),
        source=named.source,
        key_source=named.key_source,
        is_file=kind.is_file,
        ca_bundle=config.ca_bundle if config is not None else None,
        allow_plaintext_key=config is not None and config.allow_plaintext_key,
        start_command=kind.start_command or "",
        key_variable=next(iter(kind.key_variables), ""),
    )


def _missing_file(path: str) -> Optional[ProviderError]:
    if not path or Path(path).is_file():
        return None
    return ConfigurationError(f"there is no model file {path}")


def _left_s(until: float) -> float:
    return max(until - time.monotonic(), 0.01)


def _try(ask: Callable[[], Any], default: Any) -> Any:
    """Return the result of an optional request; if the request fails, return the default."""
    try:
        return ask()
    except _NO_ROUTE as error:
        if is_callers(error):
            raise
        return default


# --- models ---------------------------------------------------------------------------------


def wanted_models(facts: Facts) -> Tuple[WantedModel, ...]:
    """Return the models that the configuration names: in `model`, in aliases and for servers."""
    config = facts.config
    if config is None:
        return ()
    texts: List[Tuple[str, str]] = []
    if config.model and config.model not in config.aliases:
        texts.append(("model", config.model))
    texts += [(f"aliases.{name}", text) for name in config.aliases for text in config.aliases[name]]
    read = (_wanted(key, text, config, _server_names(facts)) for key, text in texts)
    found = [each for each in read if not _is_elsewhere(each, facts)]
    for server in config.servers:
        if server.model and not kinds.get(server.kind).is_file:
            key = f"servers.{server.name}.model"
            source = str(config.origin_of(key))
            found.append(WantedModel(key, server.model, source, server.name, server.model))
    return tuple(found[:_MOST_WANTED])


def _server_names(facts: Facts) -> List[str]:
    configured = [each.name for each in facts.asked]
    return [*configured, *(each.name for each in facts.found), *kinds.names()]


def _wanted(key: str, text: str, config: Config, servers: List[str]) -> WantedModel:
    source = str(config.origin_of(key))
    server, slash, name = text.partition("/")
    if slash and server in servers:
        return WantedModel(key, text, source, server, name)
    return WantedModel(key, text, source, None, text)


def _is_elsewhere(wanted: WantedModel, facts: Facts) -> bool:
    """Return whether a model need not be in the list of any server.

    This is true for a model file, and for a model of an internet service that is not configured.
    """
    prefix = wanted.text.partition("/")[0]
    known = [each for each in facts.asked if each.name == prefix]
    if known:
        return known[0].is_file
    kind = kinds.find(prefix)
    if kind is None or wanted.server is None:
        return kinds.find_service(prefix) is not None and "/" in wanted.text
    default = kind.default_address
    is_local = default is not None and parse_endpoint(default, default_port=80).is_loopback
    return kind.is_file or (default is not None and not is_local)


def model_questions(
    facts: Facts, wanted: Tuple[WantedModel, ...], seconds: float
) -> List[Tuple[str, Callable[[], Tuple[ExaminedModel, ...]]]]:
    """Return, for each ready server with a model to examine, its name and the examining function.

    Args:
        facts: The facts about the servers.
        wanted: The models that the configuration names.
        seconds: The time limit of each function.
    """
    return [
        (server.name, partial(_examine_models, server, names, maker, seconds))
        for server in ready_servers(facts)
        for names in (_names_for(server, wanted),)
        for maker in (_maker_of(server, facts),)
        if names and maker is not None
    ]


def _names_for(server: Server, wanted: Tuple[WantedModel, ...]) -> List[str]:
    asked = [each.name for each in wanted if each.server in (None, *server.names)]
    loaded = [each.name for each in server.loaded][:_MOST_LOADED]
    return list(dict.fromkeys([*asked, *loaded]))


def _maker_of(server: Server, facts: Facts) -> Optional[Callable[[], Any]]:
    """Return the function that makes the provider of a server."""
    ready = {each.name for each in facts.asked if each.endpoint == server.endpoint}
    for named in named_servers(facts.config, facts.environ):
        if named.name in ready and not named.kind.is_file:
            return named.make
    found = (each for each in facts.found if each.endpoint == server.endpoint)
    return next((each.make_provider for each in found), None)


def _examine_models(
    server: Server, names: List[str], make: Callable[[], Any], seconds: float
) -> Tuple[ExaminedModel, ...]:
    until = time.monotonic() + seconds
    with make() as provider:
        return tuple(_examine_model(server, name, provider, until) for name in names)


def _examine_model(server: Server, name: str, provider: Any, until: float) -> ExaminedModel:
    found = ExaminedModel(server.endpoint, name)
    try:
        is_there = provider.supports_model(name, timeout=_left_s(until))
        if not is_there:
            return found._replace(is_there=False)
        known = provider.model_capabilities(name, timeout=_left_s(until))
    except ProviderError as error:
        return found._replace(problem=error.message)
    template = _try(lambda: _template_of(provider, name, until), None)
    return found._replace(is_there=True, capabilities=known, template=template)


def _template_of(provider: Any, name: str, until: float) -> Optional[str]:
    """Return the chat template of a model; None if the server does not report it.

    Raises:
        AttributeError: Servers of this kind do not report templates.
        ProviderError: The request failed.
    """
    if hasattr(provider, "properties"):
        properties: Dict[str, Any] = provider.properties(name, timeout=_left_s(until))
        template = properties.get("chat_template")
        return template if isinstance(template, str) else None
    details = provider.show(name, timeout=_left_s(until))
    # If a model has a renderer, the server makes the prompts with it and ignores the template.
    return None if details.renderer else details.template
