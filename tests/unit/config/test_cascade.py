"""The layers of the configuration: precedence, inheritance, and the origin of each value."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from localproviders import Config, Limits, LMStudioProvider, OllamaProvider, RetryPolicy
from localproviders import OpenAICompatibleProvider as Compatible
from localproviders.config import Origin, ServerConfig
from tests.unit.config.conftest import Machine


def test_without_any_file_there_are_the_defaults(machine: Machine) -> None:
    found = machine.load()
    assert found == Config()
    assert found.origin_of("limits.total_s") == Origin()
    assert str(found.origin_of("locality")) == "default"


def test_without_a_home_there_is_no_user_file(machine: Machine) -> None:
    machine.user('model = "m"')
    machine.environ.clear()
    assert machine.load().model is None


def test_a_directory_that_is_gone_has_no_project_file(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    assert Config.load(environ={}) == Config()


def test_later_layers_win_and_say_so(machine: Machine) -> None:
    expected = []

    def check(value: str, origin: object, **arguments: Any) -> None:
        found = machine.load(**arguments)
        assert found.model == value
        assert str(found.origin_of("model")) == str(origin)
        expected.append(value)

    place = machine.system('# the house\nmodel = "system"\n')
    check("system", f"{place}, line 2")
    place = machine.user('model = "user"\n[profiles.night]\nmodel = "night"\n')
    check("user", f"{place}, line 1")
    nearer = machine.project('model = "project"\n')
    check("project", f"{nearer}, line 1")
    machine.environ["LOCALPROVIDERS_MODEL"] = "variable"
    check("variable", "the variable LOCALPROVIDERS_MODEL")
    check("night", f"{place}, line 3", profile="night")
    check("argument", "the argument model", profile="night", model="argument")
    assert len(expected) == 6


def test_a_table_is_merged_key_by_key(machine: Machine) -> None:
    machine.system("[limits]\ntotal_s = 10\nidle_s = 5\n")
    machine.user("[limits]\ntotal_s = inf\n")
    machine.environ["LOCALPROVIDERS_LIMITS_CONNECT_S"] = "0.5"
    machine.environ["LOCALPROVIDERS_RETRY_ATTEMPTS"] = "1"
    found = machine.load(limits={"load_s": 7})
    assert found.limits == Limits(connect_s=0.5, load_s=7, idle_s=5, total_s=math.inf)
    assert found.retry == RetryPolicy(attempts=1)
    assert found.origin_of("limits.load_s") == Origin(kind="argument", name="limits.load_s")


def test_limits_and_retries_are_also_taken_as_values(machine: Machine) -> None:
    found = machine.load(limits=Limits(total_s=9), retry=RetryPolicy(attempts=2), locality=None)
    assert (found.limits.total_s, found.retry.attempts, found.locality) == (9, 2, "loopback")


def test_a_profile_is_chosen_by_a_variable_and_outdone_by_the_argument(machine: Machine) -> None:
    machine.user("[profiles.a]\nstrategy='largest'\n[profiles.b]\nstrategy='smallest'\n")
    machine.environ["LOCALPROVIDERS_PROFILE"] = "a"
    by_variable, by_argument = machine.load(), machine.load(profile="b")
    assert (by_variable.profile, by_variable.strategy) == ("a", "largest")
    assert (by_argument.profile, by_argument.strategy) == ("b", "smallest")
    assert str(by_variable.origin_of("profile")) == "the variable LOCALPROVIDERS_PROFILE"


def test_a_server_inherits_limit_by_limit_and_tells_from_where(machine: Machine) -> None:
    place = machine.user(
        "[limits]\ntotal_s = 60\nidle_s = 5\n[servers.ollama]\n[servers.ollama.limits]\nidle_s = 9\n"
    )
    found = machine.load()
    (server,) = found.servers
    assert server.limits == Limits(total_s=60, idle_s=9)
    lines = [
        found.origin_of(f"servers.ollama.limits.{each}").line for each in ("total_s", "idle_s")
    ]
    assert lines == [2, 6]
    assert found.origin_of("servers.ollama").file == place
    assert found.origin_of("servers.ollama.limits.load_s") == Origin()


def test_the_narrower_locality_counts_where_both_are_written(machine: Machine) -> None:
    machine.user("[servers.ollama]\nlocality='any'\n[profiles.secret]\nlocality='loopback'\n")
    (open_server,), (closed,) = machine.load().servers, machine.load(profile="secret").servers
    assert (open_server.locality, closed.locality) == ("any", "loopback")
    origin = machine.load(profile="secret").origin_of("servers.ollama.locality")
    assert origin.line == 4


def test_the_fallback_is_all_servers_unless_said(machine: Machine) -> None:
    machine.user("[servers.lmstudio]\n[servers.ollama]\n")
    assert machine.load().fallback == ("lmstudio", "ollama")
    machine.environ["LOCALPROVIDERS_FALLBACK"] = "ollama, lmstudio"
    assert machine.load().fallback == ("ollama", "lmstudio")
    assert machine.load(fallback=[]).fallback == ()


def test_a_variable_reaches_a_server_that_a_file_names(machine: Machine) -> None:
    machine.user("[servers.gpu-box]\nkind = 'ollama'\n")
    machine.environ["LOCALPROVIDERS_SERVERS_GPU_BOX_ENDPOINT"] = "http://127.0.0.1:1"
    machine.environ["LOCALPROVIDERS_SERVERS_GPU_BOX_LIMITS_IDLE_S"] = "4"
    (server,) = machine.load().servers
    assert (server.endpoint, server.limits.idle_s) == ("http://127.0.0.1:1", 4)


def test_a_unix_socket_is_configured_by_the_user_and_by_a_variable(machine: Machine) -> None:
    machine.user("[servers.box]\nkind = 'openai-compatible'\nendpoint = 'unix:///run/a.sock'\n")
    (server,) = machine.load().servers
    assert server.endpoint == "unix:///run/a.sock"
    machine.environ["LOCALPROVIDERS_SERVERS_BOX_ENDPOINT"] = "unix:///run/b.sock:/llm/v1"
    (server,) = machine.load().servers
    assert server.endpoint == "unix:///run/b.sock:/llm/v1"
    assert Compatible(**server.options()).settings.endpoint.path == "/llm/v1"


def test_a_variable_that_is_empty_says_nothing(machine: Machine) -> None:
    machine.environ["LOCALPROVIDERS_LOCALITY"] = ""
    assert machine.load() == Config()


_EVERY_KIND = """
[servers.ollama]
model = "m"
[servers.lmstudio]
locality = "private"
[servers.far]
kind = "openai-compatible"
endpoint = "https://far.example/v1"
api_key = "sk-1234567890"
locality = "any"
proxies = {https = "http://proxy:3128"}
ca_bundle = "ca.pem"
client_cert = ["a.pem", "b.pem"]
allow_plaintext_key = true
retry.attempts = 1
[servers.small]
gguf = "small.gguf"
"""


def test_each_kind_gives_its_provider_what_it_takes(machine: Machine) -> None:
    folder = machine.user(_EVERY_KIND).parent
    ollama, studio, far, small = machine.load().servers
    assert OllamaProvider(**ollama.options()).settings.model == "m"
    assert LMStudioProvider(**studio.options()).settings.locality == "private"
    settings = Compatible(**far.options()).settings
    assert settings.endpoint.url == "https://far.example:443/v1"
    assert settings.ca_bundle == str(folder / "ca.pem")
    assert settings.client_cert == (str(folder / "a.pem"), str(folder / "b.pem"))
    assert settings.api_key is not None and settings.api_key.reveal() == "sk-1234567890"
    assert (settings.name, settings.retry.attempts) == ("far", 1)
    assert settings.proxies == {"https": "http://proxy:3128"} and settings.allow_plaintext_key
    assert small.options() == {"model": folder / "small.gguf", "start_timeout_s": 600}


def test_an_engine_without_a_limit_gets_one_that_a_pipe_can_take(machine: Machine) -> None:
    found = machine.load(servers={"x": {"gguf": "m.gguf", "limits": {"load_s": math.inf}}})
    assert found.servers[0].options()["start_timeout_s"] == 86_400


def test_a_proxy_is_left_out_where_a_profile_narrows(machine: Machine) -> None:
    machine.user(_EVERY_KIND + "[profiles.secret]\nlocality = 'loopback'\n")
    far = machine.load(profile="secret").servers[2]
    assert "proxies" not in far.options()
    assert Compatible(**far.options()).settings.locality == "loopback"


@pytest.mark.parametrize(
    ("written", "narrowed"),
    [
        ("[servers.ollama]\nlocality = 'any'\n", "[servers.ollama]\nlocality = 'private'\n"),
        ("locality = 'any'\n[servers.ollama]\n", "locality = 'private'\n"),
    ],
)
def test_whoever_narrows_need_not_know_of_a_proxy(
    machine: Machine, written: str, narrowed: str
) -> None:
    machine.user(written + "proxies = 'environment'\n")
    assert machine.load().servers[0].options()["proxies"] == "environment"
    machine.project(narrowed)
    found = machine.load().servers[0]
    assert found.locality == "private" and "proxies" not in found.options()


def test_a_profile_without_a_name_is_not_in_use_unasked(machine: Machine) -> None:
    machine.user("[profiles.'']\nstrategy = 'loaded'\n")
    assert machine.load().strategy == "first"


def test_a_configuration_survives_pickling_without_its_keys(machine: Machine) -> None:
    machine.user(_EVERY_KIND)
    found = machine.load()
    pickled = pickle.dumps(found)
    assert b"sk-1234567890" not in pickled
    again = pickle.loads(pickled)
    assert again.servers[0] == found.servers[0] and again.origins == found.origins


def test_nothing_of_a_key_or_a_proxy_shows(machine: Machine) -> None:
    machine.user(_EVERY_KIND.replace("proxy:3128", "proxy-word:3128"))
    found = machine.load()
    for shown in (repr(found), str(found), str(found.to_dict()["servers"][2]["api_key"])):
        assert "sk-1234567890" not in shown
    assert "proxy-word" not in repr(found)
    assert "proxy-word" not in repr([server.options() for server in found.servers])


def test_a_server_goes_through_a_dictionary(machine: Machine) -> None:
    machine.user("[servers.small]\ngguf = 'a.gguf'\n[servers.small.limits]\nload_s = 5\n")
    (server,) = machine.load().servers
    assert ServerConfig.from_dict(server.to_dict()) == server


def test_only_the_winning_key_is_read(machine: Machine) -> None:
    machine.user("[servers.ollama]\napi_key = {command = ['no-such-command']}\n")
    found = machine.load(servers={"ollama": {"api_key": "sk-other"}})
    key = found.servers[0].api_key
    assert key is not None and key.reveal() == "sk-other"


def test_an_unknown_origin_names_the_nearest_key(machine: Machine) -> None:
    with pytest.raises(
        ValueError, match=r"no key 'limits\.totals'; did you mean 'limits\.total_s'"
    ):
        machine.load().origin_of("limits.totals")


# --- where files are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {"XDG_CONFIG_HOME": "{root}/x"}, "x/localproviders/config.toml"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "home/.config/localproviders/config.toml"),
        ("darwin", {}, "home/Library/Application Support/localproviders/config.toml"),
        ("win32", {"APPDATA": "{root}/roaming"}, "roaming/localproviders/config.toml"),
        (
            "win32",
            {"PROGRAMDATA": "{root}/data", "LOCALPROVIDERS_TRUSTED_FOLDERS": "{root}/data"},
            "data/localproviders/config.toml",
        ),
    ],
)
def test_each_platform_has_its_places(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, platform: str, variables: Any, place: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    root = str(machine.root)
    machine.environ.update({n: v.replace("{root}", root) for n, v in variables.items()})
    path = machine.write(place, "strategy = 'loaded'\n")
    found = machine.load()
    assert (found.strategy, found.origin_of("strategy").file) == ("loaded", path)


def test_a_project_file_is_found_upwards_and_the_nearest_counts(machine: Machine) -> None:
    deep = machine.work / "a" / "b"
    deep.mkdir(parents=True)
    machine.project("strategy = 'loaded'\n")
    assert Config.load(directory=deep, environ=machine.environ).strategy == "loaded"
    machine.project("strategy = 'largest'\n", "a/localproviders.toml")
    assert Config.load(directory=deep, environ=machine.environ).strategy == "largest"


def test_the_search_ends_at_the_home(machine: Machine) -> None:
    machine.write("localproviders.toml", "strategy = 'loaded'\n")
    assert machine.load().strategy == "first"
    machine.write("home/localproviders.toml", "strategy = 'smallest'\n")
    assert machine.load().strategy == "smallest"


def test_the_search_ends_at_a_home_that_is_a_link(machine: Machine) -> None:
    machine.write("localproviders.toml", "strategy = 'loaded'\n")
    (machine.root / "link").symlink_to(machine.root / "home")
    machine.environ["HOME"] = str(machine.root / "link")
    assert machine.load().strategy == "first"


def test_a_home_that_nobody_may_look_into_says_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.user("strategy = 'loaded'\n")
    stat = Path.stat

    def denied(self: Path, **options: Any) -> Any:
        if ".config" in self.parts:
            raise PermissionError(13, "Permission denied")
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", denied)  # root may look everywhere
    assert machine.load() == Config()


def test_pyproject_is_read_where_it_has_our_table(machine: Machine) -> None:
    machine.project("[project]\nname = 'localproviders-user'\n", "pyproject.toml")
    assert machine.load().strategy == "first"
    text = (
        "[[tool.other]]\na = 1\n[[tool.other]]\na = 2\n[tool.localproviders]\nstrategy = 'loaded'\n"
    )
    path = machine.project(text, "pyproject.toml")
    found = machine.load()
    assert found.strategy == "loaded"
    assert str(found.origin_of("strategy")) == f"{path}, line 6"


@pytest.mark.parametrize(
    "text",
    [
        b"this is no TOML",
        b"# caf\xe9",
        b"\n" * 1_000_000,
        b"\n[tool.poetry.dependencies]\nlocalproviders = '^1'\nthis is no TOML",
        b"\n[tool.uv.sources]\nlocalproviders = {path = '..'}\nthis is no TOML",
        b"keywords = ['tool', 'localproviders']\nthis is no TOML",
    ],
    ids=lambda text: text[:40],
)
def test_a_pyproject_that_is_not_about_us_is_not_even_parsed(machine: Machine, text: bytes) -> None:
    machine.project("", "pyproject.toml").write_bytes(text)
    assert machine.load() == Config()


@pytest.mark.parametrize(
    "text",
    [
        "[tool.localproviders]\nstrategy = 'loaded'",
        "['tool' . \"localproviders\"]\nstrategy = 'loaded'",
        "tool . localproviders.strategy = 'loaded'",
        "tool = { localproviders = { strategy = 'loaded' } }",
        "tool = { other = 1, localproviders = { strategy = 'loaded' } }",
        "[tool]\nother = 1\nlocalproviders.strategy = 'loaded'",
        "[ \"tool\" ]\nlocalproviders = { strategy = 'loaded' }",
    ],
)
def test_our_table_is_read_however_it_is_written(machine: Machine, text: str) -> None:
    machine.project(text, "pyproject.toml")
    assert machine.load().strategy == "loaded"
