"""`create_provider`, which makes one provider from one text, such as ``ollama/llama3.2``.

The text may come from an environment variable, so a script can use another server although its code
stays the same.
"""

from __future__ import annotations

from types import CellType
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional

from localproviders import kinds
from localproviders._address import Endpoint, parse_endpoint
from localproviders._did_you_mean import most_similar
from localproviders._lazy import LazyModule
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.config import Config, ServerConfig
from localproviders.config.keys import kind_words, variable
from localproviders.config.providers import make_configured, origin_in_project
from localproviders.config.values import with_model_file
from localproviders.errors import ConfigurationError, LocalityError
from localproviders.kinds import ProviderKind
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed, SecretString, as_key
from localproviders.settings import (
    EMPTY,
    ApiKey,
    ConnectionOptions,
    Settings,
    safe_options,
    sets_authorization,
)
from localproviders.types.inputs import model_name
from localproviders.types.limits import Limits, RetryPolicy, Timeout, resolve
from localproviders.types.requests import Locality

if TYPE_CHECKING:
    from localproviders import local
else:
    # A provider of one server needs no search for servers.
    local = LazyModule("localproviders.local")

#: The only options that a provider without an address accepts. Such a provider is a
#: `LocalProvider`, or reads a model file.
_WITHOUT_ADDRESS = ("listeners", "retry")


class NamedModel(NamedTuple):
    """The server and the model that a text such as ``ollama/llama3.2`` names.

    Attributes:
        server: The server.
        model: Name of the model; None if the text names a model file, whose path is in `server`.
        is_configured: Whether the configuration has this server.
    """

    server: ServerConfig
    model: Optional[str]
    is_configured: bool


class Options:
    """The checked options of `create_provider`, whose repr shows no secret.

    Attributes:
        endpoint: The address, without credentials; None if none was given.
        api_key: The key, or None.
        connection: The other options, with their secrets hidden.
    """

    __slots__ = ("api_key", "connection", "endpoint")

    def __init__(self, given: CellType) -> None:
        """Check the sealed address, key and other options."""
        address, key, connection = map(Sealed, given.cell_contents)
        self.endpoint: Optional[str] = None
        if address.cell_contents is not None:
            parse_endpoint(address.cell_contents, default_port=80)  # refuses credentials
            self.endpoint = str(address.cell_contents)
        self.api_key: Optional[SecretString] = as_key(key)
        self.connection: Dict[str, Any] = safe_options(connection)
        retry = self.connection.get("retry")
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise ConfigurationError(f"retry must be RetryPolicy(...), not {type(retry).__name__}")

    @property
    def sets_authorization(self) -> bool:
        """Whether an API key, `auth` or a header replaces the configured API key and password."""
        return self.api_key is not None or sets_authorization(self.connection)

    def for_an_address(self) -> List[str]:
        """Return the names of the options that only a provider with one address accepts."""
        given = {"endpoint": self.endpoint, "api_key": self.api_key, **self.connection}
        return [name for name in given if given[name] and name not in _WITHOUT_ADDRESS]


@exact_keywords
@show_keywords(ConnectionOptions, Settings)
def create_provider(
    model: Optional[str] = None,
    *,
    endpoint: Optional[str] = None,
    name: Optional[str] = None,
    api_key: ApiKey = None,
    timeout: Timeout = None,
    locality: Optional[Locality] = None,
    profile: Optional[str] = None,
    **options: Unpack[ConnectionOptions],
) -> ModelProvider:
    """Make one provider from one text, such as ``ollama/llama3.2``. Nothing is sent.

    The configuration is read (`Config.load`). These cases are checked in this order, and the first
    case that fits the text is used:

    1. an alias of the configuration, such as ``fast``: a `LocalProvider` that tries its models;
    2. the name of a configured server before the first slash, such as ``gpu-box/llama3.2``: the
       provider of this server, with its settings;
    3. a kind of servers or a service before the first slash, such as ``lmstudio/qwen/qwen3-4b``:
       a provider for the usual address of this kind, with the general settings of the
       configuration;
    4. a model, such as ``llama3.2`` or ``qwen/qwen3-4b``: a `LocalProvider`, which searches for
       servers with this model.

    The variable ``LOCALPROVIDERS_SERVERS_NAME_ENDPOINT`` sets the address of a server. If NAME is
    neither a configured server nor a kind, ``LOCALPROVIDERS_SERVERS_NAME_KIND`` is needed, too.

    Args:
        model: The text. None means the model of the configuration: the variable
            ``LOCALPROVIDERS_MODEL``, or the key ``model``. If none is configured, the result is a
            `LocalProvider` without a model.
        endpoint: Address of the server, instead of the configured or usual one. The text must then
            begin with a configured server, a kind or a service. A configured API key, user,
            password and headers are not sent to this address, unless it is the configured address.
        name: Name of the provider in responses, errors and events. None means the name of the
            server, the kind or the service, or ``local`` for a `LocalProvider`.
        api_key: Key that is sent as a Bearer token, to this server only, instead of the configured
            one.
        timeout: Limits for calls without a `timeout`: seconds for the whole call, or a `Limits`
            value. None means the configured limits.
        locality: Places to which prompts may be sent: ``loopback``, ``private`` or ``any``, like
            the argument of `Config.load`. A narrower locality of a configured server is kept. None
            means the configured locality.
        profile: Profile of the configuration; None means ``LOCALPROVIDERS_PROFILE``.
        **options: Fields of `ConnectionOptions`, instead of the configured ones. A `LocalProvider`
            and a model file have no address, so they accept only ``listeners`` and ``retry``.

    Raises:
        ConfigurationError: A value or the configuration is invalid; the text names no model after
            its slash; the kind has no usual address, and no address is given; or an address, an API
            key or an option is given for a text that names no server.
        LocalityError: A project's file chooses a kind or a service that is not on this machine,
            or violates the locality in another way.
        TypeError: A keyword argument does not exist.
    """
    given, endpoint, api_key, options = Sealed((endpoint, api_key, options)), None, None, EMPTY
    hidden = Options(given)
    config = Config.load(profile=profile, locality=locality)
    chosen = _as_text(model)
    text = chosen or config.model
    found = read_model(text, config)
    if found is None:
        _check_address_is_unneeded(text, hidden, config)
        return _make_local(chosen, config, name, timeout, hidden)
    if chosen is None:
        _check_project_choice(found, config)
    return _make_provider(_with_arguments(found, name, timeout, hidden), hidden)


def _as_text(model: Any) -> Optional[str]:
    text: Any = model_name(model)
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(f"model must be a string, not {type(model).__name__}")
    return text or None


def read_model(text: Optional[str], config: Config) -> Optional[NamedModel]:
    """Return the server and the model that a text names; None for an alias or a bare model name.

    Args:
        text: Model, alias, ``server/model``, ``kind/model`` or ``service/model``; or None.
        config: The configuration, with the aliases and the servers.

    Raises:
        ConfigurationError: The text names a server, but no model.
    """
    prefix, slash, model = (text or "").partition("/")
    if not slash or text in config.aliases:
        return None
    configured = next((each for each in config.servers if each.name == prefix), None)
    found = configured or _usual_server(prefix, config)
    if found is None:
        return None
    if not model.strip():
        raise ConfigurationError(
            f"{text!r} names no model", hint=f"write the model after the slash: {prefix}/MODEL"
        )
    if configured is None and kinds.get(found.kind).is_file:
        return NamedModel(with_model_file(found, model), None, is_configured=False)
    return NamedModel(found, model, is_configured=configured is not None)


def _usual_server(name: str, config: Config) -> Optional[ServerConfig]:
    """Return the server for the name of a kind or a service; None for any other name.

    The server of a kind has the usual address of the kind.
    """
    kind, address = kinds.find(name), None
    if kind is None:
        service = kinds.find_service(name)
        if service is None:
            return None
        kind, address = service[0], service[1].address
    return ServerConfig(
        name=name if address else kind.name,
        kind=kind.name,
        endpoint=address,
        limits=config.limits,
        retry=config.retry,
        locality=config.locality,
    )


def _check_project_choice(found: NamedModel, config: Config) -> None:
    """Check that a model from a project's file names a server of this machine.

    A configured server passes, because `Config.load` has already checked it.
    """
    origin = origin_in_project(config, "model")
    if origin is None or found.is_configured:
        return
    address = found.server.endpoint or kinds.get(found.server.kind).default_address
    if address is None or not parse_endpoint(address, default_port=80).is_loopback:
        raise LocalityError(
            f"{origin}: model names {found.server.name}, which is not a server of this machine",
            hint=f"add [servers.{found.server.name}] to your own configuration file",
        )


def _with_arguments(
    found: NamedModel, name: Optional[str], timeout: Timeout, options: Options
) -> ServerConfig:
    """Return the server with the model of the text and the arguments of `create_provider`."""
    server = found.server
    changes: Dict[str, Any] = {
        "name": server.name if name is None else name,
        "limits": _resolve(timeout, server.limits),
        "retry": options.connection.get("retry") or server.retry,
        "model": found.model,
    }
    if options.endpoint and not _is_address_of(server, options.endpoint):
        changes.update(endpoint=options.endpoint, **_NO_SECRETS, headers=None)
    if options.sets_authorization:
        changes.update(_NO_SECRETS)
    if options.api_key is not None:
        changes["api_key"] = options.api_key
    _check_address(server, options)
    return server.replace(**changes)


_NO_SECRETS = {"api_key": None, "username": None, "password": None}


def _resolve(timeout: Timeout, limits: Limits) -> Limits:
    try:
        return resolve(timeout, limits)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _is_address_of(server: ServerConfig, endpoint: str) -> bool:
    """Return whether an address is the configured one. No other address receives the secrets."""
    if server.endpoint is None:
        return False
    kind = kinds.get(server.kind)
    return _read_by(kind, server.endpoint) == _read_by(kind, endpoint)


def _read_by(kind: ProviderKind, address: str) -> Endpoint:
    """Return the endpoint that a provider of this kind would use for an address.

    The default port and the paths of the kind are applied to the address.
    """
    # The dummy key is never sent. Without it, the provider would read the API key from an
    # environment variable, and would raise an error if that API key is invalid.
    options = {"api_key": "unused", "locality": "any"}
    made = kind.make(address, **{name: options[name] for name in options if name in kind.options})
    settings = getattr(made, "settings", None)
    if settings is None:
        return parse_endpoint(address, default_port=80)
    found: Endpoint = settings.endpoint
    return found


def _check_address(server: ServerConfig, options: Options) -> None:
    """Check that the server has an address if it needs one, and none if it is a model file."""
    kind = kinds.get(server.kind)
    unusable = options.for_an_address() if kind.is_file else []
    if unusable:
        raise ConfigurationError(
            f"{unusable[0]} cannot be used with {server.name}, which is a model file",
            hint=f"leave {unusable[0]} out",
        )
    address = options.endpoint or server.endpoint or kind.default_address
    if address is None and not kind.is_file:
        raise ConfigurationError(
            f"a server of the kind {kind.name} has no usual address",
            hint='pass endpoint="http://127.0.0.1:8080/v1", or set the variable '
            + variable(("servers", server.name, "endpoint")),
        )


def _make_provider(server: ServerConfig, options: Options) -> ModelProvider:
    connection = {key: options.connection[key] for key in options.connection if key != "retry"}
    listeners = tuple(connection.pop("listeners", ()))
    return make_configured(server, listeners, **connection)


def _make_local(
    model: Optional[str],
    config: Config,
    name: Optional[str],
    timeout: Timeout,
    options: Options,
) -> ModelProvider:
    """Return a `LocalProvider`.

    If the caller named no model, `model` is None, and the provider itself reads the model from the
    configuration. So it knows whether the model is from a project's file: such a model may
    be used on fewer servers than a model that the caller named.
    """
    retry = options.connection.get("retry")
    if retry is not None:
        servers = tuple(each.replace(retry=retry) for each in config.servers)
        config = config.replace(retry=retry, servers=servers)
    listeners = tuple(options.connection.get("listeners", ()))
    return local.LocalProvider(
        model=model,
        config=with_timeout(config, timeout),
        name="local" if name is None else name,
        timeout=timeout,
        listeners=listeners,
    )


def with_timeout(config: Config, timeout: Timeout) -> Config:
    """Return a configuration in which a timeout replaces the limits of every server.

    So the timeout also applies to a provider that is made for only one of these servers.
    """
    servers = tuple(each.replace(limits=_resolve(timeout, each.limits)) for each in config.servers)
    return config.replace(limits=_resolve(timeout, config.limits), servers=servers)


def _check_address_is_unneeded(text: Optional[str], options: Options, config: Config) -> None:
    """Check that the caller passed no option that requires a provider with one address."""
    given = options.for_an_address()
    if not given:
        return
    if not text:
        problem = "no model was named"
    elif text in config.aliases:
        problem = f"{text!r} is an alias, which may lead to several servers"
    else:
        problem = f"{text!r} names no server{_similar(text, config)}"
    raise ConfigurationError(
        f"{given[0]} needs a server before the model, but {problem}",
        hint=f"write SERVER/MODEL; the servers are {', '.join(_servers(config))}",
    )


def _servers(config: Config) -> List[str]:
    return list(dict.fromkeys([*(each.name for each in config.servers), *kind_words()]))


def _similar(text: str, config: Config) -> str:
    """Return a suggestion for a text whose first part is the misspelt name of a server."""
    prefix, slash, model = text.partition("/")
    near = most_similar(prefix, _servers(config)) if slash else None
    return f"; did you mean {f'{near}/{model}'!r}?" if near else ""
