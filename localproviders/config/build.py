"""From layers to values: who wins, what a server inherits, what cannot be together."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from localproviders._record import did_you_mean
from localproviders.config.files import read_project, read_trusted
from localproviders.config.layers import (
    Layer,
    Layers,
    fault,
    from_arguments,
    from_variables,
    servers_in,
)
from localproviders.config.narrow import check_project, locality_of
from localproviders.config.origin import DEFAULT, Origin
from localproviders.config.places import Surroundings
from localproviders.config.secrets import read_key
from localproviders.config.server import KINDS, ServerConfig
from localproviders.errors import ConfigurationError
from localproviders.types.limits import Limits
from localproviders.types.retry import RetryPolicy

# Of these a server can be spoken of without a word about where it is: discovery finds them.
_FOUND = ("ollama", "lmstudio")
# What a model file takes. Its limits and retries are those of the engine's provider.
_OF_A_FILE = frozenset({"kind", "gguf", "model", "locality"})


class Request:
    """What `Config.load` was asked. Its repr shows none of it."""

    __slots__ = ("arguments", "profile", "surroundings")

    def __init__(
        self, profile: Optional[str], surroundings: Surroundings, arguments: Mapping[str, Any]
    ) -> None:
        self.profile = profile
        self.surroundings = surroundings
        self.arguments = dict(arguments)


def read(request: Request) -> Dict[str, Any]:
    """Read the cascade and give the fields of a `Config`.

    Raises:
        ConfigurationError: As `Config.load`.
        LocalityError: As `Config.load`.
        DependencyError: As `Config.load`.
    """
    surroundings = request.surroundings
    sources = (
        read_trusted(surroundings.system_file()),
        read_trusted(surroundings.user_file()),
        read_project(surroundings),
    )
    files = [Layers(source, surroundings) for source in sources if source]
    arguments = from_arguments(request.arguments, surroundings)
    names = servers_in(path for layers in files for path, _ in layers.all())
    variables = from_variables(surroundings, [*names, *servers_in(iter(arguments))])
    profile, said = _profile(request)
    if profile is not None:
        _check_profile(profile, said, files)
    others = _others(files, variables, arguments)
    for project in (layers for layers in files if not layers.source.trusted):
        trusted = [layers for layers in files if layers.source.trusted]
        base = _merged(trusted, variables, profile, arguments)
        check_project(project, base, others, surroundings)
    merged = _merged(files, variables, profile, arguments)
    return {**_fields(merged, surroundings), "profile": profile, "origins": _origins(merged, said)}


def _merged(files: List[Layers], variables: Layer, profile: Optional[str], last: Layer) -> Layer:
    """Lay everything over each other: files, variables, the profile, arguments."""
    merged: Layer = {}
    for layers in files:
        merged.update(layers.plain)
    merged.update(variables)
    for layers in files:
        if profile is not None:
            merged.update(layers.profiles.get(profile, {}))
    merged.update(last)
    return merged


def _others(files: List[Layers], variables: Layer, arguments: Layer) -> List[str]:
    """Give the servers of which somebody else than the project speaks."""
    trusted = [path for layers in files if layers.source.trusted for path, _ in layers.all()]
    return servers_in(iter([*trusted, *variables, *arguments]))


def _profile(request: Request) -> Tuple[Optional[str], Origin]:
    if request.profile is not None:
        return request.profile, Origin(kind="argument", name="profile")
    name = "LOCALPROVIDERS_PROFILE"
    value = request.surroundings.environ.get(name) or None
    return value, Origin(kind="variable", name=name) if value else DEFAULT


def _check_profile(profile: str, said: Origin, files: List[Layers]) -> None:
    known = sorted({name for layers in files for name in layers.profiles})
    if profile not in known:
        near = did_you_mean(profile, known)
        there = f"there are {', '.join(known)}" if known else "no file has any"
        raise ConfigurationError(
            f"{said}: there is no profile {profile!r}{near}",
            hint=f"{there}; write [profiles.{profile}] into your file",
        )


def _origins(merged: Layer, profile: Origin) -> Dict[str, Origin]:
    found = {".".join(path): entry.origin for path, entry in merged.items()}
    for server in servers_in(iter(merged)):
        found[f"servers.{server}.locality"] = locality_of(merged, server).origin
    return found if profile is DEFAULT else {**found, "profile": profile}


def _fields(merged: Layer, surroundings: Surroundings) -> Dict[str, Any]:
    names = servers_in(iter(merged))
    fields = _table(merged, ())
    fallback = fields.setdefault("fallback", tuple(names))
    for name in fallback:
        if name not in names and name not in _FOUND:
            near = did_you_mean(name, [*names, *_FOUND])
            rule = f"names the server {name!r}, which is not configured{near}"
            raise fault(merged["fallback",].origin, ("fallback",), rule, f"write [servers.{name}]")
    fields["aliases"] = {
        path[1]: entry.value for path, entry in merged.items() if path[0] == "aliases"
    }
    fields["limits"] = Limits(**_table(merged, ("limits",)))
    fields["retry"] = RetryPolicy(**_table(merged, ("retry",)))
    fields["servers"] = tuple(_server(name, merged, surroundings) for name in names)
    return fields


def _table(merged: Layer, above: Tuple[str, ...]) -> Dict[str, Any]:
    length = len(above)
    return {
        path[-1]: entry.value
        for path, entry in merged.items()
        if path[:length] == above and len(path) == length + 1 and entry.key is not None
    }


def _server(name: str, merged: Layer, surroundings: Surroundings) -> ServerConfig:
    above = ("servers", name)
    own = _table(merged, above)
    own.setdefault("kind", "gguf" if "gguf" in own else name)
    _check_together(above, own, merged)
    locality = locality_of(merged, name)
    # Where somebody has narrowed it, the proxy is left out.
    if "proxies" in own and locality.origin is DEFAULT:
        rule = 'needs locality = "any": behind a proxy nobody can check where a name leads to'
        where = merged[(*above, "proxies")].origin
        raise fault(where, (*above, "proxies"), rule, 'write locality = "any" for this server')
    if "api_key" in own:
        own["api_key"] = read_key(merged[(*above, "api_key")], surroundings)
    own["limits"] = Limits(**_inherited(merged, above, "limits"))
    own["retry"] = RetryPolicy(**_inherited(merged, above, "retry"))
    return ServerConfig(**{**own, "name": name, "locality": locality.value})


def _inherited(merged: Layer, above: Tuple[str, ...], table: str) -> Dict[str, Any]:
    return {**_table(merged, (table,)), **_table(merged, (*above, table))}


def _check_together(above: Tuple[str, ...], own: Dict[str, Any], merged: Layer) -> None:
    """Refuse what is right by itself, and impossible beside the rest."""
    kind = own["kind"]
    first = next(entry.origin for path, entry in merged.items() if path[:2] == above)
    if kind not in KINDS:
        rule = f"does not say its kind; choose one of {', '.join(KINDS)}"
        raise fault(first, above, rule, 'write, for example: kind = "openai-compatible"')
    foreign = [key for key in own if kind == "gguf" and key not in _OF_A_FILE]
    foreign += ["gguf"] if kind != "gguf" and "gguf" in own else []
    for key in foreign:
        rule = f"means nothing to a server of the kind {kind!r}"
        raise fault(merged[(*above, key)].origin, (*above, key), rule, "remove one of the two")
    needed = {"gguf": "gguf", "openai-compatible": "endpoint"}.get(kind)
    if needed and needed not in own:
        raise fault(first, above, f"has no {needed}", f"write {needed} = ...")
