"""Locks between processes, threads and forks, and what a lock does to its file."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import math
import os
import signal
import stat
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from localproviders import _lock
from localproviders._lock import Lock
from localproviders.errors import CancelledError, ConfigurationError, LockHeldError
from localproviders.types import CancelToken

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has its own tests below")
_IS_ROOT = os.name == "posix" and os.geteuid() == 0

#: A program that takes a lock, says so, and releases it when its standard input ends.
HOLDER = """
import sys
from localproviders._lock import Lock
with Lock(sys.argv[1], float(sys.argv[2])) as lock:
    print("held", flush=True)
    sys.stdin.read()
"""


def _start(path: Path, wait_s: float = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(wait_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock during a ``with`` block."""
    with _start(path) as process:
        assert _says(process) == "held"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def _is_free(path: Path) -> bool:
    try:
        with Lock(path):
            return True
    except LockHeldError:
        return False


def test_a_lock_excludes_another_process_and_names_it(path: Path) -> None:
    with holder(path) as process, pytest.raises(LockHeldError) as caught:
        Lock(path).acquire()
    error = caught.value
    assert str(error) == (
        f"'{path}' is locked by process {process.pid} (hint: wait for it; to see what it does, "
        f"run: ps -fp {process.pid})"
    )
    assert (error.path, error.exit_code, error.retryable) == (str(path), 75, True)


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    with holder(path) as process:
        process.kill()
        process.wait()
        assert path.read_text() == f"localproviders: locked by process {process.pid}\n"
        with Lock(path) as lock:
            assert lock.is_held
            assert path.read_text() == f"localproviders: locked by process {os.getpid()}\n"
    assert path.read_text() == ""


def test_the_lock_of_a_process_that_ends_is_taken_by_the_one_that_waits(path: Path) -> None:
    with holder(path) as first, _start(path, 60) as second:
        first.communicate()
        assert _says(second) == "held"
        assert not _is_free(path)
        second.communicate()
    assert second.returncode == 0 and _is_free(path)


def test_of_two_that_wait_each_gets_the_lock_in_its_turn(path: Path) -> None:
    lock = Lock(path)
    lock.acquire()
    with _start(path, 60) as one, _start(path, 60) as two:
        lock.release()
        # Each of them ends only after it has had the lock and released it.
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.close()
        assert [_says(one), _says(two)] == ["held", "held"]
        assert [one.wait(), two.wait()] == [0, 0]


def test_threads_of_one_process_exclude_each_other(path: Path) -> None:
    inside: List[int] = []
    most: List[int] = []

    def work() -> None:
        for _ in range(20):
            with Lock(path, math.inf):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(most), max(most)) == (80, 1)


def test_a_second_lock_of_this_process_is_refused_with_a_reason(path: Path) -> None:
    with Lock(path) as lock:
        with pytest.raises(LockHeldError, match=f"locked by this process, {os.getpid()}"):
            Lock(path).acquire()
        with pytest.raises(LockHeldError):
            lock.acquire()
        assert lock.is_held
    assert not lock.is_held and _is_free(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_neither_has_nor_releases_the_lock(path: Path) -> None:
    with Lock(path) as lock:
        child = os.fork()
        if child == 0:  # pragma: no cover  # in the child
            status = 1
            with contextlib.suppress(BaseException):
                free = _is_free(path)
                held = lock.is_held
                lock.release()
                status = 0 if not (held or free or _is_free(path)) else 2
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert lock.is_held and not _is_free(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_the_lock_ends_with_its_holder_while_a_forked_child_lives(path: Path) -> None:
    lock = Lock(path)
    lock.acquire()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # in the child
        os.write(ready[1], b"x")
        os.close(done[1])
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    lock.release()
    assert _is_free(path)
    for end in (*ready, *done):
        os.close(end)
    os.waitpid(child, 0)


# --- the wait ------------------------------------------------------------------------------


class _AlarmError(TimeoutError):
    """The exception of a signal handler, which is also an `OSError`."""


@pytest.mark.parametrize("kind", [_AlarmError, TimeoutError, BlockingIOError, PermissionError])
def test_the_exception_of_a_signal_handler_ends_the_wait(path: Path, kind: Any) -> None:
    def stop(*_: Any) -> None:
        raise kind("now")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with Lock(path):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(kind, match="now"):
                Lock(path, math.inf).acquire()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert _is_free(path)


def test_a_cancelled_token_ends_the_wait(path: Path) -> None:
    token = CancelToken()
    timer = threading.Timer(0.05, token.cancel)
    with Lock(path):
        timer.start()
        with pytest.raises(CancelledError):
            Lock(path, math.inf, cancel=token).acquire()
    timer.join()


def test_a_limited_wait_ends(path: Path) -> None:
    with Lock(path), pytest.raises(LockHeldError):
        Lock(path, 0.03).acquire()


def test_a_file_that_is_replaced_during_the_wait_is_not_locked_in_vain(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, turns = _lock.wait_for_lock, []

    def replaced(descriptor: int, *more: Any) -> bool:
        turns.append(descriptor)
        if len(turns) == 1:
            path.unlink()
        return really(descriptor, *more)

    monkeypatch.setattr(_lock, "wait_for_lock", replaced)
    with Lock(path) as lock:
        assert len(turns) == 2
        assert os.path.samestat(os.fstat(lock.fileno()), path.stat())


# --- the file ------------------------------------------------------------------------------


def test_a_new_file_is_for_its_owner_and_stays(path: Path) -> None:
    with Lock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.exists()


@pytest.mark.parametrize("content", ["x", "4711\n", "localproviders: locked by process 4711\nx"])
def test_other_content_stays(path: Path, content: str) -> None:
    path.write_text(content)
    with Lock(path):
        assert path.read_text() == content
        with pytest.raises(LockHeldError, match=r"locked by another process .*fuser -v"):
            Lock(path).acquire()
    assert path.read_text() == content


def test_an_old_note_of_a_process_that_ended_names_no_process(path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(f"localproviders: locked by process {ended.pid}\n")
    with path.open("rb") as file:
        assert _lock.try_lock(file.fileno())
        with pytest.raises(LockHeldError, match="by another process"):
            Lock(path).acquire()


def test_data_is_locked_without_a_note_and_can_be_appended(path: Path) -> None:
    with Lock(path, is_data=True) as lock:
        assert path.read_bytes() == b""
        os.write(lock.fileno(), b"one\n")
        os.lseek(lock.fileno(), 0, os.SEEK_SET)
        os.write(lock.fileno(), b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(ValueError, match="not held"):
        lock.fileno()


def test_a_read_only_file_can_be_locked_but_not_as_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("")
    path.chmod(0o444)
    if _IS_ROOT:  # root may write to each file
        monkeypatch.setattr(os, "access", lambda *_: False)
    with Lock(path), holder_is_refused(path):
        pass
    if not _IS_ROOT:
        with pytest.raises(ConfigurationError, match="cannot be opened: Permission denied"):
            Lock(path, is_data=True).acquire()
    assert path.read_text() == ""


@contextlib.contextmanager
def holder_is_refused(path: Path) -> Iterator[None]:
    """Check that another process cannot take the lock."""
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(path), "0"], input="", capture_output=True, text=True
    )
    assert done.returncode == 1 and "LockHeldError" in done.stderr
    yield


def test_a_full_disk_does_not_prevent_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with Lock(path):
            assert not _is_free(path)
    assert path.read_bytes() == b""


def _link(path: Path) -> None:
    (path.parent / "target").write_text("theirs")
    path.symlink_to(path.parent / "target")


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "missing")


def _file_for_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


_BAD: List[Tuple[str, Callable[[Path], object], str, str]] = [
    ("link", _link, "symbolic link", "ls -ld"),
    ("dangling", _dangling, "symbolic link", "ls -ld"),
    ("folder", lambda path: path.mkdir(), "is a folder", "ls -ld"),
    ("pipe", lambda path: os.mkfifo(str(path)), "a pipe, a socket or a device", "ls -ld"),
    ("no folder", lambda path: path.parent.rmdir(), "its folder does not exist", "mkdir -p"),
    ("file as folder", _file_for_folder, "Not a directory", "ls -ld"),
]


@pytest.mark.parametrize(("name", "prepare", "reason", "hint"), _BAD, ids=[x[0] for x in _BAD])
def test_a_bad_path_is_refused_in_one_line(
    tmp_path: Path, name: str, prepare: Callable[[Path], object], reason: str, hint: str
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    prepare(folder / "job.lock")
    before = sorted(each.name for each in tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Lock(folder / "job.lock").acquire()
    assert hint in str(caught.value.hint) and "'" in str(caught.value.hint)
    assert sorted(each.name for each in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", ["", None, 3, "a\0b"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError):
        Lock(path).acquire()


@pytest.mark.parametrize("wait_s", [-1, math.nan, "3", None, True])
def test_what_is_no_time_is_refused(path: Path, wait_s: Any) -> None:
    with pytest.raises(ConfigurationError, match="wait_s is"):
        Lock(path, wait_s)
    assert not path.exists()


@pytest.mark.skipif(_IS_ROOT, reason="root may write to each folder")
def test_a_folder_without_rights_is_refused(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        Lock(path).acquire()


def test_a_read_only_disk_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ConfigurationError, match=r"the disk is read-only .*df "):
        Lock(path).acquire()


# --- other disks and systems ---------------------------------------------------------------


def test_a_disk_without_flock_is_locked_otherwise(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def missing(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    holding = HOLDER.replace(
        "with ", "import fcntl\nfcntl.flock = lambda *_: exec('raise OSError(37, 0)')\nwith "
    )
    with Lock(path):
        done = subprocess.run(
            [sys.executable, "-c", holding, str(path), "0"],
            input="",
            capture_output=True,
            text=True,
        )
    assert "LockHeldError" in done.stderr
    monkeypatch.setattr(fcntl, "lockf", missing)
    with pytest.raises(ConfigurationError, match=r"cannot be locked: No locks available .*df "):
        Lock(path).acquire()


class _Msvcrt(types.ModuleType):
    """Windows' locks of bytes, for one process and two descriptors."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.holder = -1
        self.places: List[int] = []

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        self.places.append(os.lseek(descriptor, 0, os.SEEK_CUR))
        assert count == 1
        if mode == self.LK_UNLCK:
            assert self.holder == descriptor
            self.holder = -1
        elif self.holder != -1:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.holder = descriptor


def test_windows_locks_a_byte_behind_the_content(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = _Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", system)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("windows_lock", _lock.__file__)
    assert spec is not None and spec.loader is not None
    windows: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(windows)
    with windows.Lock(path):
        with pytest.raises(LockHeldError):
            windows.Lock(path).acquire()
        assert path.read_text().startswith("localproviders: locked by process")
    assert system.holder == -1
    with windows.Lock(path) as lock:
        assert lock.is_held
    assert min(system.places) >= 2**40
