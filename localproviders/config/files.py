"""Find and parse the configuration files, and find the line of each key.

This is the only module from which `Config.load` gets variables, directories and files.
"""

from __future__ import annotations

import copy
import os
import re
import stat
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from localproviders._file_owner import (
    TRUSTED_FOLDERS,
    OpenFile,
    is_trusted,
    is_within,
    opened,
    trusted_folders,
)
from localproviders._patterns import pattern
from localproviders._redact import one_line
from localproviders.config.values import Origin
from localproviders.errors import ConfigurationError, DependencyError
from localproviders.secret import Unseen

FILE = "config.toml"
PROJECT_FILE = "localproviders.toml"

#: Path of the system's file, by `sys.platform`. Other platforms follow the Filesystem Hierarchy
#: Standard.
SYSTEM: Mapping[str, str] = {
    "darwin": "/Library/Application Support/localproviders/" + FILE,
    "win32": "%PROGRAMDATA%/localproviders/" + FILE,
}
SYSTEM_ELSEWHERE = "/etc/localproviders/" + FILE


class Surroundings:
    """The environment variables and directories that one `Config.load` uses.

    The repr hides them, because variables can contain API keys.

    Attributes:
        environ: The environment variables.
        directory: The directory in which the search for a project file starts. Relative paths in
            variables and arguments are relative to it. None if it depends on the current
            directory, and that directory was deleted.
        platform: The value of `sys.platform`.
    """

    __slots__ = ("directory", "environ", "platform")

    def __init__(self, directory: Optional[Path], environ: Optional[Mapping[str, str]]) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.platform = sys.platform
        try:
            self.directory: Optional[Path] = Path(os.path.abspath(directory or Path.cwd()))
        except FileNotFoundError:  # the current directory was deleted
            self.directory = None

    @property
    def home(self) -> Optional[Path]:
        """The home directory that a variable names; None if it is not set or is relative."""
        name = "USERPROFILE" if self.platform == "win32" else "HOME"
        return self._absolute(name)

    @property
    def trusted_folders(self) -> Tuple[Path, ...]:
        """The folders of the variable ``LOCALPROVIDERS_TRUSTED_FOLDERS``."""
        return trusted_folders(self.environ)

    @property
    def is_system_file_open(self) -> bool:
        """Whether any user of this machine can create the system's file."""
        return self.platform == "win32"

    def _absolute(self, variable: str) -> Optional[Path]:
        text = self.environ.get(variable, "")
        # The XDG Base Directory Specification says that relative paths must be ignored.
        return Path(text) if text and os.path.isabs(text) else None

    def system_file(self) -> Optional[Path]:
        """Return the path of the system's file, whether it exists or not; None if unknown."""
        if self.platform == "win32":
            base = self._absolute("PROGRAMDATA")
            return base and base / "localproviders" / FILE
        return Path(SYSTEM.get(self.platform, SYSTEM_ELSEWHERE))

    def user_file(self) -> Optional[Path]:
        """Return the path of the user's file, whether it exists or not; None if unknown."""
        if self.platform == "win32":
            base = self._absolute("APPDATA")
        elif self.platform == "darwin":
            base = self.home and self.home / "Library" / "Application Support"
        else:
            base = self._absolute("XDG_CONFIG_HOME") or (self.home and self.home / ".config")
        return base and base / "localproviders" / FILE

    def folders_to_search(self, trusted: Iterable[Path] = ()) -> Iterator[Path]:
        """Yield the directory and its parents, up to and including the home or the root.

        On Windows the owner of a file is not checked, and other users can create files in most
        folders. There, only folders in the home or in a trusted folder are yielded.

        Args:
            trusted: Folders in which files of other users are accepted.
        """
        if self.directory is None:
            return
        # The path of the current directory has no symbolic links, but the path of the home may have
        # some. So the home is compared without its links.
        home = self.home and Path(os.path.realpath(self.home))
        own = [*trusted, *([home] if home else [])]
        chain: List[Path] = [self.directory, *self.directory.parents]
        for folder in chain:
            if self.platform == "win32" and not is_within(folder, own):
                return
            yield folder
            if home and os.path.realpath(folder) == str(home):
                return

    def expand(self, text: str, base: Optional[Path]) -> Path:
        """Make a path absolute. ``~`` means the home; other relative paths start at `base`.

        Raises:
            ValueError: The path is relative to a home or a directory that is unknown.
        """
        head, _, tail = text.replace("\\", "/").partition("/") if text[:1] == "~" else ("", "", "")
        if head == "~":
            if self.home is None:
                raise ValueError("begins with ~, but no variable contains the home directory")
            return self.home / tail
        if os.path.isabs(text):
            return Path(text)
        if base is None:
            raise ValueError("must be an absolute path, because the current directory was deleted")
        return base / text


# Maximum size of a file. A configuration needs far less, and a file of this size does not fill the
# memory.
_MOST_BYTES = 1024 * 1024
# A parser needs time and memory proportional to the square of the number of parts of a dotted key.
# So the dots of each line are counted and squared. This is the maximum sum of these squares.
_MOST_STEPS = 1_000_000
# Maximum number of keys, list entries and tables; parsing each takes a few microseconds.
_MOST_ELEMENTS = 20_000
_ELEMENT = pattern(rb"[=,[]")
# A file that contains this many opening brackets in a row can exceed the recursion limit.
_DEEPEST = "[" * 500
_TOO_DEEP = "its values are nested too deeply"
# In old versions of Python, parsing a number takes time proportional to the square of the
# number of its digits.
_LONG_NUMBER = pattern(rb"(?<![0-9_])[0-9_]{4000}")
# Maximum number of parts of a key whose line is recorded. No valid key has more parts, and the cost
# of recording grows with the square of their number.
_MOST_PARTS = 16
# A line that starts with the header of a table, or with a key and its value.
_KEY = r"""(?:[\w-]+|"[^"\\]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_TABLE_LINE = rf"\[\[?[ \t]*(?P<table>{_DOTTED})[ \t]*\]\]?[ \t\r]*(?:#|$)"
_LINE = pattern(rf"[ \t]*(?:{_TABLE_LINE}|(?P<key>{_DOTTED})[ \t]*=)")
_PYPROJECT = "pyproject.toml"
_TABLE = ("tool", "localproviders")
_OTHERS_MODE = stat.S_IRWXG | stat.S_IRWXO
# Matches a pyproject.toml that may contain the table of this package; other files are not parsed
# at all. The header of the table is [tool.localproviders], or the table is part of [tool]. A
# dependency on this package must not match.
_TABLE_PATTERN = pattern(
    rb"""\btool["']?[ \t]*\.[ \t]*["']?localproviders\b"""
    rb"""|^(?:\xef\xbb\xbf)?[ \t]*(?:\[[ \t]*["']?tool["']?[ \t]*\]|["']?tool["']?[ \t]*=)""",
    re.MULTILINE,
)


class Source:
    """A parsed file. Its repr does not show the content, which may include API keys.

    Attributes:
        path: The path of the file.
        tree: The tables of the file. The strings in it have a repr that hides their text.
        of_project: Whether this is a project's file, not the user's or the system's.
        in_trusted_folder: Whether a project's file is in a trusted folder.
        is_readable: Whether the mode of the file gives other users any permission; always False
            on Windows.
    """

    __slots__ = (
        "_lines",
        "_prefix",
        "in_trusted_folder",
        "is_readable",
        "of_project",
        "path",
        "tree",
    )

    def __init__(
        self,
        found: _ReadFile,
        tree: Mapping[str, Any],
        lines: Mapping[Tuple[str, ...], int],
        *,
        of_project: bool = False,
        in_trusted_folder: bool = False,
        prefix: Tuple[str, ...] = (),
    ) -> None:
        self.path: Path = found.path
        self.tree: Mapping[str, Any] = tree
        self.of_project: bool = of_project
        self.in_trusted_folder: bool = in_trusted_folder
        self.is_readable: bool = os.name == "posix" and bool(found.mode & _OTHERS_MODE)
        self._lines = lines
        self._prefix = prefix

    def origin(self, key: Tuple[str, ...]) -> Origin:
        """Return the origin of a key: its line, or the line of the table that contains it."""
        path = (*self._prefix, *key)
        above = (path[:length] for length in range(len(path), 0, -1))
        return Origin(
            kind="file",
            file=self.path,
            line=next((self._lines[each] for each in above if each in self._lines), None),
            of_project=self.of_project,
            in_trusted_folder=self.in_trusted_folder,
        )

    def with_tree(self, tree: Mapping[str, Any]) -> Source:
        """Return the same file with other tables, for example with only some of its tables."""
        found = copy.copy(self)
        found.tree = tree
        return found


class _ReadFile(NamedTuple):
    """A file that was read: its bytes, its mode, and the error if its owner is not trusted."""

    path: Path
    content: bytes
    mode: int
    in_trusted_folder: bool
    owner_error: Optional[ConfigurationError] = None


def _hide_strings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hide_strings(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_hide_strings(each) for each in value]
    return Unseen(value) if isinstance(value, str) else value


def read_system(surroundings: Surroundings) -> Optional[Source]:
    """Read the system's file; return None if it does not exist.

    Raises:
        ConfigurationError: The file cannot be read, is not valid TOML, or is rejected because
            other users could have written it.
        DependencyError: No TOML parser is installed, and this Python includes none.
    """
    path, folders = surroundings.system_file(), surroundings.trusted_folders
    found = None if path is None else _read(path, folders)
    if found is None:
        return None
    if surroundings.is_system_file_open and not found.in_trusted_folder:
        raise ConfigurationError(
            f"{one_line(str(path))} is not trusted: on this system any user can create this file",
            hint=f"check the file, then add its folder to {TRUSTED_FOLDERS}, or remove the file",
        )
    return _parse_trusted(found)


def read_user(surroundings: Surroundings) -> Optional[Source]:
    """Read the user's file; return None if it does not exist.

    Raises:
        ConfigurationError: The file cannot be read, is not valid TOML, or is rejected because
            other users could have written it.
        DependencyError: No TOML parser is installed, and this Python includes none.
    """
    path = surroundings.user_file()
    found = None if path is None else _read(path, surroundings.trusted_folders)
    return None if found is None else _parse_trusted(found)


def _parse_trusted(found: _ReadFile) -> Source:
    if found.owner_error is not None:
        raise found.owner_error
    return Source(found, *_parse(found.path, found.content))


def read_project(surroundings: Surroundings, trusted: Iterable[Path]) -> Optional[Source]:
    """Find and read the nearest project file, in the directory or its parents.

    Args:
        surroundings: The directory in which the search starts, and the home, where it ends.
        trusted: Folders in which files of other users are accepted.

    Raises:
        ConfigurationError: A project file in one of these directories cannot be read, is not
            valid TOML, or is rejected because other users could have written it. Or both project
            files of one directory configure this package.
        DependencyError: No TOML parser is installed, and this Python includes none.
    """
    folders = tuple(trusted)
    for folder in surroundings.folders_to_search(folders):
        own, shared = (
            _read_project_file(folder / PROJECT_FILE, folders),
            _read_pyproject(folder / _PYPROJECT, folders),
        )
        if own and shared:
            raise ConfigurationError(
                f"{own.origin(())} and {shared.origin(())} both configure this project",
                hint=f"keep one of them: {PROJECT_FILE}, or [tool.localproviders]",
            )
        if own or shared:
            return own or shared
    return None


def find_project_file(surroundings: Surroundings, trusted: Iterable[Path]) -> Optional[Path]:
    """Return the path of the nearest project file, usable or not; None if there is none.

    A ``pyproject.toml`` counts only if it may have the table of this package.

    Args:
        surroundings: The directory in which the search starts, and the home, where it ends.
        trusted: Folders in which files of other users are accepted.
    """
    folders = tuple(trusted)
    for folder in surroundings.folders_to_search(folders):
        if _exists(folder / PROJECT_FILE):
            return folder / PROJECT_FILE
        try:
            found = _read(folder / _PYPROJECT, folders)
        except ConfigurationError:
            continue
        if found is not None and _has_our_table(found.content):
            return found.path
    return None


def _read_project_file(path: Path, folders: Tuple[Path, ...]) -> Optional[Source]:
    found = _read(path, folders)
    if found is None:
        return None
    if found.owner_error is not None:
        raise found.owner_error
    parsed = _parse(path, found.content)
    return Source(found, *parsed, of_project=True, in_trusted_folder=found.in_trusted_folder)


def _read_pyproject(path: Path, folders: Tuple[Path, ...]) -> Optional[Source]:
    try:
        found = _read(path, folders)
    except ConfigurationError:
        if _is_of_another_user(path, folders):
            return None  # an untrusted file never configures this package
        raise
    if found is None or not _has_our_table(found.content):
        return None
    try:
        source = _parse_our_table(found)
    except ConfigurationError:
        if found.owner_error is None:
            raise
        raise found.owner_error from None
    # Reject another user's file only if it contains our table. Without the table, it is an
    # ordinary file of a project, which this package ignores.
    if source is not None and found.owner_error is not None:
        raise found.owner_error
    return source


def _is_of_another_user(path: Path, folders: Tuple[Path, ...]) -> bool:
    """Return whether a file, or a link to it, belongs neither to this user nor to root.

    Return False for a file in a trusted folder, and on Windows.
    """
    if os.name != "posix" or is_trusted(path, folders):
        return False
    try:
        owners = {get_status(path).st_uid for get_status in (os.lstat, os.stat)}
    except OSError:  # a symbolic link to itself
        owners = {os.lstat(path).st_uid}
    return not owners <= {os.geteuid(), 0}


def _has_our_table(content: bytes) -> bool:
    return b"localproviders" in content and _TABLE_PATTERN.search(content) is not None


def _parse_our_table(found: _ReadFile) -> Optional[Source]:
    tree, lines = _parse(found.path, found.content)
    table = tree.get("tool", {})
    table = table.get("localproviders") if isinstance(table, Mapping) else None
    if table is None:
        return None
    source = Source(
        found,
        table if isinstance(table, Mapping) else {},
        lines,
        of_project=True,
        in_trusted_folder=found.in_trusted_folder,
        prefix=_TABLE,
    )
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{source.origin(())}: tool.localproviders must be a table")
    return source


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False  # PermissionError: for example, a service that cannot read its home directory
    return True


def _read(path: Path, folders: Iterable[Path]) -> Optional[_ReadFile]:
    """Read a file, and check its owner while it is open; return None if it does not exist."""
    name = one_line(str(path))
    try:
        if not _exists(path):
            return None
        with opened(path, name) as file:
            owner_error, in_trusted_folder = _owner_error(file, folders), is_trusted(path, folders)
            content, mode = file.read(_MOST_BYTES + 1), file.status.st_mode
    except OSError as error:
        raise ConfigurationError(
            f"{name} cannot be read: {error.strerror}",
            hint="make the file readable for this user, or remove the file",
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(f"{name} is longer than 1 MiB, too long for a configuration file")
    return _ReadFile(path, content, mode, in_trusted_folder, owner_error)


def _owner_error(file: OpenFile, folders: Iterable[Path]) -> Optional[ConfigurationError]:
    """Return the error if the owner of a file is not trusted; otherwise None."""
    try:
        file.check_owner(folders)
    except ConfigurationError as error:
        return error.with_traceback(None)
    return None


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # some editors write a byte order mark first
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    where = Origin(kind="file", file=path, line=line)
    raise ConfigurationError(f"{where}: the file is not UTF-8", hint="save the file as UTF-8")


def _is_deep(text: str) -> bool:
    return _DEEPEST in text or sum(line.count(".") ** 2 for line in text.split("\n")) > _MOST_STEPS


def _check_size(path: Path, content: bytes) -> None:
    """Refuse a file that would keep a parser busy for more than a second."""
    if next(islice(_ELEMENT.finditer(content), _MOST_ELEMENTS, None), None) is not None:
        raise ConfigurationError(
            f"{one_line(str(path))} has more than {_MOST_ELEMENTS:,} keys, tables and list entries",
            hint="remove some of them: a configuration usually has a few dozen",
        )
    long = _LONG_NUMBER.search(content)
    if long is not None:
        line = content.count(b"\n", 0, long.start()) + 1
        where = Origin(kind="file", file=path, line=line)
        raise ConfigurationError(f"{where}: the number has 4,000 or more digits")


def _parse(path: Path, content: bytes) -> Tuple[Dict[str, Any], Dict[Tuple[str, ...], int]]:
    text = _decode(path, content)
    loads = _import_parser(path)
    if _is_deep(text):
        raise _toml_error(path, None, _TOO_DEEP)
    _check_size(path, content)
    try:
        tree = _hide_strings(loads(text))
    except RecursionError:
        reason, line = _TOO_DEEP, None
    except ValueError as error:
        reason, line = _split_message(str(error))
    else:
        return tree, _lines_of(text)
    raise _toml_error(path, line, reason)


def _lines_of(text: str) -> Dict[Tuple[str, ...], int]:
    """Return the line number, from 1, of each key and table that starts a line.

    The parsers do not report the line of a key, so this function searches the text for it. If the
    file contains multi-line strings, the result is empty, because their lines can look like keys.
    """
    lines: Dict[Tuple[str, ...], int] = {}
    above: Tuple[str, ...] = ()
    has_no_multiline_string = '"""' not in text and "'''" not in text
    for number, line in enumerate(text.split("\n") if has_no_multiline_string else [], start=1):
        found = _LINE.match(line)
        if found is not None:
            names = re.findall(_KEY, found["table"] or found["key"])
            path = (*(() if found["table"] else above), *(name.strip("\"'") for name in names))
            above = path if found["table"] else above
            for length in range(1, len(path) + 1 if len(path) <= _MOST_PARTS else 0):
                lines.setdefault(path[:length], number)
    return lines


def _toml_error(path: Path, line: Optional[int], reason: str) -> ConfigurationError:
    where = Origin(kind="file", file=path, line=line)
    return ConfigurationError(
        f"{where}: the file cannot be parsed as TOML: {reason}",
        hint='write a key as name = "text", and the header of a table as [table]',
    )


def _split_message(message: str) -> Tuple[str, Optional[int]]:
    """Split the message of a TOML parser into the reason and the line number.

    Such messages never quote values of the file.
    """
    found = re.search(r" ?\(at line (\d+), column \d+\)", message)
    return (message.replace(found.group(), ""), int(found.group(1))) if found else (message, None)


def _import_parser(path: Path) -> Callable[[str], Dict[str, Any]]:
    # The parser is imported here, because most scripts never read a configuration file.
    for name in ("tomllib", "tomli"):
        try:
            return import_module(name).loads  # type: ignore[no-any-return]  # either of two modules
        except ImportError:
            continue
    raise DependencyError(
        f"{one_line(str(path))} cannot be read, because this Python has no TOML parser",
        hint='to install the extra "config", run: python -m pip install tomli',
    )
