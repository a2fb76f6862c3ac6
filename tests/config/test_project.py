"""A project file may only narrow: a hostile one changes nothing, and is named."""

from __future__ import annotations

from pathlib import Path
from typing import Type

import pytest

from localproviders import Config, ConfigurationError, LocalityError
from tests.config.conftest import Machine

_HOSTILE = [
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'http://evil.example'", 3, LocalityError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'http://10.0.0.1'", 3, LocalityError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'localhost.evil.example:1'", 3, LocalityError),
    ("[servers.ollama]\nendpoint = 'ollama.com'", 2, LocalityError),
    ("strategy = 'first'\nlocality = 'any'", 2, LocalityError),
    ("locality = 'private'", 1, LocalityError),
    ("[servers.ollama]\nlocality = 'private'", 2, LocalityError),
    ("[profiles.x]\nlocality = 'any'", 2, LocalityError),
    ("[profiles.x.servers.ollama]\nendpoint = '192.0.2.1'", 2, LocalityError),
    ("[servers.ollama]\napi_key = {command = ['touch', 'ran']}", 2, ConfigurationError),
    ("[profiles.x.servers.ollama.api_key]\ncommand = ['touch', 'ran']", 1, ConfigurationError),
    ("[servers.ollama]\napi_key = 'sk-1'", 2, ConfigurationError),
    ("[servers.ollama]\napi_key = {env = 'HOME'}", 2, ConfigurationError),
    ("[servers.ollama]\nallow_plaintext_key = true", 2, ConfigurationError),
    ("[servers.ollama]\nca_bundle = 'ca.pem'", 2, ConfigurationError),
    ("[servers.ollama]\nclient_cert = 'c.pem'", 2, ConfigurationError),
    ("[servers.ollama]\nproxies = {http = 'http://127.0.0.1:1'}", 2, ConfigurationError),
    ("[servers.mine]\nendpoint = 'http://127.0.0.1:6666'", 2, ConfigurationError),
    ("[servers.mine]\nkind = 'lmstudio'", 2, ConfigurationError),
    ("[servers.night]\nkind = 'ollama'", 2, ConfigurationError),
    ("[servers.x]\ngguf = '../m.gguf'", 2, ConfigurationError),
    ("[servers.x]\ngguf = '/m.gguf'", 2, ConfigurationError),
    ("[servers.lmstudio]\nendpoint = 'http://127.0.0.1:6666'", 2, ConfigurationError),
    ("[servers.x]\nkind = 'lmstudio'\nendpoint = 'http://127.0.0.1:6666'", 3, ConfigurationError),
    ("[servers.lmstudio]\nendpoint = 'http://[::1]:1234'", 2, ConfigurationError),
    ("[servers.lmstudio]\nendpoint = 'http://127.0.0.2:1234'", 2, ConfigurationError),
    (
        "[servers.x]\nkind = 'lmstudio'\nendpoint = '127.0.0.1:6666'\n"
        "[profiles.z.servers.x]\nkind = 'ollama'",
        3,
        ConfigurationError,
    ),
    (
        "[servers.lmstudio]\nendpoint = '127.0.0.1:6666'\n"
        "[profiles.z.servers.lmstudio]\nkind = 'ollama'",
        2,
        ConfigurationError,
    ),
]
_USER = """
[servers.mine]
kind = "openai-compatible"
endpoint = "https://mine.example/v1"
api_key = "sk-mine"
[profiles.p.servers.night]
kind = "ollama"
"""


@pytest.mark.parametrize("place", ["localproviders.toml", "pyproject.toml"])
@pytest.mark.parametrize(("text", "line", "kind"), _HOSTILE, ids=lambda v: str(v)[:40])
def test_a_hostile_project_file_changes_nothing_and_is_named(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    line: int,
    kind: Type[ConfigurationError],
    place: str,
) -> None:
    monkeypatch.chdir(machine.work)
    machine.user(_USER)
    machine.environ["LM_API_TOKEN"] = "sk-studio"
    before = machine.load()
    if place == "pyproject.toml":
        heads = [
            ("[servers", "[tool.localproviders.servers"),
            ("[profiles", "[tool.localproviders.profiles"),
        ]
        for plain, full in heads:
            text = text.replace(plain, full)
        if not text.startswith("["):
            text, line = f"[tool.localproviders]\n{text}", line + 1
    path = machine.project(text, place)
    with pytest.raises(kind) as caught:
        machine.load()
    assert type(caught.value) is kind
    assert caught.value.message.startswith(f"{path}, line {line}: ")
    assert caught.value.hint
    assert not (machine.work / "ran").exists()
    path.unlink()
    assert machine.load() == before


def test_a_project_file_may_add_what_is_on_this_machine(machine: Machine) -> None:
    machine.user(_USER)
    folder = machine.project(
        "[servers.own]\nkind='ollama'\nendpoint='localhost:1'\n[servers.small]\ngguf='m/a.gguf'\n"
        "[servers.mine]\nmodel='m'\n[servers.lmstudio]\nendpoint='127.0.0.1:1234'\n"
    ).parent
    servers = {server.name: server for server in machine.load().servers}
    assert servers["own"].endpoint == "localhost:1"
    assert servers["small"].gguf == folder / "m" / "a.gguf"
    assert (servers["mine"].model, servers["mine"].endpoint) == ("m", "https://mine.example/v1")
    assert set(servers) == {"mine", "own", "small", "lmstudio"}


def test_a_model_file_behind_a_link_that_leads_out_is_refused(machine: Machine) -> None:
    machine.write("secret.gguf", "")
    (machine.work / "m.gguf").symlink_to(machine.root / "secret.gguf")
    machine.project("[servers.x]\ngguf = 'm.gguf'")
    with pytest.raises(ConfigurationError, match="leaves the directory"):
        machine.load()


def test_a_link_that_leads_to_itself_leads_nowhere(machine: Machine) -> None:
    (machine.work / "m.gguf").symlink_to("m.gguf")
    machine.project("[servers.x]\ngguf = 'm.gguf'")
    assert machine.load().servers[0].gguf == machine.work / "m.gguf"


def test_a_project_file_narrows_what_the_user_allows(machine: Machine) -> None:
    machine.user("locality = 'any'\n[servers.ollama]\nlocality = 'any'\n")
    path = machine.project("locality = 'private'\n")
    found = machine.load()
    assert (found.locality, found.servers[0].locality) == ("private", "private")
    assert found.origin_of("servers.ollama.locality").file == path


def test_a_narrowing_cannot_be_used_to_widen_again(machine: Machine) -> None:
    machine.user("[servers.ollama]\nlocality = 'private'\n")
    machine.project("[servers.ollama]\nlocality = 'any'\n")
    with pytest.raises(LocalityError, match="may only narrow 'private'"):
        machine.load()


def test_a_narrower_variable_counts_against_the_project_too(machine: Machine) -> None:
    machine.user("locality = 'any'\n")
    machine.environ["LOCALPROVIDERS_LOCALITY"] = "loopback"
    machine.project("locality = 'private'\n")
    with pytest.raises(LocalityError, match="may only narrow 'loopback'"):
        machine.load()


def test_nothing_of_the_users_key_follows_a_variable_into_a_project(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_SERVERS_X_API_KEY"] = "sk-mine"
    machine.project("[servers.x]\nkind = 'ollama'\nendpoint = 'http://127.0.0.1:6666'\n")
    with pytest.raises(ConfigurationError, match="defined outside of this project file"):
        machine.load()


def test_an_empty_project_file_is_harmless(machine: Machine) -> None:
    machine.project("")
    assert machine.load() == Config()
    assert isinstance(machine.work, Path)
