"""What a project file may say: it comes with other people's work, so it may only narrow.

Whoever unpacks an archive and runs a script in it must not send prompts, keys or a
certificate's trust elsewhere by that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, Optional, Set

from localproviders._http.address import allows, parse_endpoint
from localproviders.config.layers import Entry, KeyPath, Layer, Layers, fault
from localproviders.config.origin import DEFAULT
from localproviders.config.places import Surroundings
from localproviders.errors import LocalityError

# Together they say where a server is, and a key of the user's would go there.
_WHERE = ("kind", "endpoint", "gguf")
# What `LMStudioProvider` reads by itself, and sends to wherever it is told.
_TOKENS = ("LM_API_TOKEN", "LMSTUDIO_API_TOKEN")
_USUAL_PORT = 1234
# Not all of loopback: at ::1, or at 127.0.0.2, anybody on this machine can listen beside it.
_USUAL_HOSTS = ("127.0.0.1", "localhost")
_HINT = "write it into your own file, a variable or an argument"


def locality_of(layer: Layer, server: Optional[str] = None) -> Entry:
    """Give the entry that says where prompts may go; the narrower one where two are written.

    Args:
        layer: All layers in one.
        server: For this server; None for the whole.
    """
    whole = layer.get(("locality",))
    own = layer.get(("servers", server, "locality")) if server else None
    if own and (not whole or allows(whole.value, own.value)):
        return own
    return whole or Entry(None, "loopback", DEFAULT)


def check_project(
    project: Layers, trusted: Layer, known: Iterable[str], surroundings: Surroundings
) -> None:
    """Refuse a project file that does more than narrow, with all that is in it.

    Args:
        project: The file.
        trusted: Everything that others say, in one layer.
        known: The servers that others speak of.
        surroundings: The variables.

    Raises:
        LocalityError: An endpoint is beyond loopback, or a locality is wider than without
            this file.
        ConfigurationError: It has a key, trust or a proxy; says where a server is of which
            others speak; or names a model file beside its own directory.
    """
    others = set(known)
    tokens = any(surroundings.environ.get(name) for name in _TOKENS)
    for path, entry in project.all():
        if entry.key is not None and not entry.key.in_project:
            raise fault(entry.origin, path, "must not stand in a project file", _HINT)
        _check_locality(path, entry, trusted)
        if path[0] == "servers" and path[2:] and path[2] in _WHERE:
            _check_where(path, entry, others)
            _CHECKS.get(path[2], _anything)(path, entry, project.source.path.parent)
    if tokens:
        _check_tokens(project)


def _check_locality(path: KeyPath, entry: Entry, trusted: Layer) -> None:
    if path[-1] != "locality" or entry.key is None:
        return
    allowed = locality_of(trusted, path[1] if path[0] == "servers" else None).value
    if not allows(allowed, entry.value):
        rule = f"is {entry.value!r}, and a project file may only narrow {allowed!r}"
        raise _beyond(entry, path, rule)


def _beyond(entry: Entry, path: KeyPath, rule: str) -> LocalityError:
    return LocalityError(f"{entry.origin}: {'.'.join(path)} {rule}", hint=_HINT)


def _check_where(path: KeyPath, entry: Entry, others: Set[str]) -> None:
    if path[1] in others:
        rule = "says where a server is that is defined outside of this project file"
        raise fault(entry.origin, path, rule, "give the project's server another name")


def _check_endpoint(path: KeyPath, entry: Entry, _: Path) -> None:
    if not parse_endpoint(entry.value, default_port=80).is_loopback:
        raise _beyond(entry, path, "leads beyond loopback, and a project file must not")


def _check_gguf(path: KeyPath, entry: Entry, folder: Path) -> None:
    # By the letters first: to look at some paths is to ask a machine elsewhere.
    file = entry.value
    inside = ".." not in file.parts and folder in file.parents
    # Not `Path.resolve`, which has no answer for a link that leads to itself.
    if not inside or Path(os.path.realpath(folder)) not in Path(os.path.realpath(file)).parents:
        rule = "leaves the directory of the project file, and must not"
        raise fault(entry.origin, path, rule, _HINT)


def _anything(path: KeyPath, entry: Entry, folder: Path) -> None:
    """Nothing more to check."""


_CHECKS = {"endpoint": _check_endpoint, "gguf": _check_gguf}


def _check_tokens(project: Layers) -> None:
    """Refuse another place for LM Studio while the user's token for it would go there."""
    # In any profile: which of them is chosen is not the file's to say.
    kinds = [(path[1], entry.value) for path, entry in project.all() if path[2:] == ("kind",)]
    studios = {"lmstudio", *(name for name, kind in kinds if kind == "lmstudio")}
    for path, entry in project.all():
        if path[2:] != ("endpoint",) or path[1] not in studios:
            continue
        place = parse_endpoint(entry.value, default_port=_USUAL_PORT)
        if place.port != _USUAL_PORT or place.host not in _USUAL_HOSTS:
            rule = f"would get the token of {' or '.join(_TOKENS)}"
            raise fault(entry.origin, path, rule, _HINT)
