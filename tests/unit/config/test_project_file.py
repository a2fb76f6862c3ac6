"""A project file may only restrict settings; a hostile file has no effect and is reported."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Type

import pytest

from localproviders import Config, ConfigurationError, Limits, LocalityError, RetryPolicy
from tests.unit.config.conftest import Machine

# Keys that no project file may have, in any folder.
_NEVER = [
    ("strategy = 'first'\nlocality = 'any'", 2, LocalityError),
    ("locality = 'private'", 1, LocalityError),
    ("[servers.ollama]\nlocality = 'private'", 2, LocalityError),
    ("[profiles.x]\nlocality = 'any'", 2, LocalityError),
    ("[servers.ollama]\napi_key = {command = ['touch', 'ran']}", 2, ConfigurationError),
    ("[profiles.x.servers.ollama.api_key]\ncommand = ['touch', 'ran']", 1, ConfigurationError),
    ("[servers.ollama]\napi_key = 'sk-1'", 2, ConfigurationError),
    ("[servers.ollama]\napi_key = {env = 'HOME'}", 2, ConfigurationError),
    ("[servers.ollama]\nallow_plaintext_key = true", 2, ConfigurationError),
    ("[servers.ollama]\nusername = 'u'\npassword = 'p'", 2, ConfigurationError),
    ("[servers.ollama]\npassword = {env = 'HOME'}", 2, ConfigurationError),
    ("[servers.ollama]\nheaders = {X-Team = 'a'}", 2, ConfigurationError),
    ("[servers.ollama.headers]\nCookie = {command = ['touch', 'ran']}", 2, ConfigurationError),
    ("[profiles.x.servers.ollama.headers]\nX-Team = {env = 'HOME'}", 2, ConfigurationError),
    ("[servers.ollama]\nca_bundle = 'ca.pem'", 2, ConfigurationError),
    ("[servers.ollama]\nclient_cert = 'c.pem'", 2, ConfigurationError),
    ("[servers.ollama]\nproxies = {http = 'http://127.0.0.1:1'}", 2, ConfigurationError),
    ("[servers.ollama]\nendpoint = 'ollama.com'", 2, ConfigurationError),
    ("[servers.ollama]\nendpoint = 'http://127.0.0.1:6666'", 2, ConfigurationError),
    ("[servers.ollama]\nkind = 'lmstudio'", 2, ConfigurationError),
    ("[profiles.x.servers.ollama]\nendpoint = '192.0.2.1'", 2, ConfigurationError),
    ("[servers.mine]\nendpoint = 'http://127.0.0.1:6666'", 2, ConfigurationError),
    ("[servers.mine]\nendpoint = 'unix:///run/x.sock'", 2, ConfigurationError),
    ("[servers.mine]\nkind = 'lmstudio'", 2, ConfigurationError),
    ("[servers.mine]\ngguf = 'm.gguf'", 2, ConfigurationError),
    ("[servers.night]\nkind = 'ollama'", 2, ConfigurationError),
    ("[servers.lmstudio]\nendpoint = 'http://127.0.0.1:6666'", 2, ConfigurationError),
    ("[servers.lmstudio]\nendpoint = 'http://[::1]:1234'", 2, ConfigurationError),
    ("[servers.lmstudio]\nkind = 'openai-compatible'", 2, ConfigurationError),
    ("[servers.ollama]\nkind = 'anthropic'", 2, ConfigurationError),
    ("[servers.anthropic]\nmodel = 'm'", 1, ConfigurationError),
    ("trusted_folders = ['/']", 1, ConfigurationError),
    ("[profiles.x]\ntrusted_folders = ['/']", 2, ConfigurationError),
    ("[retry]\nfirst_wait_s = 0.000001", 2, ConfigurationError),
    ("[retry]\nlongest_wait_s = 3600", 2, ConfigurationError),
    ("[profiles.x.servers.ollama.retry]\nfirst_wait_s = 0", 2, ConfigurationError),
    ("[aliases]\n'ollama/llama3.2' = ['far/m']", 2, ConfigurationError),
    ("[aliases]\n'qwen/qwen3-4b' = ['ollama/m']", 2, ConfigurationError),
    ("[aliases]\nfast = ['ollama/m']", 2, ConfigurationError),
    ("[profiles.x.aliases]\nfast = ['ollama/m']", 2, ConfigurationError),
    ("[aliases]\nslow = ['ollama/m']", 2, ConfigurationError),
    ("[aliases]\nmine = ['ollama/m']", 2, ConfigurationError),
    ("[aliases]\nlmstudio = ['ollama/m']", 2, ConfigurationError),
    ("[aliases]\ngguf = ['ollama/m']", 2, ConfigurationError),
]
# Keys that a project file may have only in a trusted folder.
_ELSEWHERE = [
    ("[servers.x]\nkind = 'ollama'", 1, ConfigurationError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'http://127.0.0.1:6666'", 1, ConfigurationError),
    ("[servers.x]\nmodel = 'm'", 1, ConfigurationError),
    ("servers.x.limits.total_s = 1", 1, ConfigurationError),
    ("[servers.x]\ngguf = 'm.gguf'", 1, ConfigurationError),
    ("[profiles.z.servers.x]\nkind = 'ollama'", 1, ConfigurationError),
    ("model = 'far/m'", 1, LocalityError),
    ("model = 'distant'", 1, LocalityError),
    ("fallback = ['far', 'ollama']", 1, LocalityError),
    ("[servers.far]\nmodel = 'm:cloud'", 2, LocalityError),
    ("[aliases]\nquick = ['ollama/m', 'far/m']", 2, LocalityError),
]
# Keys that a project file may not have even in a trusted folder.
_TOO_FAR = [
    ("[servers.x]\nkind = 'anthropic'", 2, ConfigurationError),
    ("[profiles.z.servers.x]\nkind = 'anthropic'", 2, ConfigurationError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'http://evil.example'", 3, LocalityError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'http://10.0.0.1'", 3, LocalityError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'localhost.evil.example:1'", 3, LocalityError),
    ("[servers.x]\nkind = 'ollama'\nendpoint = 'unix:///run/x.sock'", 3, ConfigurationError),
    ("[profiles.z.servers.x]\nkind = 'ollama'\nendpoint = 'unix:///x:/v1'", 3, ConfigurationError),
    ("[servers.x]\ngguf = '../m.gguf'", 2, ConfigurationError),
    ("[servers.x]\ngguf = '/m.gguf'", 2, ConfigurationError),
    ("[servers.x]\nkind = 'lmstudio'\nendpoint = 'http://127.0.0.1:6666'", 3, ConfigurationError),
    (
        "[servers.x]\nkind = 'lmstudio'\nendpoint = '127.0.0.1:6666'\n"
        "[profiles.z.servers.x]\nkind = 'ollama'",
        3,
        ConfigurationError,
    ),
    (
        "[servers.x]\nkind = 'ollama'\nendpoint = '127.0.0.1:6666'\n"
        "[profiles.z.servers.x]\nkind = 'lmstudio'",
        3,
        ConfigurationError,
    ),
]
_HOSTILE = [
    *((*row, False) for row in [*_NEVER, *_ELSEWHERE]),
    *((*row, True) for row in [*_NEVER, *_TOO_FAR]),
]
_USER = """
[servers.mine]
kind = "openai-compatible"
endpoint = "https://mine.example/v1"
api_key = "sk-mine"
[servers.far]
kind = "openai-compatible"
endpoint = "https://far.example/v1"
locality = "any"
[aliases]
fast = ["ollama/llama3.2"]
distant = ["far/m"]
[profiles.p.servers.night]
kind = "ollama"
[profiles.p.aliases]
slow = ["ollama/llama3.2"]
"""


@pytest.mark.sample(11)
@pytest.mark.parametrize("place", ["localproviders.toml", "pyproject.toml"])
@pytest.mark.parametrize(("text", "line", "kind", "trusted"), _HOSTILE, ids=lambda v: str(v)[:40])
def test_a_hostile_project_file_changes_nothing_and_is_named(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    line: int,
    kind: Type[ConfigurationError],
    trusted: bool,
    place: str,
) -> None:
    monkeypatch.chdir(machine.work)
    if trusted:
        machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work)
    machine.user(_USER)
    machine.environ["LM_API_TOKEN"] = "sk-studio"
    before = machine.load()
    if place == "pyproject.toml":
        heads = [
            ("[servers", "[tool.localproviders.servers"),
            ("[profiles", "[tool.localproviders.profiles"),
            ("[aliases", "[tool.localproviders.aliases"),
            ("[retry", "[tool.localproviders.retry"),
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


def test_a_project_file_may_choose_among_the_servers_of_the_user(machine: Machine) -> None:
    machine.user(_USER)
    machine.project(
        "model = 'quick'\nstrategy = 'loaded'\nfallback = ['ollama', 'mine']\n"
        "[servers.mine]\nmodel='m'\n[servers.lmstudio]\nmodel='n'\n"
        "[aliases]\nquick = ['ollama/a', 'mine/b', 'c']\n"
    )
    found = machine.load()
    servers = {server.name: server for server in found.servers}
    assert (servers["mine"].model, servers["mine"].endpoint) == ("m", "https://mine.example/v1")
    assert (servers["lmstudio"].model, servers["lmstudio"].endpoint) == ("n", None)
    assert set(servers) == {"mine", "far", "lmstudio"}
    assert found.fallback == ("ollama", "mine") and found.model == "quick"
    assert found.aliases["quick"] == ("ollama/a", "mine/b", "c")
    assert found.origin_of("aliases.quick").of_project
    assert not found.origin_of("aliases.fast").of_project


def test_a_variable_with_the_address_of_ollama_is_not_overruled(machine: Machine) -> None:
    machine.environ.update(
        OLLAMA_HOST="127.0.0.1:7777", LOCALPROVIDERS_TRUSTED_FOLDERS=str(machine.work)
    )
    machine.project("[servers.ollama]\nendpoint = 'http://127.0.0.1:6666'\n")
    with pytest.raises(ConfigurationError, match="defined outside of this project file"):
        machine.load()


# --- trusted folders ---------------------------------------------------------------------------

_OWN = (
    "model = 'far/m'\n[servers.own]\nkind='ollama'\nendpoint='localhost:1'\n"
    "[servers.small]\ngguf='m/a.gguf'\n[servers.studio]\nkind='lmstudio'\n"
)


@pytest.mark.parametrize("way", ["user", "system", "variable", "argument"])
def test_a_project_file_in_a_trusted_folder_may_add_servers(machine: Machine, way: str) -> None:
    text = f"trusted_folders = ['{machine.work.parent}']\n"
    machine.user(_USER if way != "user" else text + _USER)
    machine.system("" if way != "system" else text)
    if way == "variable":
        machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work.parent)
    arguments = {"trusted_folders": [machine.work.parent]} if way == "argument" else {}
    folder = machine.project(_OWN).parent
    found = machine.load(**arguments)
    servers = {server.name: server for server in found.servers}
    assert servers["own"].endpoint == "localhost:1"
    assert servers["small"].gguf == folder / "m" / "a.gguf"
    assert found.trusted_folders == (machine.work.parent,)
    assert found.origin_of("servers.own.endpoint").in_trusted_folder
    assert str(found.origin_of("trusted_folders")) != "default"
    assert set(servers) == {"mine", "far", "own", "small", "studio"}


def test_the_later_layer_says_which_folders_are_trusted(machine: Machine) -> None:
    machine.user(f"trusted_folders = ['{machine.work}']\n")
    machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.root / "other")
    machine.project(_OWN)
    with pytest.raises(ConfigurationError, match="is a new server, which"):
        machine.load()


def test_a_home_is_a_beginning_of_a_trusted_folder(machine: Machine) -> None:
    machine.user("trusted_folders = ['~/work']\n" + _USER)
    machine.project(_OWN)
    assert machine.load().trusted_folders == (machine.work,)


@pytest.mark.parametrize("folder", ["work", "./work", "~me/work"])
@pytest.mark.parametrize("way", ["file", "variable"])
def test_a_relative_trusted_folder_is_refused(machine: Machine, way: str, folder: str) -> None:
    if way == "file":
        machine.user(f"trusted_folders = ['{folder}']\n")
    else:
        machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = folder
    with pytest.raises(ConfigurationError, match=f"{folder}'"):
        machine.load()


def test_trusted_folders_stand_in_no_profile(machine: Machine) -> None:
    path = machine.user("[profiles.x]\ntrusted_folders = ['/']\n")
    with pytest.raises(ConfigurationError) as caught:
        machine.load()
    assert caught.value.message.startswith(
        f"{path}, line 2: profiles.x.trusted_folders is not allowed"
    )


def test_a_server_of_a_trusted_folder_goes_as_far_as_the_user_allows(machine: Machine) -> None:
    machine.user(f"locality = 'private'\ntrusted_folders = ['{machine.work}']\n")
    machine.project("[servers.x]\nkind='ollama'\nendpoint='http://10.0.0.1:1'\n")
    (server,) = machine.load().servers
    assert (server.endpoint, server.locality) == ("http://10.0.0.1:1", "private")


@pytest.mark.parametrize("endpoint", ["ollama.com", "https://OLLAMA.com", "https://ollama.com./x"])
def test_no_key_of_ollama_goes_where_a_project_leads(machine: Machine, endpoint: str) -> None:
    machine.user(f"locality = 'any'\ntrusted_folders = ['{machine.work}']\n")
    machine.project(f"[servers.x]\nkind='ollama'\nendpoint='{endpoint}'\n")
    with pytest.raises(ConfigurationError, match="would receive the key in OLLAMA_API_KEY"):
        machine.load()


def test_discovery_is_told_whose_an_address_is(machine: Machine) -> None:
    machine.user(_USER + "[servers.studio]\nkind='lmstudio'\nendpoint='127.0.0.1:2'\n")
    machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work)
    machine.project("[servers.x]\nkind='openai-compatible'\nendpoint='127.0.0.1:1'\n")
    found = machine.load()
    assert found.endpoints == ("https://mine.example/v1", "https://far.example/v1", "127.0.0.1:2")
    assert found.project_endpoints == ("127.0.0.1:1",)
    addresses = pickle.loads(pickle.dumps([*found.endpoints, *found.project_endpoints]))
    assert [address.keys_of for address in addresses] == [
        ("openai-compatible",),
        ("openai-compatible",),
        ("lmstudio",),
        (),
    ]


def test_a_model_file_behind_a_link_that_leads_out_is_refused(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work)
    machine.write("secret.gguf", "")
    (machine.work / "m.gguf").symlink_to(machine.root / "secret.gguf")
    machine.project("[servers.x]\ngguf = 'm.gguf'")
    with pytest.raises(ConfigurationError, match="must stay inside the directory"):
        machine.load()


def test_a_link_that_leads_to_itself_leads_nowhere(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work)
    (machine.work / "m.gguf").symlink_to("m.gguf")
    machine.project("[servers.x]\ngguf = 'm.gguf'")
    assert machine.load().servers[0].gguf == machine.work / "m.gguf"


# --- narrowing ---------------------------------------------------------------------------------


def test_a_smaller_limit_counts_and_a_larger_one_does_not(machine: Machine) -> None:
    user = machine.user("[limits]\ntotal_s = 30\nidle_s = 20\n[servers.ollama]\n")
    project = machine.project(
        "[limits]\ntotal_s = 60\nidle_s = 10\nload_s = inf\n[retry]\nattempts = 1000000000\n"
        "[servers.ollama.limits]\ntotal_s = 50\nidle_s = 15\n[servers.ollama.retry]\nattempts = 2\n"
    )
    found = machine.load()
    assert found.limits == Limits(total_s=30, idle_s=10)
    assert found.retry == RetryPolicy()
    assert found.servers[0].limits == Limits(total_s=30, idle_s=15)
    assert found.servers[0].retry == RetryPolicy(attempts=2)
    assert found.origin_of("limits.total_s").file == user
    assert found.origin_of("servers.ollama.limits.total_s").file == user
    assert found.origin_of("limits.idle_s").file == project
    assert str(found.origin_of("retry.attempts")) == "default"


def test_a_limit_is_compared_with_what_counts_without_the_file(machine: Machine) -> None:
    machine.user("[profiles.p]\nlimits.total_s = 30\n[servers.ollama]\n")
    machine.environ["LOCALPROVIDERS_LIMITS_IDLE_S"] = "7"
    machine.project(
        "[servers.ollama.limits]\ntotal_s = 60\nidle_s = 60\n"
        "[profiles.p.limits]\ntotal_s = 50\nidle_s = 50\n"
    )
    found = machine.load(profile="p")
    assert (found.limits.total_s, found.limits.idle_s) == (30, 7)
    assert (found.servers[0].limits.total_s, found.servers[0].limits.idle_s) == (30, 7)
    assert found.servers[0].limits.replace(idle_s=7) == machine.load(profile="p").limits


def test_a_server_may_have_more_than_the_whole_where_the_user_says_so(machine: Machine) -> None:
    machine.user("[servers.ollama.limits]\ntotal_s = 9000\n")
    machine.project("[limits]\ntotal_s = 60\n[servers.ollama.limits]\ntotal_s = 5000\n")
    found = machine.load()
    assert (found.limits.total_s, found.servers[0].limits.total_s) == (60, 5000)


def test_a_project_file_narrows_what_the_user_allows(machine: Machine) -> None:
    machine.user("locality = 'any'\n[servers.ollama]\nlocality = 'any'\n")
    path = machine.project("locality = 'private'\n")
    found = machine.load()
    assert (found.locality, found.servers[0].locality) == ("private", "private")
    assert found.origin_of("servers.ollama.locality").file == path


def test_a_narrowing_cannot_be_used_to_widen_again(machine: Machine) -> None:
    machine.user("[servers.ollama]\nlocality = 'private'\n")
    machine.project("[servers.ollama]\nlocality = 'any'\n")
    with pytest.raises(LocalityError, match="may only narrow the locality 'private'"):
        machine.load()


def test_a_narrower_variable_counts_against_the_project_too(machine: Machine) -> None:
    machine.user("locality = 'any'\n")
    machine.environ["LOCALPROVIDERS_LOCALITY"] = "loopback"
    machine.project("locality = 'private'\n")
    with pytest.raises(LocalityError, match="may only narrow the locality 'loopback'"):
        machine.load()


def test_nothing_of_the_users_key_follows_a_variable_into_a_project(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_SERVERS_X_API_KEY"] = "sk-mine"
    machine.environ["LOCALPROVIDERS_TRUSTED_FOLDERS"] = str(machine.work)
    machine.project("[servers.x]\nkind = 'ollama'\nendpoint = 'http://127.0.0.1:6666'\n")
    with pytest.raises(ConfigurationError, match="defined outside of this project file"):
        machine.load()


def test_a_wider_place_may_be_chosen_where_the_whole_is_that_wide(machine: Machine) -> None:
    machine.user("locality = 'any'\n" + _USER)
    machine.project("model = 'distant'\nfallback = ['far']\n[aliases]\nquick = ['far/m']\n")
    assert machine.load().model == "distant"
    with pytest.raises(LocalityError, match="chooses far, whose locality"):
        machine.user(_USER)
        machine.load()


def test_a_table_behind_a_byte_order_mark_narrows_too(machine: Machine) -> None:
    machine.user("locality = 'any'\n")
    text = "[tool]\nlocalproviders = {locality = 'loopback'}\n"
    machine.project(f"\ufeff{text}", "pyproject.toml")
    assert machine.load().locality == "loopback"


def test_an_empty_project_file_is_harmless(machine: Machine) -> None:
    machine.project("")
    assert machine.load() == Config()
    assert isinstance(machine.work, Path)
