"""The file of a conversation: one line for each turn, appended under a lock."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from shlex import quote
from typing import Iterator, List, NamedTuple, Sequence, Tuple, Union

from localproviders._file_owner import opened
from localproviders._interrupts import is_callers
from localproviders._lock import Lock, path_text
from localproviders._new_file import rename_to_unused
from localproviders._redact import one_line
from localproviders.conversation.turns import LINE_START, Turn, line_of, read_line
from localproviders.errors import ConfigurationError, IntegrityError, LockHeldError

_PathLike = Union[str, "os.PathLike[str]"]

_CHUNK = 1024 * 1024


class Content(NamedTuple):
    """The content of a file.

    Attributes:
        turns: The turns of all complete lines.
        good: Length in bytes of the complete lines.
        rest: The bytes after the complete lines: an incomplete line, or nothing.
        line: Number of the incomplete line, from 1.
    """

    turns: Tuple[Turn, ...]
    good: int
    rest: bytes
    line: int


class _State(NamedTuple):
    """The state of the file, as this process left it.

    Attributes:
        good: Length in bytes of the complete lines, which stay in the file.
        removable: Bytes that this package may remove. The file may have all of them after the
            complete lines, or only the first ones, or none.
        written: Number of turns in the complete lines.
    """

    good: int
    removable: bytes
    written: int


def parse(path: str, data: bytes) -> Content:
    """Return the turns of a file, and its incomplete last line.

    Raises:
        ConfigurationError: The first line is no turn, so the file is not from this package.
        IntegrityError: A line after a turn is not a turn, so another program changed it.
    """
    *lines, rest = data.split(b"\n")
    turns: List[Turn] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            turns.append(_read(path, line, number, is_known=bool(turns)))
    good = len(data) - len(rest)
    if rest.strip(b"\0") and not _is_cut_off(rest):
        # Only the line end is missing: an editor may have removed it.
        turns.append(_read(path, rest, len(lines) + 1, is_known=bool(turns)))
        good, rest = len(data), b""
    return Content(tuple(turns), good, rest, len(lines) + 1)


def _is_cut_off(rest: bytes) -> bool:
    """Return whether the last bytes of a file are the beginning of a line of this package.

    After a loss of power, zeros may follow the part that was written.
    """
    rest = rest.rstrip(b"\0")
    if not (rest.startswith(LINE_START) or LINE_START.startswith(rest)):
        return False
    try:
        read_line(rest)
    except ValueError:
        return True
    return False


def _read(path: str, line: bytes, number: int, *, is_known: bool) -> Turn:
    try:
        return read_line(line)
    except ValueError as error:
        found = f"line {number} of {path!r} has {error}"
    if is_known:
        raise IntegrityError(
            f"{found}: the file was changed",
            hint=f"look at the line, and remove it if it is not needed: "
            f"sed -n {number}p {_word(path)}",
            path=path,
            line=number,
        )
    raise ConfigurationError(
        f"{found}: the file is no conversation",
        hint=f"choose another file, or look at this one: head -n {number} {_word(path)}",
    )


def _word(path: str) -> str:
    return one_line(quote(path))


def read(path: _PathLike) -> Content:
    """Read a file without a lock, while another process may append to it.

    Raises:
        ConfigurationError: The file cannot be read, or was not written by this package.
        IntegrityError: Another program changed a line.
    """
    name = path_text(path)
    try:
        with opened(Path(name), repr(name)) as file:
            return parse(name, file.read(file.status.st_size))
    except (OSError, ValueError) as error:
        if is_callers(error) or isinstance(error, ConfigurationError):
            raise
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise ConfigurationError(
            f"{name!r} cannot be read: {reason}", hint=f"ls -l {_word(name)}"
        ) from None


class ConversationFile:
    """An open file of a conversation, which this process has locked.

    A new file may be read and written only by its owner. A symbolic link is refused.

    Args:
        path: Path of the file.
        wait_s: Seconds to wait for another process that has the file open.

    Attributes:
        path: The path, as a string.
        content: The content of the file when it was opened.

    Raises:
        LockHeldError: Another process has the file open.
        ConfigurationError: The file cannot be opened, or was not written by this package.
        IntegrityError: Another program changed a line.
    """

    def __init__(self, path: _PathLike, wait_s: float) -> None:
        self._lock = Lock(path, wait_s, is_data=True)
        self._is_closed = False
        self.path: str = self._lock.path
        self._lock.acquire()
        try:
            self.content = parse(self.path, self._read_from(0))
        except BaseException:
            self._lock.release()
            raise
        self._state = _State(self.content.good, self.content.rest, len(self.content.turns))

    @property
    def written(self) -> int:
        """Number of turns that are in the file."""
        return self._state.written

    @property
    def is_open(self) -> bool:
        """Whether this process has the file open and locked; False in a forked child."""
        return self._lock.is_held

    def check(self) -> None:
        """Check that the file has not changed since the last line was written.

        Raises:
            ConfigurationError: The file was closed.
            LockHeldError: This process does not have the file open, because it was forked from the
                process that does.
            IntegrityError: Another program changed, removed or replaced the file.
        """
        if self._is_closed:
            raise ConfigurationError(
                f"{self.path!r} was closed before this turn was written",
                hint="read a streamed answer to its end before the conversation is closed",
            )
        with self._named_errors():
            if not self._lock.is_held:
                raise LockHeldError(
                    f"{self.path!r} is locked by the parent of this process",
                    hint="open the conversation in the process that uses it",
                    path=self.path,
                )
            if not self._is_unchanged():
                raise IntegrityError(
                    f"another program changed, removed or replaced {self.path!r}",
                    hint="save the conversation under another name, and compare the two files",
                    path=self.path,
                )

    def _is_unchanged(self) -> bool:
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return False
        own = os.fstat(self._lock.fileno())
        if not os.path.samestat(status, own) or own.st_size < self._state.good:
            return False
        return self._state.removable.startswith(self._read_from(self._state.good))

    def _read_from(self, start: int) -> bytes:
        descriptor = self._lock.fileno()
        pieces: List[bytes] = []
        os.lseek(descriptor, start, os.SEEK_SET)
        while True:
            piece = os.read(descriptor, _CHUNK)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    def append(self, turns: Sequence[Turn]) -> None:
        """Append the turns that are not yet in the file, with one write.

        An incomplete line is removed first. The data is on the disk when this method returns. If
        the method fails, the file is as before, or has an incomplete last line, which the next call
        removes.

        Args:
            turns: All turns of the conversation, those in the file first.

        Raises:
            OSError: The disk is full, or the file cannot be written.
            ConfigurationError: The file was closed.
            LockHeldError: This process was forked from the process that has the file open.
            IntegrityError: Another program changed, removed or replaced the file.
        """
        self.check()
        good, _, written = self._state
        data = b"".join(map(line_of, turns[written:]))
        with self._named_errors():
            if good and not self._ends_with_line_end():
                data = b"\n" + data
            os.ftruncate(self._lock.fileno(), good)
            self._state = _State(good, data, written)
            _write(self._lock.fileno(), data)
            os.fsync(self._lock.fileno())
        # An exception of a signal handler may come before this line. Then the next call removes the
        # data, and writes it again. This is a single assignment, so that no exception can come in
        # the middle of it.
        self._state = _State(good + len(data), b"", len(turns))

    def _ends_with_line_end(self) -> bool:
        os.lseek(self._lock.fileno(), self._state.good - 1, os.SEEK_SET)
        return os.read(self._lock.fileno(), 1) == b"\n"

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the path to each `OSError` that lacks it."""
        try:
            yield
        except OSError as error:
            if error.errno is not None and error.filename is None and not is_callers(error):
                raise OSError(error.errno, error.strerror, self.path) from error
            raise

    def close(self) -> None:
        """Close the file, which releases its lock. This method may be called again."""
        self._is_closed = True
        self._lock.release()


def _write(descriptor: int, data: bytes) -> None:
    while data:  # on a full disk, a write may be incomplete; the next write then fails
        data = data[os.write(descriptor, data) :]


def save(path: _PathLike, turns: Sequence[Turn], *, replace: bool) -> None:
    """Write turns to a new file, which appears complete or not at all.

    Raises:
        ConfigurationError: The file exists and `replace` is False, or it cannot be created.
        LockHeldError: A conversation has the file open.
        OSError: The disk is full, or the file cannot be written.
    """
    name = path_text(path)
    if os.path.lexists(name):
        if not replace:
            raise _exists(name)
        with Lock(name, is_data=True):  # refuses links, and files of open conversations
            pass
    folder, base = os.path.split(name)
    # The temporary name is always the same. So if a save is killed, the next one reuses its file.
    temporary = Lock(os.path.join(folder, f".{base}.localproviders-tmp"), is_data=True)
    with temporary:
        try:
            os.ftruncate(temporary.fileno(), 0)
            _write(temporary.fileno(), b"".join(map(line_of, turns)))
            os.fsync(temporary.fileno())
            _publish(temporary, name, replace=replace)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary.path)
            raise


def _publish(temporary: Lock, name: str, *, replace: bool) -> None:
    if os.name == "nt":  # Windows cannot rename an open file
        temporary.release()
    if replace:
        os.replace(temporary.path, name)
        return
    try:
        rename_to_unused(temporary.path, name)
    except FileExistsError:
        raise _exists(name) from None


def _exists(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name!r} already exists", hint=f"choose another name, or remove it: rm {_word(name)}"
    )
