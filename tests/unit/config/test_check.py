"""All problems of the configuration at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from localproviders.config.check import find_problems, find_project
from localproviders.config.files import Surroundings
from tests.unit.config.conftest import Machine


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path


def _problems(
    home: Path,
    user: Optional[str] = None,
    project: Optional[str] = None,
    mode: int = 0o600,
    profile: Optional[str] = None,
    **variables: str,
) -> List[str]:
    environ: Dict[str, str] = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "c"), **variables}
    if user is not None:
        file = home / "c" / "localproviders" / "config.toml"
        file.parent.mkdir(parents=True)
        file.write_text(user, encoding="utf-8")
        file.chmod(mode)
    if project is not None:
        (home / "project" / "localproviders.toml").write_text(project, encoding="utf-8")
    found = find_problems(profile=profile, directory=home / "project", environ=environ)
    return [error.message.replace(str(home), "~") for error in found]


_USER = "~/c/localproviders/config.toml"
_SERVER = '[servers.gpu]\nkind = "openai-compatible"\nendpoint = "http://127.0.0.1:8000"\n'


@pytest.mark.parametrize(
    ("user", "parts"),
    [
        ("", []),
        ('model = "m"\n', []),
        ("a = 1\nb = 2\n", ["line 1: there is no key 'a'", "line 2: there is no key 'b'"]),
        ("[limits]\ntotal_s = -1\nidle_s = 'x'\n", ["line 2: ", "line 3: "]),
        (
            "[servers.gpu]\nkind = 'nope'\nendpoint = 'http://a b'\nfoo = 1\n",
            ["servers.gpu.kind must be one of", "servers.gpu.endpoint", "'servers.gpu.foo'"],
        ),
        (
            "[profiles.night]\nmodle = 'x'\n[profiles.day]\nlocality = 'x'\n",
            ["'profiles.night.modle'", "line 4: locality"],
        ),
        ("[servers]\n'bad name' = {}\n", ["'bad name' is not a valid name"]),
        ("servers = 1\nlimits = 2\n", ["servers must be a table", "limits must be a table"]),
        ("a = \n", ["cannot be parsed as TOML"]),
        ("[servers.gpu]\napi_key = {env = 'A', file = 'b'}\n", ["api_key must be"]),
        ("fallback = ['nope']\n", ["names the server 'nope'"]),
        ("[servers.gpu]\nkind = 'openai-compatible'\n", ["servers.gpu has no endpoint"]),
        (_SERVER + "api_key = {env = 'NOT_SET'}\n", ["NOT_SET is not set"]),
    ],
)
def test_each_problem_is_one_error(user: str, parts: List[str], home: Path) -> None:
    found = _problems(home, user)
    assert len(found) == len(parts), found
    assert all(part in line for part, line in zip(parts, found)), found


def test_both_files_and_the_variables_are_checked(home: Path) -> None:
    found = _problems(home, "a = 1\n", "b = 2\n", LOCALPROVIDERS_C="3", LOCALPROVIDERS_MODEL=" ")
    assert [line.partition(":")[0] for line in found[:2]] == [
        f"{_USER}, line 1",
        "~/project/localproviders.toml, line 1",
    ]
    assert "LOCALPROVIDERS_C" in found[2] and "LOCALPROVIDERS_MODEL" in found[3]


def test_a_variable_of_a_server_is_right_beside_the_one_that_adds_it(home: Path) -> None:
    more = {"ENDPOINT": "http://127.0.0.1:1", "KIND": "ollama", "MODEL": "m"}
    assert _problems(home, **{f"LOCALPROVIDERS_SERVERS_BOX_{n}": t for n, t in more.items()}) == []


def test_a_variable_of_a_server_in_a_profile_is_right(home: Path) -> None:
    user = "[profiles.night.servers.ollama]\nmodel = 'm'\n"
    assert _problems(home, user, LOCALPROVIDERS_SERVERS_OLLAMA_MODEL="x") == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
class TestRights:
    def test_a_file_that_others_can_write(self, home: Path) -> None:
        (found,) = _problems(home, "a = 1\n", mode=0o666)
        assert "can be written by other users" in found

    def test_a_key_that_others_can_read(self, home: Path) -> None:
        (found,) = _problems(home, _SERVER + "api_key = 'k'\n", mode=0o644)
        assert "other users can read the key" in found

    def test_a_key_that_others_can_read_beside_another_problem(self, home: Path) -> None:
        user = _SERVER + "api_key = 'k'\n"
        found = _problems(home, user, "a = 1\n", mode=0o644)
        assert len(found) == 2 and "other users can read the key" in found[1]

    def test_a_key_file_that_others_can_read(self, home: Path) -> None:
        key = home / "key"
        key.write_text("k", encoding="utf-8")
        key.chmod(0o644)
        (found,) = _problems(home, f"{_SERVER}api_key = {{file = '{key}'}}\n")
        assert "other users can read the key file" in found


def test_what_a_project_may_not_write(home: Path) -> None:
    (found,) = _problems(home, None, 'locality = "any"\n')
    assert "project" in found and "locality" in found


def test_a_profile_that_does_not_exist(home: Path) -> None:
    (found,) = _problems(home, "[profiles.night]\nmodel = 'm'\n", profile="nigth")
    assert "did you mean 'night'" in found


def test_a_file_with_too_many_servers(home: Path) -> None:
    user = "".join(f"[servers.s{n}]\nkind = 'ollama'\n" for n in range(101))
    (found,) = _problems(home, user)
    assert "101 servers" in found


# --- trusted folders --------------------------------------------------------------------------

_WAYS = ["user", "system", "variable", "none"]


def _trust(machine: Machine, way: str, folder: Path) -> None:
    """Name a trusted folder in one of the ways; the last of them names none."""
    if way == "variable":
        machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(folder)
    elif way in ("user", "system"):
        getattr(machine, way)(f"trusted_folders = ['{folder}']\n")


def _found(machine: Machine) -> List[str]:
    return [e.message for e in find_problems(directory=machine.work, environ=machine.environ)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("way", _WAYS)
def test_a_project_file_is_trusted_exactly_if_load_trusts_it(machine: Machine, way: str) -> None:
    _trust(machine, way, machine.work)
    machine.project("strategy = 'loaded'\n").chmod(0o666)
    if way in _WAYS[:3]:
        assert machine.load().strategy == "loaded"
        assert _found(machine) == []
    else:
        (found,) = _found(machine)
        assert "is not trusted" in found


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_the_folders_of_the_later_layer_are_trusted(machine: Machine) -> None:
    machine.project("strategy = 'loaded'\n").chmod(0o666)
    _trust(machine, "system", machine.work)
    assert _found(machine) == []
    _trust(machine, "user", machine.root / "other")
    assert "is not trusted" in _found(machine)[0]
    _trust(machine, "variable", machine.work)
    assert _found(machine) == []


def test_wrong_trusted_folders_are_one_problem(machine: Machine) -> None:
    machine.user("trusted_folders = ['work']\nmodle = 'm'\n")
    machine.project("strategy = 'loaded'\n")
    found = _found(machine)
    assert [": trusted_folders" in line for line in found] == [True, False], found


@pytest.mark.parametrize("way", _WAYS)
def test_on_windows_the_project_file_of_a_trusted_folder_is_found(
    machine: Machine, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On Windows, project files are searched for only in the home and in trusted folders.
    monkeypatch.setattr("sys.platform", "win32")
    machine.environ["USERPROFILE"] = str(machine.root / "home")
    machine.environ["APPDATA"] = str(machine.root / "home" / ".config")
    machine.environ["PROGRAMDATA"] = str(machine.root / "data")
    monkeypatch.setattr("tests.unit.config.conftest.SYSTEM", "data/localproviders/config.toml")
    path = machine.write("team/localproviders.toml", "strategy = 'loaded'\n")
    _trust(machine, way, path.parent)
    found = find_project(Surroundings(path.parent, machine.environ))
    # The system's file is not trusted there: any user can create it.
    assert found == (path if way in ("user", "variable") else None)
