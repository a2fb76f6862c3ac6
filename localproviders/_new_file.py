"""A file that appears under its name only when it is complete.

The content is written to a temporary file in the same folder, and the temporary file is then
renamed. If the process is killed before that, a file of this name keeps its old content, and a
missing file stays missing. The temporary file that a killed process left is removed when another
`NewFile` is made in the same folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from typing import Any, BinaryIO, Optional, Union

from localproviders._interrupts import is_callers

_NAME = re.compile(r"\.localproviders-new-[0-9a-f]{16}\.tmp")

_Path = Union[str, "os.PathLike[str]"]


class NewFile:
    """A new file, open for writing, that gets its name when it is complete.

    Use it in a ``with`` block: at the end of the block the file gets its name, or is removed if
    the block raised an exception. A symbolic link is followed. The rights of a replaced file are
    kept; a new file has the rights that the umask allows.

    Args:
        path: Name of the file. Its folder must exist.
        replace: Whether a file of this name may be replaced.

    Raises:
        FileExistsError: There is a file of this name, and `replace` is false. `commit` raises it,
            too, if another process made the file in the meantime.
        OSError: The file cannot be created or written.
    """

    def __init__(self, path: _Path, *, replace: bool = False) -> None:
        self.path = os.path.realpath(os.fspath(path))
        self._replaces = replace
        if os.path.isdir(self.path) or not os.path.basename(os.fspath(path)):
            raise IsADirectoryError(21, "it is a folder", os.fspath(path))
        if _exists(self.path) and not replace:
            raise FileExistsError(17, "it exists already", os.fspath(path))
        folder = os.path.dirname(self.path)
        _remove_leftovers(folder)
        self.file: BinaryIO = _create(folder)
        with contextlib.suppress(OSError):
            before = os.lstat(self.path)
            if stat.S_ISREG(before.st_mode) and hasattr(os, "fchmod"):  # not on Windows
                os.fchmod(self.file.fileno(), before.st_mode & 0o777)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, kind: Optional[type], *_: Any) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()

    def sync(self) -> None:
        """Write the content to the disk. Raise `OSError` if the disk is full, before the rename."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def commit(self) -> None:
        """Write the content to the disk, and rename the file. Do nothing the second time."""
        if self.file.closed:
            return
        self.sync()
        # Windows cannot rename an open file. Elsewhere, the file keeps its lock until it has its
        # name, so that no other process removes it as a leftover.
        if os.name == "nt":
            self.file.close()
        if self._replaces:
            os.replace(self.file.name, self.path)
        else:
            rename_to_unused(self.file.name, self.path)
        self.file.close()
        _write_folder(os.path.dirname(self.path))

    def discard(self) -> None:
        """Remove the temporary file. Do nothing if the file has its final name already."""
        if not self.file.closed:
            with contextlib.suppress(OSError):
                os.remove(self.file.name)
            # Closing the file writes the rest of its buffer, which fails if the disk is full.
            with contextlib.suppress(OSError):
                self.file.close()


def _exists(path: str) -> bool:
    """Return whether a file has this name.

    Raises:
        OSError: The name cannot be looked up; for example, it is too long.
    """
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)
        return True
    return False


def _create(folder: str) -> BinaryIO:
    while True:
        name = os.path.join(folder, f".localproviders-new-{secrets.token_hex(8)}.tmp")
        # `tempfile` is not used: only the owner can read its files.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(name, flags, 0o666)
        # The descriptor is opened, not the name: another user may have put another file there.
        file = open(name, "wb", opener=lambda *_, found=descriptor: found)  # noqa: SIM115  # closed by `NewFile`
        _lock(descriptor, waits=True)
        # Before the file was locked, another process may have removed it as a leftover.
        if os.path.exists(name):
            return file
        file.close()


def _lock(descriptor: int, *, waits: bool = False) -> bool:
    """Try to lock a file, and return whether the file is locked.

    The system releases the lock when the file is closed, and when the process ends.

    Args:
        descriptor: Descriptor of the open file.
        waits: Whether to wait while another process holds the lock.
    """
    try:
        import fcntl  # not on Windows, where leftovers stay

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _remove_leftovers(folder: str) -> None:
    """Remove the temporary files of processes that have ended.

    A running process has locked its file, so its file is kept.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_leftover(entry.path)


def _remove_leftover(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if _lock(descriptor):
            os.remove(path)
    finally:
        os.close(descriptor)


def rename_to_unused(temporary: str, path: str) -> None:
    """Rename a file, unless the name is in use.

    Raises:
        FileExistsError: The name is in use. The file keeps its temporary name.
        OSError: The file cannot be renamed.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(17, "it was created in the meantime", path) from None
    except OSError as error:
        if is_callers(error):
            raise
        _rename_without_links(temporary, path)  # the file system has no hard links
    else:
        os.remove(temporary)


def _rename_without_links(temporary: str, path: str) -> None:
    # `os.replace` also replaces a file that another process has just created. So an empty file
    # takes the name first: then no other process can create a file of this name.
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise FileExistsError(17, "it was created in the meantime", path) from None
    try:
        os.replace(temporary, path)
    except BaseException:
        # An exception of a signal handler may come after the rename, when the file is complete.
        if os.path.lexists(temporary):
            with contextlib.suppress(OSError):
                os.remove(path)
        raise


def _write_folder(folder: str) -> None:
    """Write the entries of a folder to the disk, where the system supports this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
