"""The cache of model files: it uses only files of this user that match their recorded digest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List

import pytest

from localproviders._file_owner import TRUSTED_FOLDERS
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine import models as caching
from localproviders.engine.install import scratch_folder
from localproviders.engine.models import Recipe, open_model, path_of
from localproviders.errors import ConfigurationError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the engine does not run elsewhere")

_STRANGER = 65534
_IS_ROOT = os.name == "posix" and os.geteuid() == 0
needs_root = pytest.mark.skipif(not _IS_ROOT, reason="only root can give a file to another user")
_REASON = why_unsupported() or why_missing()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that ``XDG_CACHE_HOME`` names."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(caching.metadata, "version", lambda name: "1.0")
    return folder


@pytest.fixture
def cache(base: Path) -> Path:
    return base / "localproviders"


class Maker:
    """A recipe that counts how often its file is made."""

    def __init__(self, text: str = "whole") -> None:
        self.text = text
        self.made: List[Path] = []
        self.recipe = Recipe("package", self.make)

    def make(self, path: Path) -> None:
        self.made.append(path)
        path.write_text(self.text)

    def served(self, scratch: Path) -> str:
        with open_model(self.recipe, scratch) as file:
            return file.read().decode()


@pytest.fixture
def maker() -> Maker:
    return Maker()


class TestTheFolder:
    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_it_and_its_files_are_for_this_user_alone(
        self, base: Path, maker: Maker, tmp_path: Path, umask: int
    ) -> None:
        before = os.umask(umask)
        try:
            maker.served(tmp_path)
        finally:
            os.umask(before)
        places = [base, *base.rglob("*")]
        assert len(places) == 4
        assert all(place.stat().st_mode & 0o077 == 0 for place in places)

    def test_one_that_others_may_only_read_is_used(
        self, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        cache.mkdir(parents=True, mode=0o755)
        assert maker.served(tmp_path) == maker.served(tmp_path) == "whole"
        assert len(maker.made) == 1

    @pytest.mark.parametrize("which", ["base", "cache"])
    def test_one_that_others_can_write_is_refused(
        self, base: Path, cache: Path, maker: Maker, tmp_path: Path, which: str
    ) -> None:
        cache.mkdir(parents=True)
        folder = base if which == "base" else cache
        folder.chmod(0o777)
        with pytest.raises(ConfigurationError) as caught:
            open_model(maker.recipe, tmp_path)
        assert str(folder) in caught.value.message
        assert ("its folder" in caught.value.message) is (which == "base")
        assert "can be written by other users" in caught.value.message
        assert f"chmod go-w {folder}" in str(caught.value.hint)
        assert maker.made == []

    @needs_root
    def test_one_of_another_user_is_refused(
        self, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        cache.mkdir(parents=True)
        os.chown(cache, _STRANGER, -1)
        with pytest.raises(ConfigurationError, match="must belong to this user or root") as caught:
            open_model(maker.recipe, tmp_path)
        assert str(cache) in caught.value.message

    @needs_root
    def test_a_link_of_another_user_is_refused(
        self, base: Path, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        base.mkdir()
        base.chmod(0o1777)
        cache.symlink_to(tmp_path / "mine")
        os.lchown(cache, _STRANGER, -1)
        with pytest.raises(ConfigurationError, match="must belong to this user or root"):
            open_model(maker.recipe, tmp_path)

    def test_the_users_own_link_is_followed(
        self, base: Path, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        (tmp_path / "big disk").mkdir()
        base.mkdir()
        cache.symlink_to(tmp_path / "big disk")
        assert maker.served(tmp_path) == "whole"
        assert (tmp_path / "big disk" / "package-1.0.gguf").is_file()

    def test_a_trusted_folder_is_used_whoever_can_write_there(
        self, base: Path, cache: Path, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.mkdir(parents=True)
        cache.chmod(0o777)
        monkeypatch.setenv(TRUSTED_FOLDERS, str(tmp_path))
        assert maker.served(tmp_path) == "whole"


class TestTheFile:
    @pytest.fixture(autouse=True)
    def _made(self, cache: Path, maker: Maker, tmp_path: Path) -> None:
        maker.served(tmp_path)
        self.file = cache / "package-1.0.gguf"
        self.record = cache / "package-1.0.gguf.sha256"

    def test_what_was_made_is_kept_beside_it(self) -> None:
        assert self.record.read_text().split() == [hashlib.sha256(b"whole").hexdigest(), "5"]

    @pytest.mark.parametrize("text", ["other", "longer than it was", ""])
    def test_other_bytes_are_made_again(
        self, maker: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
    ) -> None:
        self.file.write_text(text)
        assert maker.served(tmp_path) == "whole"
        assert len(maker.made) == 2
        assert self.file.read_text() == "whole"
        (told,) = caplog.records
        assert str(self.file) in told.getMessage()

    @pytest.mark.parametrize("text", [None, "", "0 5", "é", "x" * 10_000])
    def test_without_a_good_record_it_is_made_again(
        self, maker: Maker, tmp_path: Path, text: str
    ) -> None:
        self.record.unlink() if text is None else self.record.write_text(text, encoding="utf-8")
        assert maker.served(tmp_path) == "whole"
        assert len(maker.made) == 2
        assert maker.served(tmp_path) == "whole"
        assert len(maker.made) == 2

    @pytest.mark.parametrize("which", ["file", "record"])
    def test_one_that_others_can_write_is_refused(
        self, maker: Maker, tmp_path: Path, which: str
    ) -> None:
        path: Path = getattr(self, which)
        path.chmod(0o666)
        with pytest.raises(ConfigurationError, match="can be written by other users") as caught:
            open_model(maker.recipe, tmp_path)
        assert str(path) in caught.value.message
        assert f"chmod go-w {path}" in str(caught.value.hint)

    @needs_root
    @pytest.mark.parametrize("which", ["file", "record"])
    def test_one_of_another_user_is_refused(self, maker: Maker, tmp_path: Path, which: str) -> None:
        path: Path = getattr(self, which)
        os.chown(path, _STRANGER, -1)
        with pytest.raises(ConfigurationError, match="must belong to this user or root"):
            open_model(maker.recipe, tmp_path)

    def test_a_link_to_other_bytes_is_made_again(self, maker: Maker, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("other")
        self.file.unlink()
        self.file.symlink_to(tmp_path / "other")
        assert maker.served(tmp_path) == "whole"
        assert not self.file.is_symlink()
        assert (tmp_path / "other").read_text() == "other"

    def test_a_folder_or_a_pipe_in_its_place_is_refused_in_time(
        self, maker: Maker, tmp_path: Path
    ) -> None:
        self.file.unlink()
        os.mkfifo(str(self.file))
        assert maker.served(tmp_path) == "whole"
        assert self.file.is_file()

    def test_the_file_that_was_checked_is_the_one_that_is_served(
        self, maker: Maker, tmp_path: Path
    ) -> None:
        with open_model(maker.recipe, tmp_path) as file:
            other = tmp_path / "other"
            other.write_text("other")
            os.replace(str(other), str(self.file))
            assert Path(path_of(file)).read_text() == (
                "whole" if Path("/proc/self/fd").is_dir() else "other"
            )

    def test_a_file_that_is_there_needs_no_room_to_write(
        self, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        cache.chmod(0o500)
        assert maker.served(tmp_path) == "whole"
        cache.chmod(0o700)
        assert len(maker.made) == 1


def _gone() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _leave(folder: Path, name: str, age_s: float) -> Path:
    """Leave a folder as a killed process does, and return it."""
    left = folder / name
    left.mkdir()
    (left / "half.gguf").write_text("half")
    os.utime(left, (time.time() - age_s,) * 2)
    return left


class TestOrphans:
    def test_what_killed_runs_left_is_removed_after_an_hour(
        self, cache: Path, maker: Maker, tmp_path: Path
    ) -> None:
        maker.served(tmp_path)
        gone, here = _gone(), os.getpid()
        removed = [".making-old", ".making-abcd_123", f".making-{gone}-abcd_123"]
        kept = [f".making-{here}-abcd_123", "old", ".making-", ".making-a.b", f"x.making-{gone}-a"]
        for name in (*removed, *kept):
            _leave(cache, name, 3700)
        for name in (".making-new", f".making-{gone}-new"):
            kept.append(_leave(cache, name, 3500).name)
        elsewhere = _leave(tmp_path, "kept", 3700)
        (cache / ".making-link").symlink_to(elsewhere)
        (cache / f".making-{gone}-link").symlink_to(elsewhere)
        (cache / ".making-file").write_text("x")
        os.utime(cache / ".making-file", (1, 1))
        linked = _leave(cache, ".making-linked", 0)
        (linked / "link").symlink_to(elsewhere)
        os.utime(linked, (1, 1))
        maker.served(tmp_path)
        left = {place.name for place in cache.iterdir() if place.is_dir()}
        assert left == {*kept, ".making-link", f".making-{gone}-link"}
        assert (cache / ".making-file").exists()
        assert (elsewhere / "half.gguf").exists()

    def test_scratch_folders_of_killed_runs_are_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        gone, here = _gone(), os.getpid()
        _leave(tmp_path, f"localproviders-{gone}-abcd_123", 3700)
        kept = [
            f"localproviders-{here}-abcd_123",
            "localproviders-1-abcd_123",
            "localproviders-abcd_123",
            "localproviders-notes",
            f"localproviders-{gone}-notes",
            f"localproviders-{gone}-abcd_1234",
        ]
        for name in kept:
            _leave(tmp_path, name, 3700)
        kept.append(_leave(tmp_path, f"localproviders-{gone}-abcd_124", 3500).name)
        (tmp_path / f"localproviders-{gone}-abcd_125").symlink_to(tmp_path / kept[0])
        kept.append(f"localproviders-{gone}-abcd_125")
        with scratch_folder() as made:
            assert {place.name for place in tmp_path.iterdir()} == {*kept, Path(made).name}
            assert Path(made).stat().st_mode & 0o777 == 0o700
            scratch_folder().cleanup()
            assert Path(made).is_dir()
        assert {place.name for place in tmp_path.iterdir()} == set(kept)

    def test_a_made_file_is_on_the_disk_before_it_gets_its_name(
        self, cache: Path, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: List[str] = []
        sync, replace = os.fsync, os.replace

        def note_sync(descriptor: int) -> None:
            place = os.readlink(f"/proc/self/fd/{descriptor}")
            steps.append("sync " + ("folder" if place == str(cache) else Path(place).name))
            sync(descriptor)

        def note_replace(source: str, target: str) -> None:
            steps.append(f"replace {Path(source).name}")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", note_sync)
        monkeypatch.setattr(os, "replace", note_replace)
        maker.served(tmp_path)
        name = "package-1.0.gguf"
        assert sorted(steps[:2]) == [f"sync {name}", "sync record"]
        assert steps[2:] == [f"replace {name}", "replace record", "sync folder"]

    @needs_root
    def test_those_of_other_users_are_left(self, cache: Path, maker: Maker, tmp_path: Path) -> None:
        maker.served(tmp_path)
        (cache / ".making-old").mkdir()
        os.chown(cache / ".making-old", _STRANGER, -1)
        os.utime(cache / ".making-old", (1, 1))
        maker.served(tmp_path)
        assert (cache / ".making-old").is_dir()


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_a_poisoned_cache_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with LocalEngine("embedding") as provider:
        expected = provider.embed("hello").vectors
    (path,) = (tmp_path / "localproviders").glob("*.gguf")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with LocalEngine("embedding") as provider:
        assert provider.embed("hello").vectors == expected
    assert path.read_bytes() == data
