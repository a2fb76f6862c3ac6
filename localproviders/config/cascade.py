"""`Config`: the merged configuration as one frozen value, and the merging of its layers.

Later layers override earlier ones. A server inherits the limits, the retries and the locality that
its own table does not set. Values that contradict each other are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import (
    Any,
    Container,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)

from localproviders import kinds
from localproviders._credentials import check_header_names
from localproviders._did_you_mean import did_you_mean
from localproviders._record import (
    CONTENT,
    FrozenDict,
    Record,
    field,
    loads,
    loads_each,
    record,
)
from localproviders._redact import one_line
from localproviders._signatures import Unpack, exact_keywords, show_keywords
from localproviders.config.files import Source, Surroundings, read_project, read_system, read_user
from localproviders.config.keys import (
    ANY,
    KEYS,
    RENAMED,
    SERVER,
    Key,
    UncheckedValue,
    keys_of_kinds,
    own_key,
)
from localproviders.config.layers import (
    KeyPath,
    Layer,
    Layers,
    check_value,
    from_arguments,
    from_variables,
    key_error,
    project_folders,
    servers_in,
)
from localproviders.config.project_file import (
    check_choices,
    check_project,
    has_default_address,
    keep_smaller_numbers,
    locality_of,
)
from localproviders.config.secrets import check_exposed, read_secrets
from localproviders.config.values import DEFAULT, ConfiguredAddress, Origin, ServerConfig
from localproviders.errors import ConfigurationError
from localproviders.kinds import ProviderKind
from localproviders.secret import Sealed, bare
from localproviders.types.limits import Limits, RetryPolicy
from localproviders.types.requests import Locality

Tables = Dict[KeyPath, Dict[str, Any]]

_FOLDERS = ("trusted_folders",)
_LOCALITY = ("locality",)
_FALLBACK_LOCALITY = "fallback_locality"
# The keys of `SERVER` that the table of a model file may have. Limits and retries are not among
# them, because the engine's provider sets them.
_MODEL_FILE_KEYS = frozenset({"kind", "model", "locality"})
# The keys that are fields of `ServerConfig`. Other keys are stored in its `own_keys`.
_FIELD_NAMES = frozenset(ServerConfig.__annotations__) - {"own_keys", "name"}


class LoadRequest:
    """The arguments of `Config.load`. The repr hides them."""

    __slots__ = ("arguments", "profile", "surroundings")

    def __init__(
        self, profile: Optional[str], surroundings: Surroundings, arguments: Mapping[str, Any]
    ) -> None:
        self.profile: Optional[str] = profile
        self.surroundings: Surroundings = surroundings
        self.arguments: Dict[str, Any] = dict(arguments)


def read(request: LoadRequest) -> Dict[str, Any]:
    """Read and merge all layers, and return the fields of a `Config`.

    Raises:
        ConfigurationError: A file, a variable, an argument or a value is invalid.
        LocalityError: A project's file widens the locality, has an address outside of it, or
            chooses a server whose locality is wider than the configuration's.
        DependencyError: No TOML parser is installed, and this Python includes none.
    """
    surroundings = request.surroundings
    arguments = from_arguments(request.arguments, surroundings)
    trusted = _make_layers([read_system(surroundings), read_user(surroundings)], surroundings)
    project = _make_layers([_read_project(trusted, arguments, surroundings)], surroundings)
    files = [*trusted, *project]
    names = servers_in(path for layers in files for path, _ in layers.entries())
    variables = from_variables(surroundings, [*names, *servers_in(iter(arguments))])
    profile, origin = _profile_name(request)
    if profile is not None:
        _check_profile(profile, origin, files)
    without_project = _merge(trusted, variables, profile, arguments)
    other_paths = [
        *(path for each in trusted for path, _ in each.entries()),
        *variables,
        *arguments,
    ]
    for layers in project:
        check_project(layers, without_project, other_paths)
        keep_smaller_numbers(layers, without_project)
    merged = _merge(files, variables, profile, arguments)
    check_choices(merged, servers_in(iter(merged)))
    exposed = find_exposed_files(trusted, surroundings)
    check_exposed((pair for layers in trusted for pair in layers.entries()), exposed)
    fields = _make_fields(merged, surroundings)
    return {**fields, "profile": profile, "origins": _origins_of(merged, origin)}


def _make_layers(sources: List[Optional[Source]], surroundings: Surroundings) -> List[Layers]:
    return [Layers(source, surroundings) for source in sources if source is not None]


def _read_project(
    trusted: List[Layers], arguments: Layer, surroundings: Surroundings
) -> Optional[Source]:
    """Read the project's file. The trusted folders come from the other layers."""
    argument = arguments.get(_FOLDERS)
    if argument is not None:
        return read_project(surroundings, argument.value)
    folders = project_folders((layers.source for layers in trusted), surroundings)
    return read_project(surroundings, folders)


def find_exposed_files(trusted: List[Layers], surroundings: Surroundings) -> Container[Path]:
    """Return the user's file if other users can read it. It must then not contain an API key.

    The system's file may contain an API key, because it is meant for all users.
    """
    user = surroundings.user_file()
    sources = [each.source for each in trusted]
    return {each.path for each in sources if each.is_readable and each.path == user}


def _merge(
    files: List[Layers], variables: Layer, profile: Optional[str], arguments: Layer
) -> Layer:
    """Merge all layers in order: files, variables, the profile, arguments.

    A layer with a `locality` cancels the `fallback_locality` of earlier layers. Otherwise the
    locality of a profile, a project's file or an argument would not hold for all prompts.
    """
    profiles = [] if profile is None else [each.profiles.get(profile, {}) for each in files]
    merged: Layer = {}
    for layer in (*(each.plain for each in files), variables, *profiles, arguments):
        if _LOCALITY in layer:
            merged = {path: merged[path] for path in merged if path[0] != _FALLBACK_LOCALITY}
        merged.update(layer)
    return merged


def _profile_name(request: LoadRequest) -> Tuple[Optional[str], Origin]:
    if request.profile is not None:
        return request.profile, Origin(kind="argument", name="profile")
    name = "LOCALPROVIDERS_PROFILE"
    value = request.surroundings.environ.get(name) or None
    return value, Origin(kind="variable", name=name) if value else DEFAULT


def _check_profile(profile: str, origin: Origin, files: List[Layers]) -> None:
    known = sorted({name for layers in files for name in layers.profiles})
    if profile not in known:
        near = did_you_mean(profile, known)
        profiles = f"the profiles are {', '.join(known)}" if known else "no file has a profile"
        raise ConfigurationError(
            f"{origin}: there is no profile {profile!r}{near}",
            hint=one_line(
                f"{profiles}; to add this profile, write [profiles.{profile}] in your file"
            ),
        )


def _origins_of(merged: Layer, profile: Origin) -> Dict[str, Origin]:
    found = {".".join(path): entry.origin for path, entry in merged.items()}
    for server in servers_in(iter(merged)):
        found[f"servers.{server}.locality"] = locality_of(merged, server).origin
    return found if profile is DEFAULT else {**found, "profile": profile}


def _make_fields(merged: Layer, surroundings: Surroundings) -> Dict[str, Any]:
    names = servers_in(iter(merged))
    tables = _tables(merged)
    fields = tables.get((), {})
    fallback = fields.setdefault("fallback", tuple(names))
    for name in fallback:
        if name not in names and not has_default_address(name):
            near = did_you_mean(name, [*names, *filter(has_default_address, kinds.names())])
            rule = f"names the server {name!r}, which is not configured{near}"
            raise key_error(
                merged["fallback",].origin, ("fallback",), rule, f"write [servers.{name}]"
            )
    fields["aliases"] = tables.get(("aliases",), {})
    fields["fallback_locality"] = tables.get((_FALLBACK_LOCALITY,), {})
    _check_fallback_locality(merged)
    fields["limits"] = Limits(**tables.get(("limits",), {}))
    fields["retry"] = RetryPolicy(**tables.get(("retry",), {}))
    fields["servers"] = tuple(_make_server(name, merged, tables) for name in names)
    secrets = read_secrets(merged, surroundings)
    fields["servers"] = tuple(
        server.replace(**secrets[server.name]) if server.name in secrets else server
        for server in fields["servers"]
    )
    return fields


def _check_fallback_locality(merged: Layer) -> None:
    """Check that each name in `fallback_locality` is an alias that no project's file defines.

    Raises:
        ConfigurationError: There is no such alias, or a project's file defines it.
    """
    known = [path[1] for path in merged if path[0] == "aliases"]
    for path, entry in merged.items():
        if path[0] != _FALLBACK_LOCALITY:
            continue
        alias = merged.get(("aliases", path[1]))
        if alias is None:
            rule = f"names no alias{did_you_mean(path[1], known)}"
            raise key_error(entry.origin, path, rule, f"write {path[1]} = [...] in [aliases]")
        if alias.origin.of_project:
            rule = "names an alias of a project file, which must not leave the locality"
            raise key_error(entry.origin, path, rule, "define the alias in your own file")


def _tables(merged: Layer) -> Tables:
    """Return the values of each table, by the path of the table."""
    found: Tables = {}
    for path, entry in merged.items():
        if entry.key is not None:
            found.setdefault(path[:-1], {})[path[-1]] = entry.value
    return found


def _make_server(name: str, merged: Layer, tables: Tables) -> ServerConfig:
    server_path = ("servers", name)
    own = {**tables.get(server_path, {})}
    own.setdefault("kind", _kind_of(name, own))
    _replace_service(own)
    if (*server_path, "headers") in tables:
        own["headers"] = tables[(*server_path, "headers")]
    _check_consistency(server_path, own, merged)
    kind = kinds.get(own["kind"])
    own["kind"] = kind.name  # until here it may be an alias of the kind, from the server's name
    own.update(_check_own_keys(server_path, kind, merged))
    locality = locality_of(merged, name)
    # A proxy without a locality is an error. If any layer has set a locality, there is no error:
    # `ServerConfig.options` then leaves out the proxy, unless the locality is "any".
    if "proxies" in own and locality.origin is DEFAULT:
        rule = 'needs locality = "any", because the proxy looks up the address of the server'
        where = merged[(*server_path, "proxies")].origin
        raise key_error(
            where, (*server_path, "proxies"), rule, 'write locality = "any" for this server'
        )
    for secret in ("api_key", "username", "password", "headers"):
        own.pop(secret, None)  # read later, when all servers are known to be valid
    own["limits"] = Limits(**_with_inherited(tables, server_path, "limits"))
    own["retry"] = RetryPolicy(**_with_inherited(tables, server_path, "retry"))
    own["own_keys"] = {key: own.pop(key) for key in list(own) if key not in _FIELD_NAMES}
    return ServerConfig(**{**own, "name": name, "locality": locality.value})


def _kind_of(name: str, own: Dict[str, Any]) -> str:
    """Return the kind of a server whose table does not set the kind.

    If the table has a key that only some kinds have, return the first kind whose required keys are
    all set. Otherwise return the name of the server.
    """
    if not all(key in SERVER for key in own):
        for kind in kinds.registered():
            required = [key.name for key in kind.keys if key.is_required]
            if required and all(key in own for key in required):
                return kind.name
    return name


def _replace_service(own: Dict[str, Any]) -> None:
    """If the kind is the name of a service, set the kind and the address of the service."""
    found = None if kinds.find(own["kind"]) else kinds.find_service(own["kind"])
    if found is not None:
        own["kind"] = found[0].name
        own.setdefault("endpoint", found[1].address)


def _with_inherited(tables: Tables, server_path: KeyPath, table: str) -> Dict[str, Any]:
    return {**tables.get((table,), {}), **tables.get((*server_path, table), {})}


def _check_consistency(server_path: KeyPath, own: Dict[str, Any], merged: Layer) -> None:
    """Reject values that are valid alone but contradict each other."""
    kind = kinds.find(own["kind"])
    if kind is None:
        rule = f"has no kind; choose one of {', '.join(kinds.names())}"
        hint = 'write, for example: kind = "openai-compatible"'
        raise key_error(_first_origin(server_path, merged), server_path, rule, hint)
    possible = {*(_MODEL_FILE_KEYS if kind.is_file else SERVER), *(key.name for key in kind.keys)}
    for key in own:
        if key not in possible:
            rule = f"is not a key of a server of the kind {kind.name!r}"
            hint = "remove the key, or change the kind"
            raise key_error(
                _first_origin((*server_path, key), merged), (*server_path, key), rule, hint
            )
    for needed in _required_keys(kind):
        if needed not in own:
            raise key_error(
                _first_origin(server_path, merged),
                server_path,
                f"has no {needed}",
                f"write {needed} = ...",
            )
    _check_login(server_path, own, merged)


def _check_login(server_path: KeyPath, own: Dict[str, Any], merged: Layer) -> None:
    """Reject a user without a password, several forms of authorization, and unusable headers."""
    path, rule, hint = server_path, "", None
    headers: Mapping[str, Any] = own.get("headers", {})
    for one, other in (("username", "password"), ("password", "username")):
        if one in own and other not in own:
            path, rule, hint = (*server_path, one), f"needs {other}", f"write {other} = ..."
    names = [name for name in headers if name.lower() == "authorization"]
    given = [*(name for name in ("api_key", "password") if name in own), *names]
    if len(given) > 1:
        path = (*server_path, *(("headers",) if given[1] in names else ()), given[1])
        rule, hint = f"and {given[0]} cannot both be set for one server", "remove one of them"
    try:
        check_header_names(list(headers))
    except ConfigurationError as error:
        path, rule, hint = (*server_path, "headers"), f"is invalid: {error.message}", error.hint
    if rule:
        origin = _first_origin(path, merged)
        if origin.kind == "argument":
            # If an API key was written where the name of a header belongs, the origin contains it.
            origin = origin.replace(name=".".join(path))
        raise key_error(origin, path, rule, hint)


def _check_own_keys(server_path: KeyPath, kind: ProviderKind, merged: Layer) -> Dict[str, Any]:
    """Check and return the values that were not checked before the kind of the server was known.

    These are the values of keys that several kinds declare with different types.
    """
    values: Dict[str, Any] = {}
    for key in map(own_key, kind.keys):
        path = (*server_path, key.path[-1])
        entry = merged.get(path)
        if entry is not None and isinstance(entry.value, UncheckedValue):
            value, place = entry.value
            if entry.origin.kind == "variable" and key.parse is not None:
                value = key.parse(value)
            values[path[-1]] = check_value(key, path, value, entry.origin, place).value
    return values


def _required_keys(kind: ProviderKind) -> List[str]:
    """Return the keys that a server of this kind must have."""
    required = [key.name for key in kind.keys if key.is_required]
    needs_no_address = kind.is_file or kind.default_address is not None
    return required if needs_no_address else [*required, "endpoint"]


def _first_origin(table: KeyPath, merged: Layer) -> Origin:
    """Return the origin of a key, or the origin of the first key of a table."""
    return next(e.origin for path, e in merged.items() if path[: len(table)] == table)


class ConfigKeys(TypedDict, total=False):
    """The keys of a configuration as arguments of `Config.load`. An argument of None is ignored."""

    model: Optional[str]
    strategy: Optional[str]
    locality: Optional[Locality]
    fallback: Union[str, Sequence[str], None]
    aliases: Optional[Mapping[str, Union[str, Sequence[str]]]]
    fallback_locality: Optional[Mapping[str, Locality]]
    trusted_folders: Optional[Sequence[Union[str, Path]]]
    limits: Union[Limits, Mapping[str, float], None]
    retry: Union[RetryPolicy, Mapping[str, float], None]
    servers: Optional[Mapping[str, Mapping[str, Any]]]


def _load_aliases(data: Mapping[str, Sequence[str]]) -> Dict[str, Tuple[str, ...]]:
    return {alias: tuple(models) for alias, models in data.items()}


def _load_origins(data: Mapping[str, Any]) -> Dict[str, Origin]:
    return {key: Origin.from_dict(origin) for key, origin in data.items()}


@record
class Config(Record):
    """The configuration from files, variables and arguments, which `load` reads.

    Attributes:
        servers: The servers, in the order in which they were first named.
        aliases: The models of each alias, the preferred one first. Each model is written as
            ``server/model``, or as the name of a model alone.
        fallback: Names of servers in the order in which they are tried; all `servers` if the
            key is not set.
        model: The model, the alias or ``server/model`` for requests that name no model.
        strategy: The rule that chooses a server if several have the model: ``first``,
            ``loaded``, ``largest``, ``smallest`` or ``balanced``.
        locality: Where prompts may go.
        fallback_locality: Wider localities than `locality`, by alias. If the first model of the
            alias fails, its other models may be used within this wider locality.
        limits: Time limits.
        retry: Number of attempts, and the waits between them.
        profile: Name of the selected profile, or None.
        trusted_folders: Folders whose project files are trusted. These files are read even if
            another user owns them, and may define servers.
        origins: The origin of each value that was set, by its key; see `origin_of`.
    """

    servers: Tuple[ServerConfig, ...] = field(
        default=(), metadata=loads_each(ServerConfig.from_dict)
    )
    aliases: Mapping[str, Tuple[str, ...]] = field(
        default_factory=FrozenDict, metadata=loads(_load_aliases)
    )
    fallback: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    model: Optional[str] = None
    strategy: str = "first"
    locality: str = "loopback"
    fallback_locality: Mapping[str, str] = field(default_factory=FrozenDict)
    limits: Limits = field(default_factory=Limits, metadata=loads(Limits.from_dict))
    retry: RetryPolicy = field(default_factory=RetryPolicy, metadata=loads(RetryPolicy.from_dict))
    profile: Optional[str] = None
    trusted_folders: Tuple[Path, ...] = field(default=(), metadata=loads_each(Path))
    origins: Mapping[str, Origin] = field(
        default_factory=FrozenDict, metadata=loads(_load_origins, **CONTENT)
    )

    def __post_init__(self) -> None:
        self._keep_as_tuples("servers", "fallback", "trusted_folders")
        self._freeze("aliases", "fallback_locality", "origins")

    @classmethod
    @exact_keywords
    @show_keywords(ConfigKeys)
    def load(
        cls,
        *,
        profile: Optional[str] = None,
        directory: Optional[Path] = None,
        environ: Optional[Mapping[str, str]] = None,
        **overrides: Unpack[ConfigKeys],
    ) -> Config:
        """Read the configuration. Later layers override earlier ones.

        The order of the layers is: built-in defaults, the system's file, the user's file, the
        project's file, environment variables (``LOCALPROVIDERS_*``), the profile, arguments. A
        missing file is ignored. The API keys of the servers are read as well, from their
        variables, files and commands. docs/configuration.md lists the files and the keys.

        Args:
            profile: Name of the profile; None uses ``LOCALPROVIDERS_PROFILE``.
            directory: The directory in which the search for a project file starts. The search
                continues in its parents, up to the home directory or the root. On Windows, only
                directories in the home directory or a trusted folder are searched. Relative
                paths in arguments and environment variables start at this directory, too. None
                uses the current directory.
            environ: The environment variables; None uses the variables of the process.
            **overrides: Keys of the configuration, such as ``locality="private"``. Tables are
                mappings; ``limits`` and ``retry`` may also be `Limits` and `RetryPolicy`.
                An argument of None is ignored.

        Raises:
            ConfigurationError: A file cannot be read, is not valid TOML, or could have been
                written by another user; a key is unknown, or a value has the wrong type or is
                invalid; there is no such profile; an API key cannot be read, or other users
                can read its file or the user's file that contains it; or a project's file has
                a key that is not allowed there. The message names the file and the line, the
                variable or the argument.
            LocalityError: A project's file widens the locality, has an address outside of it, or
                chooses a server whose locality is wider than the configuration's.
            TypeError: An argument is not a key of the configuration.
            DependencyError: A file exists, but no TOML parser is installed, and this Python
                includes none.
        """
        given, environ, overrides = Sealed((environ, overrides)), None, ConfigKeys()
        failure: BaseException
        try:
            surroundings = Surroundings(directory, given.cell_contents[0])
            return cls(**read(LoadRequest(profile, surroundings, given.cell_contents[1])))
        except BaseException as error:
            # The frames of this error hold the values of files and variables, including API keys.
            failure = bare(error)
        raise failure

    @property
    def endpoints(self) -> Tuple[str, ...]:
        """The configured addresses for `discover`, without those from a project's file.

        Each address remembers its kind. An API key from the environment is sent only to an
        address of its kind, such as LM Studio's token to one of the kind ``lmstudio``. The
        server's own key, password and headers are sent to its address, and to no other. The
        addresses from a project's file are in `project_endpoints`. A model file has no address.
        """
        return tuple(
            ConfiguredAddress(server.endpoint, (server.kind,), server.access_options())
            for server in self.servers
            if server.endpoint and not self._is_of_project(server)
        )

    @property
    def project_endpoints(self) -> Tuple[str, ...]:
        """The addresses from a project's file, for `discover`, which sends no API key to them."""
        return tuple(
            ConfiguredAddress(server.endpoint)
            for server in self.servers
            if server.endpoint and self._is_of_project(server)
        )

    def _is_of_project(self, server: ServerConfig) -> bool:
        return self.origins.get(f"servers.{server.name}.endpoint", DEFAULT).of_project

    def origin_of(self, key: str) -> Origin:
        """Return the place where a value was set.

        Args:
            key: The key as it is written in a file, with dots: ``locality``,
                ``limits.total_s``, ``aliases.fast``, ``servers.gpu-box.endpoint``. A value
                that a server inherits has the origin of the inherited value.

        Raises:
            ConfigurationError: There is no such key.
        """
        if key in self.origins:
            return self.origins[key]
        known = self._dotted_names(KEYS)
        if key not in known:
            known += self._dotted_names(keys_of_kinds())
        if key not in known:
            near = did_you_mean(RENAMED.get(key, key), [*known, *self.origins])
            raise ConfigurationError(
                f"the configuration has no key {key!r}{near}",
                hint="docs/configuration.md lists the keys",
            )
        path = key.split(".")
        inherits = path[0] == "servers" and path[2] in ("limits", "retry")
        return self.origins.get(".".join(path[2:]), DEFAULT) if inherits else DEFAULT

    def _dotted_names(self, keys: Sequence[Key]) -> List[str]:
        """Return the dotted names of all keys that this configuration can have."""
        names = [server.name for server in self.servers]
        # Tables whose keys the user names, such as aliases and headers, are left out.
        rows = [row.path for row in keys if row.path[1:] != (ANY,) and row.path[3:] != (ANY,)]
        found = [".".join(path) for path in rows if ANY not in path]
        found += [
            ".".join([path[0], name, *path[2:]]) for path in rows if ANY in path for name in names
        ]
        return [*found, "profile"]
