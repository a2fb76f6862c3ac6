"""Check that a project file sets only what such a file may set.

Other people may have written this file. If a user unpacks an archive and runs a script in it, a
project file in the archive must not send prompts or API keys elsewhere, or make the script trust
another certificate. In the table
of keys, the field `Key.project` is a word that says what a project file may do with the key.
`CHECKS` has a function for each word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, FrozenSet, Iterable, Mapping, NamedTuple, Optional, Tuple

from localproviders import kinds
from localproviders._address import allows, parse_endpoint
from localproviders._file_owner import is_inside
from localproviders.config.files import Source
from localproviders.config.layers import Entry, KeyPath, Layer, Layers, key_error
from localproviders.config.values import DEFAULT
from localproviders.errors import LocalityError
from localproviders.types.limits import Limits, RetryPolicy

_DEFAULTS: Mapping[str, Any] = {"limits": Limits(), "retry": RetryPolicy()}
_HINT = "set it in your own configuration file, in an environment variable or as an argument"
_FOLDER_HINT = "set it in your own configuration file, or add this folder to trusted_folders there"


_SERVICE_RULE = "is a service on the internet, which a project file must not choose"


class _CheckContext(NamedTuple):
    """A project file, and the facts about the other layers that its checks need.

    Attributes:
        source: The project file.
        base: All other layers, merged.
        servers: The names of the servers in other layers.
        aliases: The names of the aliases in other layers.
        kinds: Pairs of a server and its kind, from the project file including all its profiles.
    """

    source: Source
    base: Layer
    servers: FrozenSet[str]
    aliases: FrozenSet[str]
    kinds: FrozenSet[Tuple[str, str]]

    def has_server(self, name: str) -> bool:
        """Return whether another layer has this server, or discovery can find it."""
        return name in self.servers or has_default_address(name)


def has_default_address(name: str) -> bool:
    """Return whether this is the name of a kind of servers that have a default address.

    Discovery finds such a server without configuration. The result is False for a service on the
    internet, because discovery does not search for services.
    """
    kind = kinds.find(name)
    return kind is not None and kind.default_address is not None and not kind.is_service


def _is_service(name: str) -> bool:
    """Return whether this is the name of a service on the internet."""
    kind = kinds.find(name)
    return kinds.find_service(name) is not None if kind is None else kind.is_service


def locality_of(layer: Layer, server: str = "") -> Entry:
    """Return the entry of the locality that applies to a server, or in general.

    If the server has a locality and there is a general one, too, the narrower one applies.

    Args:
        layer: All layers, merged.
        server: Name of a server; empty for the general locality.
    """
    general = layer.get(("locality",))
    own = layer.get(("servers", server, "locality")) if server else None
    if own and (not general or allows(general.value, own.value)):
        return own
    return general or Entry(None, "loopback", DEFAULT)


def check_project(project: Layers, base: Layer, others: Iterable[KeyPath]) -> None:
    """Check each key of a project file by the word in its `Key.project`.

    One key that breaks a rule makes the whole file invalid.

    Args:
        project: The project file.
        base: All other layers, merged.
        others: The paths of all keys in other layers, including those of all profiles.

    Raises:
        LocalityError: The file widens a locality, or has an endpoint outside the locality.
        ConfigurationError: The file has a key that is not allowed in a project file.
    """
    written = [path for path in others if len(path) > 1]
    entries = list(project.entries())
    context = _CheckContext(
        source=project.source,
        base=base,
        servers=frozenset(path[1] for path in written if path[0] == "servers"),
        aliases=frozenset(path[1] for path in written if path[0] == "aliases"),
        # This includes all profiles, because the user can select any of them later.
        kinds=frozenset((path[1], e.value) for path, e in entries if path[2:] == ("kind",)),
    )
    for path, entry in entries:
        if entry.key is None:
            _check_server_name(path, entry, context)
        else:
            CHECKS[entry.key.project](path, entry, context)


def keep_smaller_numbers(project: Layers, base: Layer) -> None:
    """Remove each number from a project file unless it is below the number that it replaces."""
    project.plain = _without_larger_numbers(project.plain, base)
    project.profiles = {
        name: _without_larger_numbers(each, base) for name, each in project.profiles.items()
    }


def _without_larger_numbers(layer: Layer, base: Layer) -> Layer:
    return {
        path: entry
        for path, entry in layer.items()
        if entry.key is None
        or entry.key.project != "smaller"
        or entry.value < _number_without_project(path, base)
    }


def _number_without_project(path: KeyPath, base: Layer) -> float:
    """Return the number that applies without the project file: the server's, or the general one."""
    entry = base.get(path) or base.get(path[-2:])
    number: float = getattr(_DEFAULTS[path[-2]], path[-1]) if entry is None else entry.value
    return number


# --- one check for each word in `Key.project` -----------------------------------------------


def _check_server_name(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    if context.has_server(path[1]):
        return
    if not context.source.in_trusted_folder:
        rule = "is a new server, which a project file may define only in a trusted folder"
        raise key_error(entry.origin, path, rule, _FOLDER_HINT)
    if _is_service(path[1]):
        raise key_error(entry.origin, path, _SERVICE_RULE, _HINT)


def _accept(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    """Accept the key. Some of these keys are checked later, when all layers are merged."""


def _refuse(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    raise key_error(entry.origin, path, "is not allowed in a project file", _HINT)


def _check_narrower(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    allowed = locality_of(context.base, path[1] if path[0] == "servers" else "").value
    if not allows(allowed, entry.value):
        rule = f"is {entry.value!r}, but a project file may only narrow the locality {allowed!r}"
        raise _locality_error(entry, path, rule)


def _check_new_alias(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    name = path[1]
    if "/" in name:
        rule = "has a slash, so it could be mistaken for server/model"
    elif name in context.aliases:
        rule = "would replace an alias that is defined outside of this project file"
    elif context.has_server(name) or kinds.find(name) is not None:
        rule = "is also the name of a server or of a provider kind"
    else:
        return
    raise key_error(entry.origin, path, rule, "give the project's alias another name")


def _check_new_server(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    if not context.source.in_trusted_folder:
        raise key_error(entry.origin, path, "is not allowed in a project file", _FOLDER_HINT)
    if context.has_server(path[1]):
        rule = "changes a server that is defined outside of this project file"
        raise key_error(entry.origin, path, rule, "give the project's server another name")
    if path[2] == "endpoint":
        _check_endpoint(path, entry, context)
    elif path[2] == "kind" and _is_service(entry.value):
        raise key_error(entry.origin, path, _SERVICE_RULE, _HINT)
    elif isinstance(entry.value, Path):
        _check_file(path, entry, context)


def _check_endpoint(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    place = parse_endpoint(entry.value, default_port=80)
    if place.socket_path:
        # Behind a socket there may be a service that obeys every local client, such as a
        # container engine.
        rule = "is a UNIX socket, which a project file must not name"
        raise key_error(entry.origin, path, rule, _HINT)
    variable, keyless_hint = _key_sent_to(path[1], place.host.lower().rstrip("."), context)
    if variable:  # the provider would read the key from this variable and send it
        rule = f"would receive the key in {variable}"
        own_file = "set it in your own configuration file"
        hint = "; ".join(filter(None, (own_file, keyless_hint)))
        raise key_error(entry.origin, path, rule, hint)
    # Wider localities are checked later, when the IP address of the host is known.
    if locality_of(context.base, path[1]).value == "loopback" and not place.is_loopback:
        raise _locality_error(
            entry, path, "must be a loopback address, because the locality is 'loopback'"
        )


def _key_sent_to(
    server: str, host: str, context: _CheckContext
) -> Tuple[Optional[str], Optional[str]]:
    """Return the variable whose API key a provider would send to this host, and a hint.

    Both are None if no provider would send a key from the environment there.
    """
    for kind in kinds.registered():
        is_of_kind = server == kind.name or (server, kind.name) in context.kinds
        if kind.key_variables and (host in kind.key_hosts if kind.key_hosts else is_of_kind):
            return kind.key_variables[0], kind.keyless_hint
        for service in kind.services:
            # An endpoint may also be the name of a service.
            hosts = (service.name, parse_endpoint(service.address, default_port=443).host)
            if service.key_variables and host in hosts:
                return service.key_variables[0], None
    return None, None


def _check_file(path: KeyPath, entry: Entry, context: _CheckContext) -> None:
    # Compare the text first: on Windows, opening a path such as //host/share contacts that host.
    file, folder = entry.value, context.source.path.parent
    inside = ".." not in file.parts and folder in file.parents
    # `Path.resolve` is not used, because it fails on a symbolic link to itself.
    if not inside or not is_inside(file, [folder]):
        rule = "must stay inside the directory of the project file"
        raise key_error(entry.origin, path, rule, _HINT)


#: The check for each word of `keys.PROJECT`.
CHECKS: Mapping[str, Callable[[KeyPath, Entry, _CheckContext], None]] = {
    "yes": _accept,
    "no": _refuse,
    "narrower": _check_narrower,
    "smaller": _accept,  # see `keep_smaller_numbers`
    "choose": _accept,  # see `check_choices`
    "add": _check_new_alias,
    "own": _check_new_server,
}


def _locality_error(entry: Entry, path: KeyPath, rule: str) -> LocalityError:
    error = key_error(entry.origin, path, rule, _HINT)
    return LocalityError(error.message, hint=error.hint)


# --- after all layers are merged ------------------------------------------------------------


def check_choices(merged: Layer, servers: Iterable[str]) -> None:
    """Check the servers to which models, aliases and `fallback` of an untrusted project file refer.

    Args:
        merged: All layers, merged.
        servers: The names of the configured servers.

    Raises:
        LocalityError: The file chooses a server whose locality is wider than the
            configuration's.
    """
    names = frozenset(servers)
    general = locality_of(merged).value
    for path, entry in merged.items():
        if entry.key is None or not entry.origin.is_untrusted:
            continue
        for server in sorted(_chosen(path, entry, merged, names)):
            locality = locality_of(merged, server).value
            if not allows(general, locality):
                rule = f"chooses {server}, whose locality {locality!r} is wider than {general!r}"
                error = key_error(entry.origin, path, rule, _FOLDER_HINT)
                raise LocalityError(error.message, hint=error.hint)


def _chosen(path: KeyPath, entry: Entry, merged: Layer, servers: FrozenSet[str]) -> Iterable[str]:
    """Return the configured servers to which the value of a key refers."""
    names: Tuple[str, ...] = ()
    if path == ("fallback",) or path[0] == "aliases":
        names = entry.value
    elif path == ("model",):
        alias = merged.get(("aliases", entry.value))
        names = (entry.value,) if alias is None else alias.value
    elif path[2:] == ("model",):
        names = (path[1],)
    # The name of a server never contains a slash, so the first slash ends it.
    return servers.intersection(name.partition("/")[0] for name in names)
