"""A file is read only if no user except this one and root can write it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from localproviders import Config, ConfigurationError, LocalProvider, SecretString
from tests.unit.config.conftest import Machine

posix = pytest.mark.skipif(os.name != "posix", reason="Windows tells no owners this way")
needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give a file to another user"
)
_STRANGER = 12345
_VARIABLE = "LOCALPROVIDERS_TRUSTED_FOLDERS"


def refused(machine: Machine, **arguments: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        machine.load(**arguments)
    return caught.value


def _loosened(path: Path) -> None:
    path.chmod(0o666)


def _given_away(path: Path) -> None:
    os.chown(path, _STRANGER, -1)


def _in_an_open_folder(path: Path) -> None:
    path.parent.chmod(0o777)


def _in_a_strangers_folder(path: Path) -> None:
    os.chown(path.parent, _STRANGER, -1)


_SPOILT = [
    pytest.param(_loosened, "can be written by other users", "chmod go-w", marks=posix),
    pytest.param(_in_an_open_folder, "its folder", "chmod go-w", marks=posix),
    pytest.param(_given_away, f"belongs to {_STRANGER}", "sudo chown", marks=needs_root),
    pytest.param(_in_a_strangers_folder, "its folder", "sudo chown", marks=needs_root),
]
_COMMAND = "[servers.ollama]\napi_key = {command = ['touch', '%s']}\n"


@pytest.mark.parametrize(("spoil", "rule", "command"), _SPOILT)
@pytest.mark.parametrize("place", ["system", "user", "project"])
def test_a_file_that_another_user_could_have_written_is_refused_and_not_obeyed(
    machine: Machine, place: str, spoil: Callable[[Path], None], rule: str, command: str
) -> None:
    ran = machine.root / "ran"
    path = getattr(machine, place)(_COMMAND % ran)
    spoil(path)
    error = refused(machine)
    assert error.message.startswith(f"{path} is not trusted: ")
    assert rule in error.message
    assert command in str(error.hint) and _VARIABLE in str(error.hint)
    assert not ran.exists()


@posix
@pytest.mark.parametrize("place", ["system", "user", "project"])
def test_a_file_of_another_user_counts_in_a_folder_that_the_variable_names(
    machine: Machine, place: str
) -> None:
    path = getattr(machine, place)("strategy = 'loaded'\n")
    _loosened(path)
    machine.environ[_VARIABLE] = os.pathsep.join(["", str(path.parent)])
    assert machine.load().strategy == "loaded"


@posix
def test_the_users_own_file_may_not_vouch_for_itself(machine: Machine) -> None:
    _loosened(machine.user("trusted_folders = ['/']\nstrategy = 'loaded'\n"))
    assert "is not trusted" in refused(machine).message


@posix
def test_the_users_own_file_vouches_for_a_project(machine: Machine) -> None:
    machine.user(f"trusted_folders = ['{machine.work}']\n")
    _loosened(machine.project("strategy = 'loaded'\n"))
    assert machine.load().strategy == "loaded"


@posix
def test_a_broken_file_of_another_user_is_refused_for_its_owner(machine: Machine) -> None:
    _loosened(machine.project("this is no TOML"))
    assert "is not trusted" in refused(machine).message


@posix
def test_the_nearest_file_ends_the_search(machine: Machine) -> None:
    _loosened(machine.project("strategy = 'loaded'\n", "../localproviders.toml"))
    assert "is not trusted" in refused(machine).message
    machine.project("")
    assert machine.load().strategy == "first"


@posix
def test_an_ordinary_pyproject_of_another_user_is_no_matter_of_ours(machine: Machine) -> None:
    path = machine.project("[tool]\nother = 'localproviders'\n", "pyproject.toml")
    _loosened(path)
    assert machine.load() == Config()
    path.write_text("[tool.localproviders]\nstrategy = 'loaded'\n")
    assert refused(machine).message.startswith(f"{path} is not trusted: ")
    path.write_text("[tool.localproviders]\nstrategy = ")
    assert refused(machine).message.startswith(f"{path} is not trusted: ")


def _too_long(path: Path) -> None:
    path.write_text("x" * (1024 * 1024 + 1))


_ODD: List[Callable[[Path], None]] = [
    _too_long,
    lambda path: path.mkdir(),
    lambda path: os.mkfifo(str(path)),
    lambda path: path.symlink_to(path.name),
]


@needs_root
@pytest.mark.parametrize("make", _ODD)
def test_a_pyproject_of_another_user_that_cannot_be_read_is_no_matter_of_ours(
    machine: Machine, make: Callable[[Path], None]
) -> None:
    path = machine.work / "pyproject.toml"
    make(path)
    assert str(path) in refused(machine).message
    os.lchown(path, _STRANGER, -1)
    assert machine.load() == Config()
    machine.environ[_VARIABLE] = str(machine.work)
    assert str(path) in refused(machine).message


@needs_root
def test_a_link_of_another_user_leads_nowhere_even_into_a_trusted_folder(
    machine: Machine,
) -> None:
    target = machine.write("team/localproviders.toml", "strategy = 'loaded'\n")
    link = machine.work / "localproviders.toml"
    link.symlink_to(target)
    machine.environ[_VARIABLE] = str(target.parent)
    assert machine.load().strategy == "loaded"
    assert not machine.load().origin_of("strategy").in_trusted_folder
    os.lchown(link, _STRANGER, -1)
    assert str(link) in refused(machine).message


def test_a_path_that_changes_while_it_is_read_is_an_error_of_ours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: object) -> bool:
        raise OSError(
            errno.EINVAL, os.strerror(errno.EINVAL)
        )  # as readlink fails if the link was replaced

    path = machine.project("strategy = 'loaded'\n")
    monkeypatch.setattr("localproviders.config.files.is_trusted", changed)
    assert refused(machine).message.startswith(f"{path} cannot be read: ")


@needs_root
def test_no_prompt_follows_a_strangers_file_in_a_shared_folder(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = machine.root / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    own = shared / "own"
    own.mkdir()
    path = machine.write(
        "shared/localproviders.toml",
        "model = 'x/m'\n[servers.x]\nkind = 'openai-compatible'\n"
        "endpoint = 'http://127.0.0.1:9/v1'\n",
    )
    _given_away(path)
    monkeypatch.chdir(own)
    monkeypatch.setenv("HOME", str(machine.root / "home"))
    with LocalProvider() as local, pytest.raises(ConfigurationError, match="is not trusted"):
        local.chat("PRIVILEGED")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_in_the_place_of_a_file_does_not_block(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(str(machine.work / "localproviders.toml"))
    check = "localproviders._file_owner._check_regular"
    monkeypatch.setattr(
        check, lambda status, name: None
    )  # as if the pipe replaced the file after the check
    assert machine.load() == Config()


# --- Windows ------------------------------------------------------------------------------------


@pytest.fixture
def windows(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("sys.platform", "win32")
    machine.environ["USERPROFILE"] = machine.environ.pop("HOME")
    return machine


def test_on_windows_a_project_file_lies_below_the_profile_folder(windows: Machine) -> None:
    windows.project("strategy = 'loaded'\n")
    assert windows.load().strategy == "loaded"
    windows.environ["USERPROFILE"] = str(windows.root / "another")
    assert windows.load().strategy == "first"
    del windows.environ["USERPROFILE"]
    assert windows.load().strategy == "first"


def test_on_windows_a_project_file_may_lie_in_a_trusted_folder(windows: Machine) -> None:
    path = windows.write("data/team/localproviders.toml", "strategy = 'loaded'\n")
    windows.write("data/localproviders.toml", "strategy = 'largest'\n")
    below = path.parent / "a" / "b"
    below.mkdir(parents=True)
    assert Config.load(directory=below, environ=windows.environ).strategy == "first"
    windows.environ[_VARIABLE] = str(path.parent)
    assert Config.load(directory=below, environ=windows.environ).strategy == "loaded"
    path.unlink()
    assert Config.load(directory=below, environ=windows.environ).strategy == "first"


def test_on_windows_the_systems_file_must_be_trusted_by_name(windows: Machine) -> None:
    windows.environ["PROGRAMDATA"] = str(windows.root / "data")
    path = windows.write("data/localproviders/config.toml", "strategy = 'loaded'\n")
    error = refused(windows)
    assert error.message.startswith(f"{path} is not trusted: ")
    assert _VARIABLE in str(error.hint)
    windows.environ[_VARIABLE] = str(path.parent)
    assert windows.load().strategy == "loaded"


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "rule", "command"),
    [pytest.param(_loosened, "other users can read", "chmod 600", marks=posix), *_SPOILT[1:]],
)
def test_a_key_file_that_another_user_could_have_written_is_refused(
    machine: Machine, spoil: Callable[[Path], None], rule: str, command: str
) -> None:
    key = machine.write("keys/key", "sk-1")
    key.chmod(0o600)
    spoil(key)
    api_key = {"file": str(key)}
    error = refused(machine, servers={"ollama": {"api_key": api_key}})
    assert rule in error.message and str(key) in error.message
    assert command in str(error.hint)
    assert "sk-1" not in str(error)


@posix
@pytest.mark.parametrize("place", ["profiles.p.servers.ollama", "servers.ollama"])
def test_a_key_in_a_file_that_others_can_read_is_refused_whatever_counts(
    machine: Machine, place: str
) -> None:
    path = machine.user(f"servers.ollama.model = 'm'\n{place}.api_key = 'sk-1'\n")
    machine.environ["LOCALPROVIDERS_SERVERS_OLLAMA_API_KEY"] = "sk-2"
    assert machine.load().servers[0].api_key == SecretString("sk-2")
    path.chmod(0o644)
    error = refused(machine)
    assert "other users can read the key in" in error.message and "sk-1" not in str(error)
    assert error.hint == f"chmod 600 {path}"


def test_a_key_file_is_not_cut(machine: Machine) -> None:
    key = machine.write("keys/key", "a" * (64 * 1024 + 1))
    key.chmod(0o600)
    error = refused(machine, servers={"ollama": {"api_key": {"file": str(key)}}})
    assert "is longer than 64 KiB" in error.message and "aaa" not in error.message


@needs_root
@pytest.mark.parametrize("mode", [0o444, 0o440, 0o400])
def test_a_secret_of_a_container_is_a_key_file(machine: Machine, mode: int) -> None:
    key = machine.write("secrets/..data/key", "sk-1")
    key.chmod(mode)
    key.parent.parent.chmod(0o1777)
    link = key.parent.parent / "key"
    link.symlink_to(key)
    found = machine.load(servers={"ollama": {"api_key": {"file": str(link)}}})
    assert found.servers[0].api_key == SecretString("sk-1")


@posix
def test_a_key_file_counts_in_a_folder_that_the_variable_names_if_others_cannot_read_it(
    machine: Machine,
) -> None:
    key = machine.write("keys/key", "sk-1")
    key.chmod(0o600)
    key.parent.chmod(0o777)
    machine.environ[_VARIABLE] = str(key.parent)
    servers = {"ollama": {"api_key": {"file": str(key)}}}
    assert machine.load(servers=servers).servers[0].api_key == SecretString("sk-1")
    key.chmod(0o644)
    assert "other users can read the key file" in refused(machine, servers=servers).message


# --- key commands -------------------------------------------------------------------------------

_PATHS = ["", ".", "bin"]


@pytest.mark.skipif(os.name != "posix", reason="scripts of POSIX")
@pytest.mark.parametrize("relative", _PATHS)
def test_a_key_command_is_not_found_in_a_relative_folder_of_path(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, relative: str
) -> None:
    hostile = machine.write(f"home/work/{relative}/give-key", "#!/bin/sh\ntouch ran\necho sk-1\n")
    hostile.chmod(0o755)
    monkeypatch.chdir(machine.work)
    monkeypatch.setenv("PATH", os.pathsep.join([relative, os.environ["PATH"]]))
    machine.user("[servers.ollama]\napi_key = {command = ['give-key']}\n")
    error = refused(machine)
    assert "cannot be run: No such file in an absolute folder of PATH" in error.message
    assert not list(machine.root.rglob("ran"))
    own = machine.write("bin/give-key", "#!/bin/sh\necho sk-own\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([relative, str(own.parent)]))
    assert machine.load().servers[0].api_key == SecretString("sk-own")


def test_a_key_command_runs_beside_the_file_that_names_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machine.work)
    command = f"api_key = {{command = ['{sys.executable}', '-m', 'give_key']}}\n"
    user = machine.user(f"[servers.ollama]\n{command}")
    machine.project("print('sk-of-a-stranger')", "give_key.py")
    assert "ended with status 1" in refused(machine).message
    user.with_name("give_key.py").write_text("print('sk-own')")
    assert machine.load().servers[0].api_key == SecretString("sk-own")


def test_a_key_command_of_an_argument_runs_in_the_home(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machine.work)
    command = [sys.executable, "-c", "import os; print(os.getcwd())"]
    servers = {"ollama": {"api_key": {"command": command}}}
    key = machine.load(servers=servers).servers[0].api_key
    assert key == SecretString(os.path.realpath(machine.root / "home"))
    del machine.environ["HOME"]
    key = machine.load(servers=servers).servers[0].api_key
    assert key == SecretString(os.path.abspath(os.sep))
