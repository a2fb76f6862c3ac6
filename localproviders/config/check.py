"""Find all problems of the configuration. `Config.load` stops at the first one.

Each key of a file and each variable is checked separately. If all of them are valid, `Config.load`
checks the values together: it finds, for example, a server without an address. Of these problems,
only the first one is reported.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from localproviders.config.cascade import Config, find_exposed_files
from localproviders.config.files import (
    Source,
    Surroundings,
    find_project_file,
    read_project,
    read_system,
    read_user,
)
from localproviders.config.keys import ANY, OTHER_VARIABLES, PREFIX, SCHEMA
from localproviders.config.layers import (
    KeyPath,
    Layers,
    from_variables,
    project_folders,
    servers_in,
)
from localproviders.config.secrets import check_exposed
from localproviders.errors import ConfigurationError

# The tables that a file may have, including its profiles.
_FILE: Mapping[str, Any] = {**SCHEMA, "profiles": {ANY: SCHEMA}}
# Endings of the names of variables that add servers. Without such a variable, the other variables
# of the server would be errors.
_SERVER_VARIABLES = ("_ENDPOINT", "_KIND")


def find_problems(
    *,
    profile: Optional[str] = None,
    directory: Optional[Path] = None,
    environ: Optional[Mapping[str, str]] = None,
) -> List[ConfigurationError]:
    """Return the problems of the files and variables that `Config.load` reads. Raise none of them.

    The list is empty if there are none. A missing TOML parser is a problem, too. If the files and
    variables have no problem, the API keys are read from their variables, files and commands. Then
    a problem with an API key is returned.

    Args:
        profile: Name of the profile; None uses ``LOCALPROVIDERS_PROFILE``.
        directory: The directory in which the search for a project file starts; None uses the
            current directory.
        environ: The environment variables; None uses the variables of the process.
    """
    surroundings = Surroundings(directory, environ)
    found = _Problems()
    own = _own_sources(surroundings, found)
    folders = _project_folders(own, surroundings)
    project = found.of(partial(read_project, surroundings, folders))
    sources = [source for source in (*own, project) if source is not None]
    for source in sources:
        _check_source(source, surroundings, found)
    _check_variables(sources, surroundings, found)
    if found.errors:
        _check_rights([source for source in own if source], surroundings, found)
    else:
        found.of(partial(Config.load, profile=profile, directory=directory, environ=environ))
    return found.errors


def find_project(surroundings: Surroundings) -> Optional[Path]:
    """Return the path of the project file that `Config.load` reads; None if there is none.

    A file that `Config.load` rejects is returned, too. The folders that are trusted come from the
    variable, or from the system's and the user's file. Errors in these two files are ignored.
    """
    own = _own_sources(surroundings, _Problems())
    return find_project_file(surroundings, _project_folders(own, surroundings))


class _Problems:
    """The errors so far. Errors with the same text are kept only once."""

    def __init__(self) -> None:
        self.errors: List[ConfigurationError] = []

    def of(self, work: Callable[[], Any]) -> Any:
        """Return the result of `work`; if it raises an error, keep the error and return None."""
        try:
            return work()
        except ConfigurationError as error:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)
        return None


def _own_sources(surroundings: Surroundings, found: _Problems) -> List[Optional[Source]]:
    """Read the system's and the user's file, and keep the errors in `found`."""
    return [found.of(partial(read, surroundings)) for read in (read_system, read_user)]


def _project_folders(own: List[Optional[Source]], surroundings: Surroundings) -> Tuple[Path, ...]:
    try:
        return project_folders(own, surroundings)
    except ConfigurationError:  # `_check_source` reports it
        return ()


def _check_source(source: Source, surroundings: Surroundings, found: _Problems) -> None:
    before = len(found.errors)
    for path, value in _leaves(source.tree, _FILE):
        part = source.with_tree(_nested(path, value))
        found.of(partial(Layers, part, surroundings))
    if len(found.errors) == before:  # check the whole file: it may have too many servers
        found.of(partial(Layers, source, surroundings))


def _leaves(
    table: Mapping[str, Any], schema: Mapping[str, Any], path: KeyPath = ()
) -> Iterator[Tuple[KeyPath, Any]]:
    """Yield the path and the value of each key. A table that is the value of a key stays whole."""
    for name, value in table.items():
        inner = schema.get(ANY, schema.get(name))
        if isinstance(value, Mapping) and value and isinstance(inner, Mapping):
            yield from _leaves(value, inner, (*path, name))
        else:
            yield (*path, name), value


def _nested(path: KeyPath, value: Any) -> Dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    found: Dict[str, Any] = value
    return found


def _check_variables(sources: List[Source], surroundings: Surroundings, found: _Problems) -> None:
    paths = (path for source in sources for path, _ in _leaves(source.tree, _FILE))
    names = servers_in(path[2:] if path[0] == "profiles" else path for path in paths if path[1:])
    own = {name: text for name, text in surroundings.environ.items() if name.startswith(PREFIX)}
    servers = {name: text for name, text in own.items() if name.endswith(_SERVER_VARIABLES)}
    for name, text in own.items():
        if name not in OTHER_VARIABLES:
            part = Surroundings(surroundings.directory, _with(surroundings, servers, name, text))
            found.of(partial(from_variables, part, names))


def _with(
    surroundings: Surroundings, servers: Mapping[str, str], name: str, text: str
) -> Dict[str, str]:
    """Return the environment in which one variable is checked, with those that it depends on."""
    others = {n: t for n, t in surroundings.environ.items() if not n.startswith(PREFIX)}
    return {**others, **servers, name: text}


def _check_rights(own: List[Source], surroundings: Surroundings, found: _Problems) -> None:
    """Check that other users cannot read the API keys in files that have no other problem."""
    layers = []
    for source in own:
        try:
            layers.append(Layers(source, surroundings))
        except ConfigurationError:  # it has been reported already
            continue
    exposed = find_exposed_files(layers, surroundings)
    entries = [pair for each in layers for pair in each.entries()]
    found.of(partial(check_exposed, entries, exposed))
