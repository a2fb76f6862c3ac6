"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from localproviders import _new_file
from localproviders._new_file import NewFile


def _temporary(folder: Path) -> Any:
    return [name for name in os.listdir(folder) if name.startswith(".localproviders-new-")]


def test_the_name_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with NewFile(path) as new:
        new.file.write(b"one")
        assert not path.exists()
        assert len(_temporary(tmp_path)) == 1
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NewFile(tmp_path / "a.txt") as new:
        new.file.write(b"one")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_commit_and_discard_may_be_called_again(tmp_path: Path) -> None:
    new = NewFile(tmp_path / "a.txt")
    new.commit()
    new.commit()
    new.discard()
    assert (tmp_path / "a.txt").exists()


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileExistsError):
        NewFile(path)
    with pytest.raises(KeyError), NewFile(path, replace=True) as new:
        new.file.write(b"new")
        raise KeyError
    assert path.read_text() == "old"
    with NewFile(path, replace=True) as new:
        new.file.write(b"new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_in_the_meantime_is_kept(
    tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    if not has_links:
        monkeypatch.setattr(_new_file.os, "link", _refuse)
    with pytest.raises(FileExistsError, match="in the meantime"), NewFile(path) as new:
        new.file.write(b"new")
        path.write_text("other")
    assert path.read_text() == "other"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_without_links_no_other_process_can_make_the_file_before_the_rename(
    tmp_path: Path, is_interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = tmp_path / "a.txt", os.replace

    def late(*arguments: Any) -> None:
        if is_interrupted:
            raise KeyboardInterrupt
        with pytest.raises(FileExistsError):
            path.open("x")
        really(*arguments)

    monkeypatch.setattr(_new_file.os, "link", _refuse)
    monkeypatch.setattr(_new_file.os, "replace", late)
    outcome: Any = pytest.raises(KeyboardInterrupt) if is_interrupted else nullcontext()
    with outcome, NewFile(path) as new:
        new.file.write(b"new")
    assert os.listdir(tmp_path) == ([] if is_interrupted else ["a.txt"])
    assert is_interrupted or path.read_text() == "new"


def test_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_new_file.os, "link", _refuse)
    with NewFile(tmp_path / "a.txt") as new:
        new.file.write(b"one")
    assert os.listdir(tmp_path) == ["a.txt"]


def _refuse(*_: Any) -> None:
    raise PermissionError(1, "no links here")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with NewFile(tmp_path / "new"):
            pass
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o604)
        with NewFile(tmp_path / "old", replace=True):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with NewFile(tmp_path / "link", replace=True) as new:
        new.file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_folder_and_a_missing_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        NewFile(tmp_path, replace=True)
    with pytest.raises(FileNotFoundError):
        NewFile(tmp_path / "missing" / "a.txt")


_KILLED = """
import os, signal, sys
from localproviders._new_file import NewFile
new = NewFile(sys.argv[1])
new.file.write(b"half")
new.file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_no_name_and_the_next_file_removes_the_rest(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "a.txt")], check=False)
    assert len(_temporary(tmp_path)) == 1
    assert not (tmp_path / "a.txt").exists()

    with NewFile(tmp_path / "b.txt"):
        assert len(_temporary(tmp_path)) == 1  # only that of b.txt
        with NewFile(tmp_path / "c.txt"):
            assert len(_temporary(tmp_path)) == 2  # a file in use stays
    assert sorted(os.listdir(tmp_path)) == ["b.txt", "c.txt"]


def test_a_file_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = _new_file._lock, []

    def take(descriptor: int, **options: Any) -> bool:
        if not taken:
            taken.extend(_temporary(tmp_path))
            os.remove(tmp_path / taken[0])
        return lock(descriptor, **options)

    monkeypatch.setattr(_new_file, "_lock", take)
    with NewFile(tmp_path / "a.txt") as new:
        new.file.write(b"one")
    assert (tmp_path / "a.txt").read_bytes() == b"one"
