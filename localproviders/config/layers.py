"""Convert files, variables and arguments to layers: mappings from keys to checked values.

Each value has an origin: the place where it was set.
"""

from __future__ import annotations

from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from localproviders._did_you_mean import did_you_mean
from localproviders._file_owner import TRUSTED_FOLDERS
from localproviders._patterns import pattern
from localproviders._redact import one_line
from localproviders.config.files import Source, Surroundings
from localproviders.config.keys import (
    ANY,
    KEYS,
    OTHER_VARIABLES,
    PREFIX,
    RENAMED,
    SCHEMA,
    SERVER,
    Key,
    Place,
    Schema,
    error_parts,
    is_kind_word,
    keys_of_kinds,
    kind_words,
    variable,
)
from localproviders.config.values import Origin
from localproviders.errors import ConfigurationError
from localproviders.types.limits import Limits, RetryPolicy

KeyPath = Tuple[str, ...]
# Maximum numbers of tables. No configuration needs more, and reading so many takes a fraction of a
# second.
_MOST_SERVERS = 100
_MOST_PROFILES = 100
_MOST_ALIASES = 1000
# Maximum length of a key, because an error message may quote it.
_LONGEST_NAME = 300
_TRUSTED_FOLDERS = ("trusted_folders",)
_SERVER_NAME = pattern(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Entry:
    """A value with its origin. Its repr shows neither, because the value may be an API key.

    Attributes:
        key: The row of its key in the table of keys; None if the entry is a table.
        value: The checked value.
        origin: The place where the value was written.
    """

    __slots__ = ("key", "origin", "value")

    def __init__(self, key: Optional[Key], value: Any, origin: Origin) -> None:
        self.key: Optional[Key] = key
        self.value: Any = value
        self.origin: Origin = origin


Layer = Dict[KeyPath, Entry]


class Layers:
    """The layers of one file: the keys outside of profiles, and the keys of each profile."""

    __slots__ = ("plain", "profiles", "source")

    def __init__(self, source: Source, surroundings: Surroundings) -> None:
        place = Place(surroundings, source.path.parent)
        rest = {name: value for name, value in source.tree.items() if name != "profiles"}
        self.source: Source = source
        _check_numbers(source)
        self.plain: Layer = dict(_walk(rest, place, source.origin))
        self.profiles: Dict[str, Layer] = {}
        for name, table in _profiles(source):
            above = ("profiles", name)
            layer = dict(_walk(table, place, source.origin, above))
            if _TRUSTED_FOLDERS in layer:  # a project's file may add to any profile
                where, path = layer[_TRUSTED_FOLDERS].origin, (*above, *_TRUSTED_FOLDERS)
                raise key_error(
                    where, path, "is not allowed in a profile", "write it above all tables"
                )
            self.profiles[name] = layer

    def entries(self) -> Iterator[Tuple[KeyPath, Entry]]:
        """Yield every entry, including those of all profiles."""
        yield from self.plain.items()
        for layer in self.profiles.values():
            yield from layer.items()


def project_folders(
    sources: Iterable[Optional[Source]], surroundings: Surroundings
) -> Tuple[Path, ...]:
    """Return the folders in which project files of other users are accepted.

    They are the folders in ``LOCALPROVIDERS_TRUSTED_FOLDERS``, or else the `trusted_folders` of the
    last file that has this key.

    Args:
        sources: The system's file and the user's file, in this order; None if a file is missing.
        surroundings: The variables, and the home from which paths with ``~`` start.

    Raises:
        ConfigurationError: The `trusted_folders` of that file are invalid.
    """
    if surroundings.environ.get(TRUSTED_FOLDERS):
        return surroundings.trusted_folders
    (name,) = _TRUSTED_FOLDERS
    found = [source for source in sources if source is not None and name in source.tree]
    if not found:
        return ()
    part = found[-1].with_tree({name: found[-1].tree[name]})
    folders: Tuple[Path, ...] = Layers(part, surroundings).plain[_TRUSTED_FOLDERS].value
    return folders


def servers_in(paths: Iterator[KeyPath]) -> List[str]:
    """Return the names of the servers in the paths of keys, in order and without duplicates."""
    return list(dict.fromkeys(path[1] for path in paths if path[0] == "servers"))


def _check_numbers(source: Source) -> None:
    """Refuse a file with more servers, aliases or profiles than any configuration needs."""
    tables = list(_tables(source.tree))
    for name, most in (("servers", _MOST_SERVERS), ("aliases", _MOST_ALIASES)):
        inner = [table[name] for table in tables if isinstance(table.get(name), Mapping)]
        names = {each for table in inner for each in table}
        _check_number(source, name, len(names), most)
    _check_number(source, "profiles", len(tables) - 1, _MOST_PROFILES)


def _tables(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tree itself, and each profile in it."""
    yield tree
    profiles = tree.get("profiles")
    inner = profiles.values() if isinstance(profiles, Mapping) else ()
    yield from (each for each in inner if isinstance(each, Mapping))


def _check_number(source: Source, name: str, number: int, maximum: int) -> None:
    if number > maximum:
        origin = source.origin((name,))
        raise ConfigurationError(
            f"{origin}: there are {number} {name}, but at most {maximum} are allowed",
            hint=f"remove {number - maximum} of them",
        )


def _profiles(source: Source) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    profiles = source.tree.get("profiles", {})
    tables = profiles if isinstance(profiles, Mapping) else {"": None}
    for name, table in tables.items():
        _check_length(name, source.origin(("profiles",)))
        if not isinstance(table, Mapping):
            path = ("profiles", name) if name else ("profiles",)
            raise key_error(source.origin(path), path, "must be a table", "write [profiles.NAME]")
        if "profiles" in table:
            where = source.origin(("profiles", name, "profiles"))
            raise key_error(where, ("profiles", name), "must not contain profiles", None)
        yield name, table


def _walk(
    table: Mapping[str, Any],
    place: Place,
    origin: Callable[[KeyPath], Origin],
    above: KeyPath = (),
    schema: Schema = SCHEMA,
    path: KeyPath = (),
) -> Iterator[Tuple[KeyPath, Entry]]:
    for given, value in table.items():
        name = str(given)  # the keys of a table in an argument may have any type
        _check_length(name, origin((*above, *path)))
        here, where = (*path, name), origin((*above, *path, name))
        inner = schema.get(ANY, schema.get(name)) or _key_of_kinds(name, schema)
        if inner is None:
            raise _unknown_key(name, schema, (*above, *here), where)
        if isinstance(inner, Key):
            yield here, check_value(inner, here, value, where, place)
            continue
        if not isinstance(value, Mapping):
            rule = "must be a table, but is a single value"
            raise key_error(where, (*above, *here), rule, f"write [{'.'.join((*above, *here))}]")
        if ANY in schema:
            _check_name(name, where)
            yield here, Entry(None, None, where)
        yield from _walk(value, place, origin, above, inner, here)


def _key_of_kinds(name: str, schema: Schema) -> Optional[Key]:
    """Return a server key that only some kinds have, or None. Import all kinds if necessary."""
    own = keys_of_kinds() if schema is SERVER else ()
    return next((key for key in own if key.path[-1] == name), None)


def check_value(key: Key, path: KeyPath, value: Any, origin: Origin, place: Place) -> Entry:
    """Check the value of a key, and return it as an entry.

    Raises:
        ConfigurationError: The value has the wrong type, or is invalid.
    """
    try:
        return Entry(key, key.check(value, place), origin)
    except ValueError as error:
        reason, hint = error_parts(error)
    # The errors of `Limits` begin with the name of the field. The path in `key_error` ends with it.
    reason = reason[len(path[-1]) + 1 :] if reason.startswith(f"{path[-1]} ") else reason
    raise key_error(origin, path, reason, hint or f"write, for example: {key.example}")


def key_error(origin: Origin, path: KeyPath, rule: str, hint: Optional[str]) -> ConfigurationError:
    """Make the error for a key, from its origin, its path, the broken rule and the hint."""
    return ConfigurationError(f"{origin}: {one_line('.'.join(path))} {rule}", hint=hint)


def _unknown_key(name: str, schema: Schema, path: KeyPath, origin: Origin) -> ConfigurationError:
    if schema is SCHEMA and name in RENAMED:
        new = RENAMED[name]
        return ConfigurationError(
            f"{origin}: the key {'.'.join(path)!r} is now called {new!r}",
            hint=f"write {new} = ...",
        )
    known: List[str] = sorted(schema)
    if schema is SCHEMA and len(path) == 1:
        known.append("profiles")
    if schema is SERVER:
        known = sorted([*known, *(key.path[-1] for key in keys_of_kinds())])
    near = did_you_mean(name, known)
    hint = f"the keys of this table are {', '.join(known)}"
    return ConfigurationError(f"{origin}: there is no key {'.'.join(path)!r}{near}", hint=hint)


def _check_length(name: str, origin: Origin) -> None:
    if len(name) > _LONGEST_NAME:
        raise ConfigurationError(
            f"{origin}: a key has {len(name)} characters, but at most {_LONGEST_NAME} are allowed"
        )


def _check_name(name: str, origin: Origin) -> None:
    if not _SERVER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{origin}: {name!r} is not a valid name of a server",
            hint="use letters, digits, - and _, and begin with a letter or a digit: the name comes"
            " before the slash in server/model",
        )


# --- variables and arguments -------------------------------------------------------------


def from_variables(surroundings: Surroundings, servers: List[str]) -> Layer:
    """Read the variables with this package's prefix. An empty variable is ignored.

    Args:
        surroundings: The variables, and the directory from which relative paths start.
        servers: The names of the servers in files and arguments. Variables may configure these
            servers, and may add others.

    Raises:
        ConfigurationError: A variable is unknown, matches several servers, or has an invalid value.
    """
    servers = [*servers, *_new_servers(surroundings.environ, servers)]
    known = _keys_by_variable(servers, KEYS)
    layer: Layer = {}
    for name, text in surroundings.environ.items():
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or not text:
            continue
        origin = Origin(kind="variable", name=name)
        if name not in known:
            known.update(_keys_by_variable(servers, keys_of_kinds()))
        targets = known.get(name)
        if not targets:
            raise _unknown_variable(name, list(known))
        if len(targets) > 1:
            raise ConfigurationError(
                f"{name} matches several servers", hint="rename all but one of them"
            )
        ((path, key),) = targets
        value = key.parse(text) if key.parse else text
        layer[path] = check_value(
            key, path, value, origin, Place(surroundings, surroundings.directory)
        )
    return layer


_ABOVE = PREFIX + "SERVERS_"
_ENDPOINT = "_ENDPOINT"
_NEW_SERVER = pattern(f"{_ABOVE}[A-Z0-9][A-Z0-9_]*{_ENDPOINT}")


def _new_servers(environ: Mapping[str, str], servers: Sequence[str]) -> List[str]:
    """Return the names of servers that exist because a variable contains their address.

    Such a variable is ``LOCALPROVIDERS_SERVERS_NAME_ENDPOINT``. If NAME is not the name of a kind
    or of a service, a second variable must contain the kind. The name of the server is NAME in
    lower case, with ``-`` instead of ``_``.

    Args:
        environ: The variables.
        servers: The names of all other servers.
    """
    known = {variable(("servers", name, "endpoint")) for name in servers}
    new = [name for name in sorted({*environ} - known) if _NEW_SERVER.fullmatch(name)]
    found: List[str] = []
    for name in filter(environ.get, new):
        word = name[len(_ABOVE) : -len(_ENDPOINT)].lower().replace("_", "-")
        if is_kind_word(word) or environ.get(f"{name[: -len(_ENDPOINT)]}_KIND"):
            found.append(word)
    return found


def _unknown_variable(name: str, known: List[str]) -> ConfigurationError:
    for old, new in RENAMED.items():
        if name == variable((old,)):
            new = variable((new,))
            return ConfigurationError(
                f"the variable {name} is now called {new}", hint=f"export {new}=..., unset {name}"
            )
    hint = f"unset {name}"
    if name.startswith(_ABOVE):
        known = [each for each in known if each.startswith(_ABOVE)]
        hint += ", or add its server to a configuration file: [servers.NAME]"
        if _NEW_SERVER.fullmatch(name):
            kinds = ", ".join(kind_words())
            hint += f"; or set {name[: -len(_ENDPOINT)]}_KIND to one of {kinds}"
    return ConfigurationError(f"there is no variable {name}{did_you_mean(name, known)}", hint=hint)


def _keys_by_variable(
    servers: List[str], keys: Sequence[Key]
) -> Dict[str, List[Tuple[KeyPath, Key]]]:
    from_keys: List[Tuple[KeyPath, Key]] = []
    for key in keys:
        if key.parse is not None:
            names = servers if ANY in key.path else [ANY]
            from_keys += [(tuple(n if p == ANY else p for p in key.path), key) for n in names]
    found: Dict[str, List[Tuple[KeyPath, Key]]] = {}
    for path, key in from_keys:
        found.setdefault(variable(path), []).append((path, key))
    return found


def from_arguments(arguments: Mapping[str, Any], surroundings: Surroundings) -> Layer:
    """Read the arguments of `Config.load`. An argument that is None is ignored.

    Raises:
        ConfigurationError: An argument is unknown, or has an invalid value.
    """

    def origin(path: KeyPath) -> Origin:
        return Origin(kind="argument", name=".".join(path))

    given = {name: _to_table(value) for name, value in arguments.items() if value is not None}
    return dict(_walk(given, Place(surroundings, surroundings.directory), origin))


def _to_table(value: Any) -> Any:
    return dict(vars(value)) if isinstance(value, (Limits, RetryPolicy)) else value
