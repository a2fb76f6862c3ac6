from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import Iterator

import pytest

from localproviders._file_owner import (
    TRUSTED_FOLDERS,
    check_owner,
    is_inside,
    trusted_folders,
    why_exposed,
)
from localproviders.errors import ConfigurationError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows tells no owners this way")
_IS_ROOT = os.name == "posix" and os.geteuid() == 0
_STRANGER = 65534
needs_root = pytest.mark.skipif(not _IS_ROOT, reason="only root can give a file to another user")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "own folder"
    folder.mkdir(mode=0o755)
    file = folder / "file"
    file.write_text("content")
    file.chmod(0o644)
    yield file
    folder.chmod(0o755)


def _check(path: Path, *trusted: Path) -> None:
    with path.open("rb") as file:
        check_owner(file.fileno(), path, trusted)


def _refusal(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        _check(path)
    assert str(path) in caught.value.message
    return caught.value


def test_a_file_and_folder_of_this_user_count(path: Path) -> None:
    _check(path)


@pytest.mark.parametrize("mode", [0o646, 0o602, 0o666])
def test_a_file_that_others_can_write_does_not(path: Path, mode: int) -> None:
    path.chmod(mode)
    error = _refusal(path)
    assert "can be written by other users" in error.message
    assert str(error.hint).startswith(f"chmod go-w '{path}'")


def test_a_folder_that_others_can_write_does_not(path: Path) -> None:
    path.parent.chmod(0o777)
    assert f"its folder {path.parent} can be written" in _refusal(path).message


def test_the_hint_mends_it(path: Path) -> None:
    path.chmod(0o666)
    command = str(_refusal(path).hint).partition(";")[0]
    assert os.system(command) == 0
    _check(path)


def test_a_folder_with_the_sticky_bit_does(path: Path) -> None:
    path.parent.chmod(0o1777)
    _check(path)


def test_a_folder_that_is_named_as_trusted_does(path: Path, tmp_path: Path) -> None:
    path.chmod(0o666)
    _check(path, tmp_path)
    with pytest.raises(ConfigurationError):
        _check(path, tmp_path / "own")


def test_a_trusted_folder_is_no_beginning_of_a_name(tmp_path: Path) -> None:
    assert is_inside(tmp_path / "a" / "b" / "c", [tmp_path / "a"])
    assert not is_inside(tmp_path / "ab" / "c", [tmp_path / "a"])
    assert not is_inside(tmp_path / "a" / ".." / "c", [tmp_path / "a"])
    (tmp_path / "a").mkdir()
    (tmp_path / "out").symlink_to(tmp_path)
    assert is_inside(tmp_path / "out" / "a" / "c", [tmp_path / "a"])
    (tmp_path / "a" / "link").symlink_to(tmp_path / "c")
    assert not is_inside(tmp_path / "a" / "link", [tmp_path / "a"])


def test_the_variable_is_divided_as_a_path_is(tmp_path: Path) -> None:
    value = os.pathsep.join([str(tmp_path), "", "relative", "/srv/a"])
    assert trusted_folders({TRUSTED_FOLDERS: value}) == (tmp_path, Path("/srv/a"))
    assert trusted_folders({}) == ()


def test_a_folder_without_a_drive_is_relative_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localproviders._file_owner.Path", PureWindowsPath)
    assert trusted_folders({TRUSTED_FOLDERS: os.pathsep.join(["/srv/team", "\\srv"])}) == ()
    assert trusted_folders({TRUSTED_FOLDERS: "//server/team/a"}) == (
        PureWindowsPath("//server/team/a"),
    )


def test_a_link_counts_where_its_target_and_both_folders_do(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    link = other / "link"
    link.symlink_to(path)
    _check(link)
    other.chmod(0o777)
    assert str(other) in _refusal(link).message
    other.chmod(0o755)
    path.parent.chmod(0o777)
    assert str(path.parent) in _refusal(link).message


def test_a_file_that_was_replaced_while_it_was_open_does_not_count(path: Path) -> None:
    with path.open("rb") as file:
        path.unlink()
        path.write_text("another")
        with pytest.raises(ConfigurationError, match="replaced"):
            check_owner(file.fileno(), path)


@needs_root
def test_a_file_of_another_user_does_not_count(path: Path) -> None:
    os.chown(path, _STRANGER, -1)
    error = _refusal(path)
    assert "must belong to this user or root" in error.message
    assert "-h" not in str(error.hint)
    assert "sudo chown" in str(error.hint)


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o700])
def test_a_folder_of_another_user_does_not_count(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    os.chown(path.parent, _STRANGER, -1)
    assert "its folder" in _refusal(path).message


@needs_root
def test_a_link_of_another_user_does_not_count(path: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "link"
    link.symlink_to(path)
    _check(link)
    os.lchown(link, _STRANGER, -1)
    assert str(link) in _refusal(link).message


@needs_root
@pytest.mark.parametrize("of_a_folder", [False, True])
def test_each_link_on_the_way_counts_only_if_no_other_user_made_it(
    path: Path, tmp_path: Path, of_a_folder: bool
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    middle = shared / "middle"
    middle.symlink_to(path.parent if of_a_folder else path)
    link = path.parent / "link"
    link.symlink_to(middle / path.name if of_a_folder else middle)
    for name in (link, middle / path.name if of_a_folder else middle):
        _check(name)
        os.lchown(middle, _STRANGER, -1)
        error = _refusal(name)
        assert f"the link {middle} belongs to" in error.message
        assert f"sudo chown -h root {middle}" in str(error.hint)
        _check(name, shared)
        os.lchown(middle, 0, -1)


@pytest.mark.parametrize("of_a_folder", [False, True])
def test_the_folder_of_a_link_to_a_file_must_not_be_writable_by_others(
    path: Path, tmp_path: Path, of_a_folder: bool
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    target = os.path.join(os.pardir, os.curdir, path.parent.name)
    (shared / "folder").symlink_to(target)
    (shared / "file").symlink_to(os.path.join(target, path.name))
    (path.parent / "link").symlink_to(shared / "file")
    names = [shared / "folder" / path.name] if of_a_folder else [shared / "file"]
    names += [] if of_a_folder else [path.parent / "link"]
    for name in names:
        shared.chmod(0o755)
        _check(name)
        shared.chmod(0o777)
        if of_a_folder:  # an attacker may replace it with a link or a folder
            _check(name)
        else:
            assert f"its folder {shared} can be written" in _refusal(name).message


def test_links_that_lead_to_each_other_do_not_end_in_a_loop(path: Path) -> None:
    with path.open("rb") as file:
        path.unlink()
        path.symlink_to(path.name)
        with pytest.raises(OSError, match="symbolic links"):
            check_owner(file.fileno(), path)


@needs_root
def test_a_group_is_not_private_if_it_is_the_primary_group_of_another_user(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    path.chmod(0o664)
    os.chown(path, 0, 0)
    _check(path)
    another = pwd.struct_passwd(("another", "x", _STRANGER, 0, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [pwd.getpwuid(0), another])
    assert "can be written by other users" in _refusal(path).message


@needs_root
def test_the_private_group_of_this_user_may_write(path: Path) -> None:
    path.chmod(0o664)
    path.parent.chmod(0o775)
    os.chown(path, 0, 0)
    os.chown(path.parent, 0, 0)
    _check(path)


@needs_root
@pytest.mark.parametrize("folder", [False, True])
def test_any_other_group_is_others(path: Path, folder: bool) -> None:
    place = path.parent if folder else path
    place.chmod(0o775)
    os.chown(place, -1, _STRANGER)
    assert "can be written by other users" in _refusal(path).message


@needs_root
def test_an_access_list_makes_the_group_others(path: Path) -> None:
    path.chmod(0o664)
    os.chown(path, 0, 0)
    # Version 2; user::rw-, user:65534:rw-, group::rw-, mask::rw-, other::r--.
    entries = [(1, 6, 2**32 - 1), (2, 6, _STRANGER), (4, 6, 2**32 - 1), (16, 6, 2**32 - 1)]
    entries.append((32, 4, 2**32 - 1))
    packed = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + number.to_bytes(4, "little")
        for tag, bits, number in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert "can be written by other users" in _refusal(path).message


class TestKeyFiles:
    def test_one_for_this_user_alone_is_right(self, path: Path) -> None:
        path.chmod(0o600)
        assert why_exposed(path.stat()) is None

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    def test_one_that_others_can_read_is_not(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        assert why_exposed(path.stat())

    @needs_root
    def test_a_secret_of_a_container_is_right(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.chmod(0o444)
        assert why_exposed(path.stat()) is None
        path.chmod(0o644)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert why_exposed(path.stat()) is None
        os.chown(path, _STRANGER, -1)
        assert why_exposed(path.stat())
