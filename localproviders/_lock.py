"""File locks of the operating system, which end with the process that holds them.

A process holds a lock on a file that it has open. A file that merely exists is not locked. So a
process that is killed leaves no stale lock: the system closes its files, which releases the lock.
Nothing has to be removed by hand, and no process id has to be checked.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import sys
import time
from shlex import quote
from types import TracebackType
from typing import Any, Iterator, Mapping, Optional, Type, Union
from weakref import WeakSet

from localproviders._interrupts import is_callers
from localproviders._redact import one_line
from localproviders.errors import CancelledError, ConfigurationError, LockHeldError
from localproviders.types.limits import CancelToken

# Seconds between two attempts to take a lock. The wait of the system itself is not used, because it
# has no time limit and does not notice a cancelled token.
_STEP_S = 0.01

# Errors of `flock` on disks that do not support it. Some of these disks support `lockf`.
_NO_FLOCK = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF))

# Flags for opening a lock file. Flags that the system does not have are left out. With O_APPEND, no
# write replaces other content. With O_NOFOLLOW, another user cannot lead the lock to another file
# by a symbolic link. With O_NONBLOCK, opening a named pipe does not block.
_FLAGS = 0
for _name in ("O_APPEND", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)

# Only the owner may open a new lock file: each user who can open it can hold the lock for ever.
_MODE = 0o600

# The line that the holder of a lock writes into the file, if the file has no other content.
_NOTE = "localproviders: locked by process {}\n"
_NOTES = re.compile(_NOTE.format(r"([1-9]\d{0,9})").encode())
_MAX_NOTE = 60

# Highest number of attempts to open a file, or to create it if it is missing. An attempt fails if
# other processes create and remove the file at the same time, but not all attempts will fail.
_MAX_ATTEMPTS = 10

_PathLike = Union[str, "os.PathLike[str]"]

if sys.platform == "win32":
    import msvcrt

    # Other programs cannot read the locked byte, so its position is after the content of any file.
    _BYTE = 2**40

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file, if no other holder has it.

        Returns:
            False if another holder has it.

        Raises:
            OSError: The file cannot be locked.
        """
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if is_callers(error) or error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Release the lock. Windows would release it some time after the file is closed."""
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock of an open file, if no other holder has it.

        Closing the file releases the lock. On a disk that does not support ``flock``, such as some
        network disks, ``lockf`` is used. A lock of ``lockf`` does not exclude other threads of the
        same process, and needs a file that is open for writing.

        Returns:
            False if another holder has it.

        Raises:
            OSError: The file cannot be locked.
        """
        try:
            return _try(fcntl.flock, descriptor)
        except OSError as error:
            if is_callers(error) or error.errno not in _NO_FLOCK:
                raise
        return _try(fcntl.lockf, descriptor)

    def unlock(descriptor: int) -> None:
        """Do nothing: closing the file releases the lock.

        Releasing the lock here would be wrong in a forked child, which shares the parent's lock.
        """

    def _try(lock: Any, descriptor: int) -> bool:
        try:
            lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if is_callers(error) or error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return False
        return True


def wait_for_lock(descriptor: int, wait_s: float, cancel: Optional[CancelToken] = None) -> bool:
    """Take the lock of an open file. If another holder has the lock, wait for it.

    An exception of a signal handler ends the wait immediately.

    Args:
        descriptor: The open file.
        wait_s: Seconds to wait; 0 tries once.
        cancel: A token that ends the wait.

    Returns:
        False if another holder still has the lock after this time.

    Raises:
        CancelledError: `cancel` was cancelled.
        OSError: The file cannot be locked.
    """
    end = time.monotonic() + wait_s
    while not try_lock(descriptor):
        rest = end - time.monotonic()
        if rest <= 0:
            return False
        if cancel is not None and cancel.cancelled:
            raise CancelledError("the call was cancelled")
        time.sleep(min(_STEP_S, rest))
    return True


class Lock:
    """An exclusive lock on a file, for a ``with`` block.

    The lock excludes other processes, and other locks of the same process. It is not reentrant. It
    ends with the block or with the process, even if the process is killed. A process that is forked
    from the holder does not have the lock, and does not release it.

    A missing file is created; only its owner may open it. If the file is empty, the holder writes
    its process id into it, so that the errors of other processes can name the holder. Any other
    content of the file is never changed. The file is not removed afterwards: another process may
    already wait for the lock of this file, while a third one would create and lock a new file of
    the same name.

    If the file was removed or replaced while this lock waited for it, the new file is locked.

    Args:
        path: Path of the file. A symbolic link is refused.
        wait_s: Seconds to wait for another holder; 0 tries once, `math.inf` waits without limit.
        cancel: A token that ends the wait.
        is_data: True if the file contains the data that the lock protects. Then it must be
            writable, and no process id is written into it.

    Attributes:
        path: The path, as a string.

    Raises:
        ConfigurationError: `wait_s` is negative or not a number, or `path` is not a path.
    """

    __slots__ = ("_cancel", "_file", "_is_data", "_wait_s", "path")

    def __init__(
        self,
        path: _PathLike,
        wait_s: float = 0.0,
        *,
        cancel: Optional[CancelToken] = None,
        is_data: bool = False,
    ) -> None:
        self.path: str = path_text(path)
        self._wait_s = _seconds(wait_s)
        self._cancel = cancel
        self._is_data = is_data
        self._file: Optional[io.FileIO] = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock. It is False in a forked child."""
        return self._file is not None and not self._file.closed

    def fileno(self) -> int:
        """Return the descriptor of the locked file, which is open for reading and appending.

        Do not close it, and do not open the file a second time: on some network disks, closing any
        descriptor of a file releases its lock.

        Raises:
            ValueError: The lock is not held.
        """
        if self._file is None or self._file.closed:
            raise ValueError("the lock is not held")
        return self._file.fileno()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockHeldError: Another holder still has the lock after `wait_s`.
            ConfigurationError: The file cannot be opened, created or locked.
            CancelledError: `cancel` was cancelled.
        """
        end = time.monotonic() + self._wait_s
        while not self._is_taken(max(0.0, end - time.monotonic())):
            pass  # the file was replaced, so the lock of the new file is needed

    def _is_taken(self, wait_s: float) -> bool:
        file = self._open()
        try:
            if not self._is_locked(file, wait_s):
                raise _held(self.path, file.fileno())
            if not _is_at(self.path, file.fileno()):
                return False
            self._file = file
        finally:
            if self._file is not file:
                file.close()
        if not self._is_data:
            _write_note(file.fileno())
        return True

    def _open(self) -> io.FileIO:
        try:
            return _opened(self.path, self._is_data)
        except (OSError, ValueError) as error:
            if is_callers(error) or isinstance(error, ConfigurationError):
                raise
            raise _cannot_open(self.path, error) from None

    def _is_locked(self, file: io.FileIO, wait_s: float) -> bool:
        try:
            return wait_for_lock(file.fileno(), wait_s, self._cancel)
        except OSError as error:
            if is_callers(error):
                raise
            raise ConfigurationError(
                f"{self.path!r} cannot be locked: {_reason(error)}",
                hint=f"choose a file on a local disk; to see the disk, run: df {_word(self.path)}",
            ) from None

    def release(self) -> None:
        """Release the lock, if this object holds it."""
        file, self._file = self._file, None
        if file is None or file.closed:
            return
        with file:
            if not self._is_data:
                _remove_note(file.fileno())
            with _unless_callers():
                unlock(file.fileno())

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.release()


# The files that locks have opened. A forked child closes its copies: otherwise a lock would last
# until both the parent and the child have closed the file.
_OPEN: WeakSet[io.FileIO] = WeakSet()


def _close_copies() -> None:
    for file in list(_OPEN):
        file.close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_copies)


def path_text(path: _PathLike) -> str:
    """Return a path as a string.

    Raises:
        ConfigurationError: The value is empty, or is not a path.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text:
        raise ConfigurationError(
            f"{path!r} is not a path of a file", hint="pass a path, such as job.lock"
        )
    return text


def _seconds(value: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not value >= 0:  # False for NaN
        raise ConfigurationError(
            f"wait_s is {value!r}, and must be a number of seconds, 0 or more",
            hint="pass a number such as 30, or math.inf",
        )
    return float(value)


def _opened(path: str, must_write: bool) -> io.FileIO:
    """Open a regular file, which is created if it is missing.

    Raises:
        ConfigurationError: The path leads to something other than a regular file.
        OSError: The file cannot be opened or created.
        ValueError: The path cannot be the name of a file.
    """
    for _ in range(_MAX_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            return _registered(path, _flags_for(path, must_write))
        # With O_CREAT but without O_EXCL, Linux would refuse to open an existing file of another
        # user in a folder such as /tmp.
        with contextlib.suppress(FileExistsError):
            return _registered(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _flags_for(path: str, must_write: bool) -> int:
    """Return the flag that opens an existing file for reading and writing, or only for reading."""
    _check_kind(path, os.lstat(path))  # opening some devices has side effects
    return os.O_RDWR if must_write or os.access(path, os.W_OK) else os.O_RDONLY


def _registered(path: str, flags: int) -> io.FileIO:
    # The object closes the descriptor if a signal handler raises an exception here.
    mode = "rb" if flags == os.O_RDONLY else "rb+"
    file = io.FileIO(path, mode, opener=lambda name, _: os.open(name, flags | _FLAGS, _MODE))
    _OPEN.add(file)
    try:
        _check_kind(path, os.fstat(file.fileno()))  # the path may lead to another file now
    except BaseException:
        file.close()
        raise
    return file


_KINDS: Mapping[int, str] = {
    stat.S_IFLNK: "a symbolic link, which another user may have put there",
    stat.S_IFDIR: "a folder",
}


def _check_kind(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a pipe, a socket or a device")
        raise ConfigurationError(
            f"{path!r} is {kind}, and must be a regular file",
            hint=f"pass the path of a file; to see this one, run: ls -ld {_word(path)}",
        )


def _is_at(path: str, descriptor: int) -> bool:
    """Return whether a path still leads to the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _cannot_open(path: str, error: Exception) -> ConfigurationError:
    folder = _word(os.path.dirname(path) or os.curdir)
    reasons = {
        None: ("no file can have this name", "choose another name"),
        errno.ENOENT: ("its folder does not exist", f"mkdir -p {folder}"),
        errno.EROFS: ("the disk is read-only", f"choose a folder on another disk: df {folder}"),
    }
    usual = (
        _reason(error),
        f"this user must be allowed to write it: ls -ld {folder} {_word(path)}",
    )
    reason, hint = reasons.get(getattr(error, "errno", None), usual)
    return ConfigurationError(f"{path!r} cannot be opened: {reason}", hint=hint)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _word(path: str) -> str:
    """Return a path as a word of a shell command."""
    return one_line(quote(path))


def _held(path: str, descriptor: int) -> LockHeldError:
    number = _holder(descriptor)
    if number == os.getpid():
        holder, hint = f"this process, {number}", "release the other lock first"
    elif number:
        holder, hint = (
            f"process {number}",
            f"wait for it; to see what it does, run: ps -fp {number}",
        )
    else:
        holder = "another process"
        hint = f"wait for it; to find the process, run: fuser -v {_word(path)}"
    return LockHeldError(f"{path!r} is locked by {holder}", hint=hint, path=path)


def _holder(descriptor: int) -> Optional[int]:
    """Return the process id in a lock file; None if there is no id or the process has ended."""
    with _unless_callers():
        found = _NOTES.fullmatch(_content(descriptor))
        if found and _is_running(int(found.group(1))):
            return int(found.group(1))
    return None


def _is_running(number: int) -> bool:
    if os.name != "posix":
        return True  # on Windows, `os.kill` would end the process
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it belongs to another user
    return True


@contextlib.contextmanager
def _unless_callers() -> Iterator[None]:
    """Ignore errors of the system, but not exceptions of a signal handler."""
    try:
        yield
    except OSError as error:
        if is_callers(error):
            raise


def _content(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, _MAX_NOTE)


def _write_note(descriptor: int) -> None:
    """Write the id of this process into a lock file, unless the file has other content.

    The lock also works without this note. The note is missing if the disk is full, or if the file
    is read-only.
    """
    with _unless_callers():
        content = _content(descriptor)
        if not content or _NOTES.fullmatch(content):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _NOTE.format(os.getpid()).encode())


def _remove_note(descriptor: int) -> None:
    with _unless_callers():
        if _content(descriptor) == _NOTE.format(os.getpid()).encode():
            os.ftruncate(descriptor, 0)
