"""Check, before a file is read, that other users cannot have written it.

Configuration files, files with API keys, and cached models decide where prompts are sent, which
commands run and which model reads a prompt. Such a file is trusted only if no user except this one
and root can change it. Files in trusted folders, and all files on Windows, are exceptions. A file
is opened once, checked while it is open, and then read through the same descriptor. So if another
file takes its name between the check and the read, that file is not read.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._redact import one_line
from localproviders.errors import ConfigurationError

#: The environment variable that lists trusted folders, separated as in ``PATH``. In these folders,
#: files of other users are trusted, too.
TRUSTED_FOLDERS = "LOCALPROVIDERS_TRUSTED_FOLDERS"

# The number of symbolic links that Linux follows in one path.
_MAX_LINKS = 40
_KIND_WORDS = {stat.S_IFDIR: "its folder ", stat.S_IFLNK: "the link "}


class _Entry(NamedTuple):
    """A file, a link or a folder that `check_owner` checks, with its status.

    Attributes:
        path: The absolute path of the file or the link, or the real path of the folder.
        status: The result of `os.fstat` or `os.lstat`.
        real: The path without symbolic links. If the entry is itself a link, only the links in
            the path of its folder are resolved.
    """

    path: str
    status: os.stat_result
    real: str


def trusted_folders(environ: Mapping[str, str]) -> Tuple[Path, ...]:
    """Return the absolute folders that ``LOCALPROVIDERS_TRUSTED_FOLDERS`` lists.

    Relative paths are ignored.
    """
    words = environ.get(TRUSTED_FOLDERS, "").split(os.pathsep)
    # On Windows, a path without a drive is not absolute: it means a folder of the current drive.
    return tuple(Path(word) for word in words if Path(word).is_absolute())


def is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a path is in one of the folders, at any depth, after resolving links."""
    real = Path(os.path.realpath(path))
    return any(Path(os.path.realpath(folder)) in real.parents for folder in folders)


def is_trusted(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a file is in one of the folders, both by its path and after resolving links.

    If the path is a link, the folder of the link and the file itself must be in these folders.
    """
    return is_inside(path, folders) and is_within(path.parent, folders)


def is_within(folder: Path, folders: Iterable[Path]) -> bool:
    """Return whether a folder is one of the folders or inside one, after resolving links."""
    return _is_within(os.path.realpath(folder), folders)


def _is_within(real: str, folders: Iterable[Path]) -> bool:
    candidates = {Path(real), *Path(real).parents}
    return any(Path(os.path.realpath(folder)) in candidates for folder in folders)


def check_owner(descriptor: int, path: Path, trusted: Iterable[Path] = ()) -> None:
    """Check that only this user and root can change or replace an open file.

    The check covers the open file, its folder, each symbolic link on the way to it, and, if the
    path itself is a link, the folder of that link. Each of them must belong to this user or to
    root, and must not be writable by others. A group counts as others, unless it is the private
    group of this user. A folder with the sticky bit, such as ``/tmp``, may be writable by others,
    because only the owner of a file can replace it there.

    Nothing is checked on Windows, where Python does not report owners and modes in this form.

    Args:
        descriptor: The open file.
        path: The path that the file was opened with.
        trusted: Folders in which files, links and folders of other users are accepted. A link
            outside these folders is checked even if it leads into one of them.

    Raises:
        ConfigurationError: Another user can change or replace the file, or it was replaced
            during the check. The message names the path and the broken rule; the hint has the
            command that corrects it.
        OSError: The status of a folder cannot be read.
    """
    if os.name != "posix":
        return
    for entry in _entries(os.fstat(descriptor), path):
        if not _is_within(entry.real, trusted):
            _check_entry(entry, path)


def _entries(opened: os.stat_result, path: Path) -> Iterator[_Entry]:
    """Yield the open file, the links on the way to it, and the folders to check.

    Raises:
        ConfigurationError: The path does not lead to the open file any longer.
    """
    name = os.path.abspath(path)
    links: List[_Entry] = []
    names = _resolve(name, links)
    real = names[-1]
    yield _Entry(name, opened, real)
    yield from links
    for folder in dict.fromkeys(os.path.dirname(each) for each in names):
        yield _Entry(folder, os.lstat(folder), folder)
    # If the path now leads to another file, the folders just checked are not the folders of the
    # open file, and the check proves nothing.
    if not os.path.samestat(opened, os.stat(real)):
        raise ConfigurationError(
            f"{one_line(name)} was replaced while it was read", hint="try again"
        )


def _resolve(name: str, links: List[_Entry]) -> List[str]:
    """Resolve a path link by link, and append each link on the way to `links`.

    Returns:
        The paths whose folders must be checked. The last one is always the real path of the file.
        If the path itself is a link, the path and each further link to which it leads come first.
    """
    names: List[str] = []
    found, parts = os.sep, name.split(os.sep)[::-1]
    while parts:
        part = parts.pop()
        if part in ("", os.curdir, os.pardir):
            found = os.path.dirname(found) if part == os.pardir else found
            continue
        path = os.path.join(found, part)
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            found = path
            continue
        links.append(_Entry(path, status, path))
        names += [path] if not parts else []
        if len(links) > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        target = os.readlink(path)
        found = os.sep if os.path.isabs(target) else found
        parts += target.split(os.sep)[::-1]
    return [*names, found]


def _check_entry(entry: _Entry, path: Path) -> None:
    status = entry.status
    kind = _KIND_WORDS.get(stat.S_IFMT(status.st_mode), "")
    if stat.S_ISDIR(status.st_mode) and entry.path == os.path.abspath(path):
        kind = ""  # the caller checks this folder itself, not a file in it
    subject = one_line(f"{path} is not trusted: {kind}{entry.path if kind else 'it'}")
    name = one_line(quote(entry.path))
    link = "-h " if stat.S_ISLNK(status.st_mode) else ""  # without -h, chown changes the target
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"{subject} belongs to {_user_name(status.st_uid)}, but must belong to this user or "
            "root",
            hint=f"check its content, then run: sudo chown {link}{_user_name(os.geteuid())} {name};"
            f" or add its folder to {TRUSTED_FOLDERS}",
        )
    if _is_writable_by_others(entry):
        raise ConfigurationError(
            f"{subject} can be written by other users, which is not safe",
            hint=f"chmod go-w {name}; or add its folder to {TRUSTED_FOLDERS}",
        )


def _is_writable_by_others(entry: _Entry) -> bool:
    mode = entry.status.st_mode
    if stat.S_ISLNK(mode):  # the system ignores the mode of a link
        return False
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return False
    if mode & stat.S_IWOTH:
        return True
    return bool(mode & stat.S_IWGRP) and not _is_private_group(entry)


def _is_private_group(entry: _Entry) -> bool:
    """Return whether this user is the only member of the group of a file or folder.

    Many Linux distributions create such a group for each user and make new files group-writable.
    If the file has an access control list, the group bits of its mode show the mask of the list,
    not the rights of the group. The result is then False.
    """
    if _has_access_list(entry.path):
        return False
    import grp  # missing on Windows, and only needed for group-writable files
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(entry.status.st_gid)
    except KeyError:
        return False
    is_own = group.gr_gid == user.pw_gid and group.gr_name == user.pw_name
    # `gr_mem` does not list users whose primary group this is, so every user is examined.
    users = {each.pw_uid for each in pwd.getpwall() if each.pw_gid == group.gr_gid}
    return is_own and not set(group.gr_mem) - {user.pw_name} and users == {user.pw_uid}


def _has_access_list(path: str) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except (AttributeError, OSError):  # not Linux, or a file system without attributes
        return False


def _user_name(number: int) -> str:
    import pwd  # missing on Windows

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def why_exposed(opened: os.stat_result) -> Optional[str]:
    """Return why the permissions of a file with an API key are too wide; None if they are not.

    A file of root that others can read is accepted, because Docker and similar systems give the
    secrets of a container the owner root and the mode 0444. If this user is root, such a file is
    accepted only if it is read-only.
    """
    if os.name != "posix" or not opened.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    is_provided = os.geteuid() != 0 or not opened.st_mode & 0o222
    if opened.st_uid == 0 and is_provided:
        return None
    return "others can read it"


# Flags for opening a file. Flags that the system does not have are left out. With O_NONBLOCK,
# opening a named pipe does not block. With O_NOCTTY, a terminal does not become the controlling
# terminal of this process. With O_BINARY, Windows does not convert line ends.
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


class OpenFile:
    """A regular file that is open for reading.

    Attributes:
        path: The path that the file was opened with.
        status: The result of `os.fstat` for the open file.
    """

    __slots__ = ("_descriptor", "path", "status")

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self.status = os.fstat(descriptor)

    @property
    def is_own(self) -> bool:
        """Whether the file belongs to this user; always True on Windows."""
        return os.name != "posix" or self.status.st_uid == os.geteuid()

    def check_owner(self, trusted: Iterable[Path]) -> None:
        """Check that only this user and root can change or replace the file.

        Args:
            trusted: Folders in which files, links and folders of other users are accepted.

        Raises:
            ConfigurationError: Another user can change or replace the file.
            OSError: The status of a folder cannot be read.
        """
        check_owner(self._descriptor, self.path, trusted)

    def read(self, longest: int) -> bytes:
        """Return the content, or its first `longest` bytes if it is longer."""
        pieces: List[bytes] = []
        remaining = longest
        while remaining > 0:
            piece = os.read(self._descriptor, remaining)
            if not piece:
                break
            pieces.append(piece)
            remaining -= len(piece)
        return b"".join(pieces)


@contextmanager
def opened(path: Path, name: str) -> Iterator[OpenFile]:
    """Open a regular file for the duration of a ``with`` block.

    Args:
        path: The file.
        name: Name of the file in an error message.

    Raises:
        ConfigurationError: The path does not lead to a regular file.
        OSError: The file cannot be opened.
    """
    # The type of the file is checked before opening, because opening some devices has side effects.
    _check_regular(os.stat(path), name)
    descriptor = os.open(path, _FLAGS)
    try:
        file = OpenFile(descriptor, path)
        _check_regular(file.status, name)  # the path may have changed since the first check
        yield file
    finally:
        os.close(descriptor)


def _check_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{name} is not a regular file", hint="remove or rename it")
