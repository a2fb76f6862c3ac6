"""From tables to layers: each value checked, with its origin. Later layers win."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from localproviders._record import did_you_mean
from localproviders.config.files import Source
from localproviders.config.keys import ANY, KEYS, OTHERS, PREFIX, SCHEMA, Key, Schema, variable
from localproviders.config.kinds import Place, problem
from localproviders.config.origin import Origin
from localproviders.config.places import Surroundings
from localproviders.errors import ConfigurationError
from localproviders.types.limits import Limits
from localproviders.types.retry import RetryPolicy

KeyPath = Tuple[str, ...]
_SERVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Entry:
    """A value with its origin. Its repr shows neither: the value may be a key.

    Attributes:
        key: The row of the table that it belongs to; None for a table as such.
        value: The checked value.
        origin: Where it stands.
    """

    __slots__ = ("key", "origin", "value")

    def __init__(self, key: Optional[Key], value: Any, origin: Origin) -> None:
        self.key = key
        self.value = value
        self.origin = origin


Layer = Dict[KeyPath, Entry]


class Layers:
    """What one file says: outside of profiles, and in each profile."""

    __slots__ = ("plain", "profiles", "source")

    def __init__(self, source: Source, surroundings: Surroundings) -> None:
        place = Place(surroundings, source.path.parent)
        rest = {name: value for name, value in source.tree.items() if name != "profiles"}
        self.source = source
        self.plain: Layer = dict(_walk(rest, place, source.origin))
        self.profiles: Dict[str, Layer] = {}
        for name, table in _profiles(source):
            above = ("profiles", name)
            self.profiles[name] = dict(_walk(table, place, source.origin, above))

    def all(self) -> Iterator[Tuple[KeyPath, Entry]]:
        """Give each entry, of every profile, too."""
        yield from self.plain.items()
        for layer in self.profiles.values():
            yield from layer.items()


def servers_in(paths: Iterator[KeyPath]) -> List[str]:
    """Give the names of the servers that some paths belong to, each once, in order."""
    return list(dict.fromkeys(path[1] for path in paths if path[0] == "servers"))


def _profiles(source: Source) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    profiles = source.tree.get("profiles", {})
    tables = profiles if isinstance(profiles, Mapping) else {"": None}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            path = ("profiles", name) if name else ("profiles",)
            raise fault(source.origin(path), path, "must be a table", "write [profiles.NAME]")
        if "profiles" in table:
            where = source.origin(("profiles", name, "profiles"))
            raise fault(where, ("profiles", name), "holds profiles, and must not", None)
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
        name = str(given)  # an argument's table may have any key
        here, where = (*path, name), origin((*above, *path, name))
        inner = schema.get(ANY, schema.get(name))
        if inner is None:
            raise _unknown(name, schema, (*above, *here), where)
        if isinstance(inner, Key):
            yield here, checked(inner, here, value, where, place)
            continue
        if not isinstance(value, Mapping):
            rule = "is a table, and has one value here"
            raise fault(where, (*above, *here), rule, f"write [{'.'.join((*above, *here))}]")
        if ANY in schema:
            _check_name(name, where)
            yield here, Entry(None, None, where)
        yield from _walk(value, place, origin, above, inner, here)


def checked(key: Key, path: KeyPath, value: Any, origin: Origin, place: Place) -> Entry:
    """Check a value.

    Raises:
        ConfigurationError: It is of the wrong type, or impossible.
    """
    try:
        return Entry(key, key.check(value, place), origin)
    except ValueError as error:
        said, hint = problem(error)
    # `Limits` begins its sentences with the name that the path ends with.
    said = said[len(path[-1]) + 1 :] if said.startswith(f"{path[-1]} ") else said
    raise fault(origin, path, said, hint or f"write, for example: {key.example}")


def fault(origin: Origin, path: KeyPath, rule: str, hint: Optional[str]) -> ConfigurationError:
    """Make the error for a key: its place, its name, the rule, what to try next."""
    return ConfigurationError(f"{origin}: {'.'.join(path)} {rule}", hint=hint)


def _unknown(name: str, schema: Schema, path: KeyPath, origin: Origin) -> ConfigurationError:
    known: List[str] = sorted(schema)
    if schema is SCHEMA and len(path) == 1:
        known.append("profiles")
    near = did_you_mean(name, known)
    hint = f"the keys here are {', '.join(known)}"
    return ConfigurationError(f"{origin}: there is no key {'.'.join(path)!r}{near}", hint=hint)


def _check_name(name: str, origin: Origin) -> None:
    if not _SERVER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{origin}: {name!r} is no name for a server",
            hint="use letters, digits, - and _: it stands before the slash in server/model",
        )


# --- variables and arguments -------------------------------------------------------------


def from_variables(surroundings: Surroundings, servers: List[str]) -> Layer:
    """Read the variables with our prefix; one that is set to nothing says nothing.

    Args:
        surroundings: The variables, and where relative paths begin.
        servers: The servers that a variable may speak of.

    Raises:
        ConfigurationError: A variable is unknown, means two servers, or is impossible.
    """
    known = _variables(servers)
    layer: Layer = {}
    for name, said in surroundings.environ.items():
        if not name.startswith(PREFIX) or name in OTHERS or not said:
            continue
        origin = Origin(kind="variable", name=name)
        targets = known.get(name)
        if not targets:
            raise _no_variable(name, list(known))
        if len(targets) > 1:
            raise ConfigurationError(f"{name} means two servers", hint="rename one of them")
        ((path, key),) = targets
        value = key.parse(said) if key.parse else said
        layer[path] = checked(key, path, value, origin, Place(surroundings, surroundings.directory))
    return layer


def _no_variable(name: str, known: List[str]) -> ConfigurationError:
    hint, above = f"unset {name}", PREFIX + "SERVERS_"
    if name.startswith(above):
        known = [each for each in known if each.startswith(above)]
        hint += ", or name its server in a file first: [servers.NAME]"
    return ConfigurationError(f"there is no variable {name}{did_you_mean(name, known)}", hint=hint)


def _variables(servers: List[str]) -> Dict[str, List[Tuple[KeyPath, Key]]]:
    from_keys: List[Tuple[KeyPath, Key]] = []
    for key in KEYS:
        if key.parse is not None:
            names = servers if ANY in key.path else [ANY]
            from_keys += [(tuple(n if p == ANY else p for p in key.path), key) for n in names]
    found: Dict[str, List[Tuple[KeyPath, Key]]] = {}
    for path, key in from_keys:
        found.setdefault(variable(path), []).append((path, key))
    return found


def from_arguments(arguments: Mapping[str, Any], surroundings: Surroundings) -> Layer:
    """Read the arguments of `Config.load`; one that is None says nothing.

    Raises:
        ConfigurationError: An argument is unknown, or impossible.
    """

    def origin(path: KeyPath) -> Origin:
        return Origin(kind="argument", name=".".join(path))

    given = {name: _as_table(value) for name, value in arguments.items() if value is not None}
    return dict(_walk(given, Place(surroundings, surroundings.directory), origin))


def _as_table(value: Any) -> Any:
    return dict(vars(value)) if isinstance(value, (Limits, RetryPolicy)) else value
