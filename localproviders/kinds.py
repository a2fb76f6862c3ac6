"""The registry of provider kinds, which describes each supported kind of server.

A `ProviderKind` describes one kind. It names classes and functions as text
(``package.module:name``), so that their modules are imported only when they are used.
Configuration, discovery, `LocalProvider`, `localproviders.testing` and the command line read the
registry. Their code does not depend on the name of any kind.

There are two ways to add a kind. A program calls `register`, or an installed package provides an
entry point in the group ``localproviders.kinds``. The name of the entry point is the name of the
kind, and its value is the `ProviderKind`::

    [project.entry-points."localproviders.kinds"]
    toy = "toy_provider.kind:KIND"

Importing this module reads no entry points. They are read when a kind is added, when all kinds are
listed, or when a name is looked up that is neither built in nor registered. Only the interpreter's
own package folders are searched; metadata in the current folder is ignored. docs/architecture.md
explains how to add a provider.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import traceback
import warnings
from dataclasses import fields
from importlib import import_module
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from localproviders._address import parse_endpoint
from localproviders._did_you_mean import did_you_mean
from localproviders._frozen_dataclass import Frozen, dataclass_transform, frozen_dataclass
from localproviders._interrupts import is_injected
from localproviders._look import Greeting, Look
from localproviders._patterns import pattern
from localproviders._redact import one_line
from localproviders._signatures import exact_keywords
from localproviders.errors import ConfigurationError
from localproviders.provider import ModelProvider
from localproviders.secret import Sealed
from localproviders.settings import OPTIONS, safe_options

__all__ = [
    "GROUP",
    "Greeting",
    "KindKey",
    "KindService",
    "Look",
    "ProviderKind",
    "find",
    "find_service",
    "get",
    "names",
    "public_hosts",
    "register",
    "registered",
    "unregister",
]

T = TypeVar("T")

#: The group of the entry points that provide kinds.
GROUP = "localproviders.kinds"

#: The kinds of this package, in the order in which `names` lists them. Outside of the folders of
#: the kinds, no other code depends on these names.
_BUILT_IN: Mapping[str, str] = {
    "ollama": "localproviders.ollama.kind:KIND",
    "lmstudio": "localproviders.lmstudio.kind:KIND",
    "llamacpp": "localproviders.llamacpp.kind:KIND",
    "openai-compatible": "localproviders.openai_compatible.kind:KIND",
    "gguf": "localproviders.engine.kind:KIND",
    "anthropic": "localproviders.anthropic.kind:KIND",
    "openai": "localproviders.openai.kind:KIND",
    "openrouter": "localproviders.openrouter.kind:KIND",
}
#: The name that discovery uses for a server of no known kind.
UNKNOWN = "unknown"

_NAME = pattern(r"[a-z0-9][a-z0-9-]*")
_KEY_NAME = pattern(r"[a-z][a-z0-9_]*")
#: Names that a kind cannot use for its own configuration keys, because they are configuration keys
#: of every server, or arguments of every provider.
_RESERVED_KEYS = OPTIONS | {"kind", "endpoint", "limits", "own_keys", "username", "password"}
_HIGHEST_PORT = 65535
_KEY_TYPES = ("text", "number", "count", "boolean", "file", "list")
_IN_PROJECT = ("yes", "no", "own")


@dataclass_transform(frozen_default=True)
def _description(cls: Type[T]) -> Type[T]:
    """Make a class a frozen dataclass whose constructor reports misspelt arguments."""
    return frozen_dataclass(cls, lambda _, compiled: exact_keywords(compiled()))


class _Described(Frozen):
    """The base class of the descriptions, with the methods that `dataclass` would generate."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Described) or other.__class__ is not self.__class__:
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        pairs = zip((each.name for each in fields(self)), self._values())
        shown = ", ".join(f"{name}={value!r}" for name, value in pairs)
        return f"{type(self).__qualname__}({shown})"

    def _values(self) -> Tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))


@_description
class KindKey(_Described):
    """A configuration key that a kind adds to the table of a server.

    The value of the key is passed to the constructor of the kind's provider, as the argument with
    the name of the key.

    Attributes:
        name: Name of the key and of the constructor's argument.
        type: ``text``, ``number``, ``count`` (a whole number of at least 1), ``boolean``, ``file``
            (a path) or ``list`` (of strings).
        meaning: One sentence for the documentation.
        example: A line of TOML that a user can copy.
        default: The behaviour without the key, as text for the documentation.
        in_project: Whether the file of a project may set the key: ``yes``, ``no``, or ``own``.
            The value ``own`` allows it only in a trusted folder, and only for a server that no
            other file, variable or argument names. With ``own``, a path in the value of the key
            must also lead into the folder of the project.
        is_required: True if a server of this kind must have the key. A server in the
            configuration that has all required keys of a kind, and no key ``kind``, belongs to
            that kind.

    Raises:
        ConfigurationError: A field is invalid.
    """

    name: str
    type: str
    meaning: str
    example: str
    default: str = "none"
    in_project: str = "no"
    is_required: bool = False

    def __post_init__(self) -> None:
        _check_types(self, f"the key {self.name!r}")
        if not _KEY_NAME.fullmatch(self.name) or self.name in _RESERVED_KEYS:
            raise ConfigurationError(
                f"{self.name!r} is not a valid name for a key of a kind",
                hint="use lower-case letters, digits and _, and begin with a letter; the names of"
                " keys that every server or provider has, such as 'model', cannot be used",
            )
        _check_choice(self.name, "type", self.type, _KEY_TYPES)
        _check_choice(self.name, "in_project", self.in_project, _IN_PROJECT)


@_description
class KindService(_Described):
    """A service on the internet whose servers are of one kind.

    Its name can be written instead of the address and instead of the name of the kind:
    ``create_provider("groq/llama-3.3-70b")``, ``kind = "groq"`` in the configuration, or
    ``OpenAICompatibleProvider("groq")``.

    Attributes:
        name: Name of the service, with lower-case letters, digits and hyphens.
        address: Address of the service, in the form that the provider accepts.
        key_variables: The environment variables with the API key, in the order of preference. The
            provider reads them only for this address.

    Raises:
        ConfigurationError: A field is invalid.
    """

    name: str
    address: str
    key_variables: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_types(self, f"the service {self.name!r}")
        parse_endpoint(self.address, default_port=443)
        _check_kind_name(self.name)


@_description
class ProviderKind(_Described):
    """The description of one kind of provider, for configuration, discovery and tests.

    Classes and functions are named as text, ``package.module:name``. Only `name`, `title` and
    `provider` are required.

    Attributes:
        name: Name of the kind in the configuration, in `FoundServer.kind` and for `get`. It
            consists of lower-case letters, digits and hyphens.
        title: Name of the server for people, such as ``LM Studio``.
        provider: The class of the provider. Its first argument is the address. Its keyword
            arguments are those of the other providers (``model``, ``name``, ``api_key``,
            ``timeout``, ``locality``, ``settings``, ``listeners``, ``retry`` and the other fields
            of `Settings`) and the name of each of `keys`.
        aliases: Other names for the kind.
        address_argument: Name of the provider's first argument.
        default_address: The address where a server of this kind usually listens, or None. The
            provider uses it if no address is given. In the results of discovery, the server at
            this address has the name of its kind.
        address_path: The path that discovery appends to an origin to get the address for the
            provider, such as ``/v1``.
        api_paths: Paths that users may write after an origin. Discovery removes them.
        ports: Ports of this machine on which discovery searches for servers, each with the name
            of the server that usually listens there.
        avoided_ports: Ports to which discovery never connects, each with the reason.
        address_variable: The environment variable with the address, or None.
        key_variables: The environment variables with the API key, in the order of preference.
        key_hosts: The only hosts that receive the API key of `key_variables`. If this field is
            empty, the API key is sent to a server at any address.
        services: Services on the internet with servers of this kind. The name of a service must
            not be the name of a kind.
        fingerprint: A function that recognizes a server of this kind. It receives a `Look`, and
            returns the result of `Look.listed`, `Look.found` or `Look.unknown`, or None if the
            server is of another kind.
        fingerprint_order: Discovery tries kinds with a lower number first. A kind that other
            kinds are based on, such as a dialect, has a high number.
        fake: The fake server for tests, a subclass of `localproviders.testing.FakeServer`.
        keys: The configuration keys that this kind adds to the table of a server.
        is_file: True if the kind is a model file without an address, not a server.
        from_config: A function that creates the provider from a `ServerConfig` and listeners.
            If None, `make` is called with `ServerConfig.options`.
        start_hint: Instructions to install or start such a server. Users read them if discovery
            found no server.
        start_command: The command that starts such a server.
        keyless_hint: A way to use the server without the API key from the environment. An error is
            raised if the provider would send that API key to an address from a project's file. This
            text is added to the hint of that error.

    Raises:
        ConfigurationError: A field is invalid.
    """

    name: str
    title: str
    provider: str
    aliases: Tuple[str, ...] = ()
    address_argument: str = "host"
    default_address: Optional[str] = None
    address_path: str = ""
    api_paths: Tuple[str, ...] = ()
    ports: Tuple[Tuple[int, str], ...] = ()
    avoided_ports: Tuple[Tuple[int, str], ...] = ()
    address_variable: Optional[str] = None
    key_variables: Tuple[str, ...] = ()
    key_hosts: Tuple[str, ...] = ()
    services: Tuple[KindService, ...] = ()
    fingerprint: Optional[str] = None
    fingerprint_order: int = 50
    fake: Optional[str] = None
    keys: Tuple[KindKey, ...] = ()
    is_file: bool = False
    from_config: Optional[str] = None
    start_hint: Optional[str] = None
    start_command: Optional[str] = None
    keyless_hint: Optional[str] = None

    def __post_init__(self) -> None:
        _check_types(self, f"the provider kind {self.name!r}")
        _check_keys(self)
        for name in (self.name, *self.aliases):
            _check_kind_name(name)

    @property
    def options(self) -> Tuple[str, ...]:
        """The names of all arguments of the provider's constructor, in alphabetical order."""
        return tuple(sorted({*OPTIONS, self.address_argument, *(key.name for key in self.keys)}))

    @property
    def is_service(self) -> bool:
        """Whether the kind is one service on the internet: its default address is not local.

        Discovery does not search for it, and the file of a project must not choose it.
        """
        address = self.default_address
        return address is not None and not parse_endpoint(address, default_port=443).is_loopback

    def make(self, *address: str, **options: Any) -> ModelProvider:
        """Make a provider of this kind. Nothing is sent.

        Args:
            *address: The address. Without one, the provider uses its default address.
            **options: Arguments of the provider's constructor. The property `options` has their
                names.

        Raises:
            ConfigurationError: The value of an option is invalid, or the class cannot be imported.
            TypeError: An option is unknown.
        """
        given, options = Sealed(options), {}
        options = safe_options(given, self.options)
        made: ModelProvider = self.resolve("provider")(*address, **options)
        return made

    def resolve(self, part: str) -> Any:
        """Import and return the object that a field names as text.

        Args:
            part: Name of the field: ``provider``, ``fingerprint``, ``fake`` or
                ``from_config``.

        Raises:
            ConfigurationError: The field is None, or the object cannot be imported.
        """
        text = getattr(self, part)
        if text is None:
            raise ConfigurationError(
                f"the provider kind {self.name!r} has no {part}",
                hint=f"set it in its ProviderKind: {part}='package.module:name'",
            )
        return _import(text, f"the {part} of the provider kind {self.name!r}")


#: The checks of `_check_types`, by the annotation of a field.
_TYPE_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "Optional[str]": lambda value: value is None or isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "Tuple[str, ...]": lambda value: _all_of(value, lambda each: isinstance(each, str)),
    "Tuple[KindKey, ...]": lambda value: _all_of(value, lambda each: isinstance(each, KindKey)),
    "Tuple[KindService, ...]": lambda value: _all_of(
        value, lambda each: isinstance(each, KindService)
    ),
    "Tuple[Tuple[int, str], ...]": lambda value: _all_of(value, _is_port),
}


def _all_of(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(map(fits, value))


def _is_port(value: Any) -> bool:
    is_pair = isinstance(value, tuple) and [type(each) for each in value] == [int, str]
    return is_pair and 0 < value[0] <= _HIGHEST_PORT


def _check_types(value: Any, what: str) -> None:
    """Check that each field has the type of its annotation. Replace lists with tuples.

    Raises:
        ConfigurationError: A field has another type.
    """
    for each in fields(value):
        given = getattr(value, each.name)
        if isinstance(given, list):
            given = tuple(tuple(one) if isinstance(one, list) else one for one in given)
            object.__setattr__(value, each.name, given)
        annotation = str(each.type)
        if not _TYPE_CHECKS[annotation](given):
            raise ConfigurationError(
                one_line(f"{each.name} of {what} is {given!r}, but must be {annotation}")
            )


def _check_kind_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name == UNKNOWN:
        raise ConfigurationError(
            f"{name!r} is not a valid name for a kind of provider",
            hint="use lower-case letters, digits and hyphens, such as 'my-server'; a hyphen"
            f" cannot come first, and {UNKNOWN!r} is reserved",
        )


def _check_keys(kind: ProviderKind) -> None:
    """Check that no two keys share a name, and that no key has the name of the address argument.

    Raises:
        ConfigurationError: Two arguments of the provider would have the same name.
    """
    seen = set() if kind.is_file else {kind.address_argument}
    for key in kind.keys:
        if key.name in seen:
            raise ConfigurationError(
                f"the provider kind {kind.name!r} has two arguments with the name {key.name!r}",
                hint="choose another name for the key",
            )
        seen.add(key.name)


def _check_choice(key: str, field: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        near = did_you_mean(value, list(known))
        raise ConfigurationError(
            f"{field} of the key {key!r} is {value!r}{near}",
            hint=f"choose one of {', '.join(known)}",
        )


def _import(text: str, what: str) -> Any:
    module, _, name = text.partition(":")
    try:
        return getattr(import_module(module), name)
    except BaseException as error:  # an import runs code that may raise any exception
        _raise_callers(error, module)
        problem = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            one_line(f"{what}, {text}, cannot be imported: {problem}"),
            hint="write it as package.module:name, and check that Python can import the module",
        ) from error


#: The exceptions that the import of a module of this package can raise.
_OUR_FAILURES = (ImportError, AttributeError, ValueError)


def _raise_callers(error: BaseException, module: str) -> None:
    """Raise the exception again if it interrupted an import, and was not caused by the module.

    While a module is imported, a signal handler of the caller may run and, for example, call
    ``sys.exit``. Such an exception must not be reported as a failure of the module.
    """
    package = module.partition(".")[0]
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_in = str(frame.f_globals.get("__name__")).partition(".")[0]
    if package == __name__.partition(".")[0]:
        is_own = isinstance(error, _OUR_FAILURES)
    elif isinstance(error, SystemExit):
        is_own = raised_in == package
    else:
        is_own = isinstance(error, Exception)
    if not is_own or is_injected(error):
        raise error


# --- the registry --------------------------------------------------------------------------

_registered: Dict[str, ProviderKind] = {}


def register(kind: ProviderKind) -> None:
    """Add a kind for this process.

    Raises:
        ConfigurationError: The argument is not a `ProviderKind`. Or its name or one of its aliases
            is already the name of a kind, or an alias of a kind that this function has added.
    """
    if not isinstance(kind, ProviderKind):
        raise ConfigurationError(
            f"expected a ProviderKind, got {type(kind).__name__}",
            hint='make one: ProviderKind("name", "Title", "package.module:Class")',
        )
    # The values are copied, because another thread may register a kind during the loop.
    others = list(_registered.values())
    taken = {*_BUILT_IN, *_packaged_kinds()}
    taken.update(name for each in others for name in _all_names(each))
    for name in _all_names(kind):
        if name in taken:
            raise _name_taken(name)
    if _registered.setdefault(kind.name, kind) is not kind:
        raise _name_taken(kind.name)


def _name_taken(name: str) -> ConfigurationError:
    origin = _origin_of(name)
    return ConfigurationError(
        f"there is already a provider kind {name!r}",
        hint=f"that kind {origin}; choose another name for your kind"
        if origin
        else "choose another name for your kind, or unregister the other kind first",
    )


def _origin_of(name: str) -> Optional[str]:
    """Return the origin of a kind as a predicate, such as "is built in", or None.

    None means that `register` added the kind.
    """
    if name in _BUILT_IN:
        return "is built in"
    packaged = _packaged_kinds().get(name, ())
    packages = one_line(" and ".join(each.package for each in packaged))
    return f"is provided by the installed package {packages}" if packages else None


def unregister(name: str) -> None:
    """Remove a kind that `register` added.

    Raises:
        ConfigurationError: `register` did not add a kind with this name.
    """
    if _registered.pop(name, None) is not None:
        return
    origin = _origin_of(name)
    if origin is not None:
        raise ConfigurationError(
            f"the provider kind {name!r} {origin}, so it cannot be unregistered",
            hint="choose another name for your kind",
        )
    raise _unknown_kind(name, list(_registered))


def find(name: str) -> Optional[ProviderKind]:
    """Return the kind with this name or alias, or None.

    Raises:
        ConfigurationError: An installed package provides the kind, but the kind cannot be loaded.
    """
    if name == UNKNOWN:
        return None
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        return _built_in(name)
    if name in _packaged_kinds():
        return _from_package(name)
    return next((each for each in registered() if name in each.aliases), None)


def get(name: str) -> ProviderKind:
    """Return the kind with this name or alias.

    Raises:
        ConfigurationError: There is no such kind, or a package provides the kind, but the kind
            cannot be loaded.
    """
    found = find(name)
    if found is None:
        raise _unknown_kind(name, names())
    return found


def is_built_in(name: str) -> bool:
    """Return whether a kind of this package has this name. Nothing is imported."""
    return name in _BUILT_IN


def find_service(name: str) -> Optional[Tuple[ProviderKind, KindService]]:
    """Return the service with this name, and the kind of its servers; None if there is none.

    This imports every kind.
    """
    pairs = ((kind, each) for kind in registered() for each in kind.services)
    return next((pair for pair in pairs if pair[1].name == name), None)


def public_hosts() -> Tuple[str, ...]:
    """Return the hosts of all services on the internet, in lower case. This imports every kind.

    Raises:
        ConfigurationError: The default address of a kind is invalid.
    """
    found = registered()
    addresses = [each.default_address for each in found if each.is_service]
    addresses += [service.address for each in found for service in each.services]
    hosts = [parse_endpoint(each or "", default_port=443).host for each in addresses]
    return tuple(dict.fromkeys(host.lower() for host in hosts))


def names() -> List[str]:
    """Return the names of all kinds without loading any kind.

    The built-in kinds come first, then the registered kinds, then the kinds that packages provide.
    """
    return list(dict.fromkeys([*_BUILT_IN, *_registered, *_packaged_kinds()]))


def registered() -> List[ProviderKind]:
    """Return all kinds, in the order of `names`.

    If the kind of a package cannot be loaded, it is left out. A `RuntimeWarning` reports this once
    for each kind.
    """
    found = [*map(_built_in, _BUILT_IN), *_registered.values()]
    for name in _packaged_kinds():
        try:
            found += [] if name in _registered else [_from_package(name)]
        except ConfigurationError as error:
            if name not in _warned_kinds:
                _warned_kinds.add(name)
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return found


def _all_names(kind: ProviderKind) -> Tuple[str, ...]:
    return (kind.name, *kind.aliases)


def _built_in(name: str) -> ProviderKind:
    found: ProviderKind = _import(_BUILT_IN[name], f"the provider kind {name!r}")
    return found


def _unknown_kind(name: str, known: Sequence[str]) -> ConfigurationError:
    return ConfigurationError(
        f"there is no provider kind {name!r}{did_you_mean(name, list(known))}",
        hint=f"choose one of {', '.join(known)}"
        if known
        else "register() has added no kind in this process",
    )


# --- kinds of installed packages -------------------------------------------------------------


class _PackagedKind:
    """An entry point for a kind, with the name of the package that provides it."""

    def __init__(self, point: Any, package: str) -> None:
        self.point = point
        self.package = package


_entry_points: Optional[Dict[str, List[_PackagedKind]]] = None
#: For each kind of an installed package, the loaded kind, or the error if loading failed. Each kind
#: is loaded only once.
_loaded: Dict[str, Union[ProviderKind, ConfigurationError]] = {}
#: Names of the kinds for which a warning was issued.
_warned_kinds: Set[str] = set()


def _packaged_kinds() -> Mapping[str, List[_PackagedKind]]:
    """Return the entry points of installed packages, by the name of the kind.

    They are read once per process. An entry point cannot replace a kind of this package. If a
    package is installed twice, the first installation on the module path is used.
    """
    global _entry_points
    if _entry_points is None:
        found: Dict[str, List[_PackagedKind]] = {}
        for each in _read_entry_points():
            others = found.setdefault(each.point.name, [])
            if each.package not in [other.package for other in others]:
                others.append(each)
        _entry_points = {name: found[name] for name in found if name not in _BUILT_IN}
    return _entry_points


def _read_entry_points() -> Iterator[_PackagedKind]:
    from importlib.metadata import distributions  # slow to load, and rarely needed

    for package in distributions(path=_package_folders()):
        for point in package.entry_points:
            if point.group == GROUP:
                yield _PackagedKind(point, str(package.metadata["Name"]))


def _package_folders() -> List[str]:
    """Return the entries of the module path into which packages are installed.

    The current folder and the folder of the script are excluded, because another user may have
    written metadata into them.
    """
    # Some virtual environments have a module `site` without these functions.
    users = getattr(site, "getusersitepackages", str)()
    known = [users, *getattr(site, "getsitepackages", list)()]
    known += [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    real = {os.path.realpath(each) for each in known if each}
    return [entry for entry in sys.path if entry and os.path.realpath(entry) in real]


def _from_package(name: str) -> ProviderKind:
    if name not in _loaded:
        _loaded[name] = _load(_packaged_kinds()[name])
    found = _loaded[name]
    if isinstance(found, ConfigurationError):
        # Each call raises a new error, because an error that is raised again collects tracebacks.
        raise ConfigurationError(found.message, hint=found.hint) from found.__cause__
    return found


def _load(packaged: Sequence[_PackagedKind]) -> Union[ProviderKind, ConfigurationError]:
    """Load the kind of an installed package; return the kind, or the error if that failed."""
    point = packaged[0].point
    if len({each.point.value for each in packaged}) > 1:
        packages = " and ".join(each.package for each in packaged)
        return ConfigurationError(
            one_line(f"the provider kind {point.name!r} is provided by {packages}"),
            hint="uninstall all but one of these packages",
        )
    try:
        kind = point.load()
    except BaseException as error:  # an import runs code that may raise any exception
        _raise_callers(error, point.value.partition(":")[0])
        failure = _broken_entry_point(point, f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    if not isinstance(kind, ProviderKind) or kind.name != point.name:
        return _broken_entry_point(point, f"it is not a ProviderKind with the name {point.name!r}")
    return kind


def _broken_entry_point(point: Any, problem: str) -> ConfigurationError:
    return ConfigurationError(
        one_line(f"the entry point {GROUP}: {point.name} = {point.value} is broken: {problem}"),
        hint="update or remove the package that provides it",
    )
