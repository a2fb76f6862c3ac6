"""A configuration file, read and parsed, with the line of each of its keys."""

from __future__ import annotations

import re
import stat
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from localproviders.config.lines import lines_of
from localproviders.config.origin import Origin
from localproviders.config.places import PROJECT_FILE, Surroundings
from localproviders.errors import ConfigurationError, DependencyError
from localproviders.secret import Unseen

# No configuration is longer, and a hostile one must not fill the memory.
_MOST_BYTES = 1024 * 1024
# A parser takes time and memory by the square of the parts of a dotted key.
_MOST_STEPS = 10_000_000
_TABLE = ("tool", "localproviders")
# Whether a pyproject.toml may have our table; others are not parsed at all. It stands behind
# its full name, or somewhere below [tool]; a dependency of this name does not.
_OURS = re.compile(
    rb"""\btool["']?[ \t]*\.[ \t]*["']?localproviders\b"""
    rb"""|^[ \t]*\[[ \t]*["']?tool["']?[ \t]*\]|^[ \t]*["']?tool["']?[ \t]*=""",
    re.MULTILINE,
)


class Source:
    """A file's content. Its repr shows none, because it may hold keys.

    Attributes:
        path: The file.
        tree: Its tables. Texts in it do not show themselves.
        trusted: Whether it is the user's or the system's, not a project's.
    """

    __slots__ = ("_lines", "_prefix", "path", "tree", "trusted")

    def __init__(
        self,
        path: Path,
        tree: Mapping[str, Any],
        lines: Mapping[Tuple[str, ...], int],
        trusted: bool,
        prefix: Tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.tree = tree
        self.trusted = trusted
        self._lines = lines
        self._prefix = prefix

    def origin(self, key: Tuple[str, ...]) -> Origin:
        """Say where a key of the tree stands: in which line, where that is certain."""
        return Origin(kind="file", file=self.path, line=self._lines.get((*self._prefix, *key)))


def _unseen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _unseen(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_unseen(each) for each in value]
    return Unseen(value) if isinstance(value, str) else value


def read_trusted(path: Optional[Path]) -> Optional[Source]:
    """Read the system's or the user's file; None where there is none.

    Raises:
        ConfigurationError: It cannot be read, or is no TOML.
        DependencyError: This Python has no TOML parser.
    """
    content = None if path is None else _content(path)
    if path is None or content is None:
        return None
    return Source(path, *_parsed(path, content), trusted=True)


def read_project(surroundings: Surroundings) -> Optional[Source]:
    """Find and read the nearest project file, upwards from the directory.

    Raises:
        ConfigurationError: A file on the way cannot be read or is no TOML, or both files
            of one directory configure this package.
        DependencyError: This Python has no TOML parser.
    """
    for folder in surroundings.upwards():
        own, shared = _own(folder / PROJECT_FILE), _shared(folder / "pyproject.toml")
        if own and shared:
            raise ConfigurationError(
                f"{own.path} and {shared.origin(())} both configure this project",
                hint=f"keep one of them: {PROJECT_FILE}, or [tool.localproviders]",
            )
        if own or shared:
            return own or shared
    return None


def _own(path: Path) -> Optional[Source]:
    content = _content(path)
    return None if content is None else Source(path, *_parsed(path, content), trusted=False)


def _shared(path: Path) -> Optional[Source]:
    content = _content(path)
    if content is None or b"localproviders" not in content or not _OURS.search(content):
        return None
    tree, lines = _parsed(path, content)
    table = tree.get("tool", {})
    table = table.get("localproviders") if isinstance(table, Mapping) else None
    if table is None:
        return None
    source = Source(path, table if isinstance(table, Mapping) else {}, lines, False, _TABLE)
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{source.origin(())}: tool.localproviders must be a table")
    return source


def _mode(path: Path) -> Optional[int]:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # a service may have a home that it must not look into


def _content(path: Path) -> Optional[bytes]:
    """Give what is in a file; None where there is no such file."""
    try:
        mode = _mode(path)
        if mode is None:
            return None
        if not stat.S_ISREG(mode):  # a pipe would never end
            raise ConfigurationError(f"{path} is no regular file", hint="remove or rename it")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            hint="make it readable for this user, or remove it",
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(f"{path} is longer than 1 MiB, and must be a configuration file")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise ConfigurationError(f"{path}, line {line}: it is not UTF-8", hint="save the file as UTF-8")


def _parsed(path: Path, content: bytes) -> Tuple[Dict[str, Any], Dict[Tuple[str, ...], int]]:
    text = _text(path, content)
    loads = _parser(path)
    try:
        if sum(line.count(".") ** 2 for line in text.split("\n")) > _MOST_STEPS:
            raise RecursionError
        tree = _unseen(loads(text))
    except RecursionError:
        reason, line = "it is nested too deeply", None
    except ValueError as error:
        reason, line = _complaint(str(error))
    else:
        return tree, lines_of(text, tree, loads)
    where = Origin(kind="file", file=path, line=line)
    raise ConfigurationError(
        f"{where}: it is no TOML: {reason}", hint='TOML writes name = "text" and [table]'
    )


def _complaint(message: str) -> Tuple[str, Optional[int]]:
    """Take the line out of a parser's message, which quotes no values."""
    found = re.search(r" ?\(at line (\d+), column \d+\)", message)
    return (message.replace(found.group(), ""), int(found.group(1))) if found else (message, None)


def _parser(path: Path) -> Callable[[str], Dict[str, Any]]:
    # Loaded here, because most scripts never read a file.
    for name in ("tomllib", "tomli"):
        try:
            return import_module(name).loads  # type: ignore[no-any-return]  # which one is not known
        except ImportError:
            continue
    raise DependencyError(
        f"{path} is there, but this Python has no TOML parser",
        hint="install the extra config: python -m pip install tomli",
    )
