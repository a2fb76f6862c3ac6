"""The headers, the user and the password of a server in the configuration."""

from __future__ import annotations

import pickle
from typing import Any, Dict, List, Mapping

import pytest

from localproviders import Config, ConfigurationError, LocalProvider, SecretString
from localproviders.config import ServerConfig
from localproviders.testing import ScriptedServer
from tests.support.locality import KEY, good
from tests.unit.config.conftest import Machine

_SERVER = "[servers.x]\nkind = 'openai-compatible'\nendpoint = 'http://127.0.0.1:1/v1'\n"


def test_every_form_of_a_value_is_read(machine: Machine) -> None:
    machine.environ["MY_KEY"] = KEY
    machine.write("home/.config/localproviders/key.txt", f"{KEY}\n").chmod(0o600)
    machine.user(
        f"{_SERVER}username = 'me'\npassword = {{file = 'key.txt'}}\n"
        "[servers.x.headers]\nX-Team = 'research'\nX-API-Key = 'literal-key'\n"
        "X-Other = {env = 'MY_KEY'}\nX-Third = {command = ['echo', 'told']}\n"
        "[profiles.p.servers.x.headers]\nX-Team = 'other'\n"
    )
    found = machine.load().servers[0]
    headers: Any = found.headers

    assert (found.username, found.password) == (SecretString("me"), SecretString(KEY))
    assert headers.revealed() == {
        "X-Team": "research",
        "X-API-Key": "literal-key",
        "X-Other": KEY,
        "X-Third": "told",
    }
    assert isinstance(headers["X-Team"], str)
    assert len(headers.keys_in_values) == 3
    assert machine.load().origin_of("servers.x.headers.X-Team").line == 7
    other: Any = machine.load(profile="p").servers[0].headers
    assert (other["X-Team"], len(other)) == ("other", 4)
    shown = f"{found!r}{found.to_dict()}{pickle.dumps(found)!r}{vars(found)}{found.options()!r}"
    assert KEY[:9] not in shown and "literal" not in shown


def test_a_configured_server_receives_the_headers() -> None:
    logins: List[Mapping[str, Any]] = [
        {"headers": {"X-Team": "a"}, "username": "me", "password": "€"},
        {"headers": {"X-Team": "a", "Authorization": SecretString("Basic bWU64oKs")}},
    ]
    for login in logins:
        with ScriptedServer(good) as server:
            table = {"kind": "openai-compatible", "endpoint": server.url + "/v1", **login}
            config = Config.load(environ={}, servers={"x": table})
            with LocalProvider(config=config) as provider:
                provider.chat("Hi", model="x/m")
        sent = server.exchanges[-1].headers
        assert (sent["x-team"], sent["authorization"]) == ("a", "Basic bWU64oKs")


_REFUSED: Mapping[str, Any] = {
    "username = 'me'": (4, "servers.x.username needs password"),
    "password = 'p'": (4, "servers.x.password needs username"),
    "username = 'u'\npassword = 'p'\napi_key = 'k'": (5, "password and api_key cannot both"),
    "api_key = 'k'\nheaders.authorization = 'x'": (5, "headers.authorization and api_key cannot"),
    "headers.Host = 'x'": (4, "the header Host cannot be set"),
    "headers.'a b' = 'x'": (4, "servers.x.headers is invalid"),
    "headers.X-A = '1'\nheaders.x-a = '2'": (4, "given twice"),
    "headers.X-A = \"a\\r\\nb\"": (4, "a header line cannot contain"),
    "headers.X-A = ''": (4, "servers.x.headers.X-A"),
    "api_key = '“'": (4, "a header line cannot contain"),
    "api_key = {env = 'QUOTED'}": (4, "a header line cannot contain"),
    "headers.X-A = {env = 'QUOTED'}": (4, "a header line cannot contain"),
    "headers.X-Key = '“'": (4, "a header line cannot contain"),
    "headers.X-A = 5": (4, "must be a string, {env"),
    "headers.X-A = '${MY_KEY}'": (4, "is the name of a variable"),
    "headers = 'X-A: 1'": (4, "must be a table"),
}  # fmt: skip


@pytest.mark.parametrize("lines", _REFUSED)
def test_an_impossible_header_is_refused_with_its_line(machine: Machine, lines: str) -> None:
    machine.environ["QUOTED"] = "“"
    machine.user(f"{_SERVER}{lines}\n")
    line, words = _REFUSED[lines]
    with pytest.raises(ConfigurationError) as caught:
        machine.load()
    assert words in caught.value.message
    assert f"config.toml, line {line}:" in caught.value.message


def test_a_model_file_has_no_headers(machine: Machine) -> None:
    machine.user("[servers.x]\ngguf = 'm.gguf'\nheaders.X-A = 'a'\n")
    with pytest.raises(ConfigurationError, match="headers is not a key of a server of the kind"):
        machine.load()


def test_a_readable_file_must_not_contain_a_key_in_a_header(machine: Machine) -> None:
    lines: Dict[str, bool] = {
        "headers.X-Team = 'a'": False,
        "headers.cookie = 'a'": True,
        "headers.X-Access-Token = 'a'": True,
        "username = 'u'\npassword = {env = 'HOME'}": True,
        "[profiles.p.servers.x]\nheaders.X-API-KEY = 'a'": True,
    }
    for line, is_key in lines.items():
        machine.user(f"{_SERVER}{line}\n").chmod(0o644)
        if not is_key:
            assert machine.load().servers[0].headers
            continue
        with pytest.raises(ConfigurationError, match="other users can read the key"):
            machine.load()


def test_a_user_without_a_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="together"):
        ServerConfig(name="x", kind="ollama", username=SecretString("me"))
