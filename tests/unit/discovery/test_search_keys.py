"""A search sends a key only to its own server, uses no proxy, and requests only lists."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from localproviders import (
    Config,
    ConfigurationError,
    FoundServer,
    LMStudioProvider,
    ProviderError,
    RetryPolicy,
    cli,
    discover,
)
from localproviders._address import parse_endpoint
from localproviders.config.values import ConfiguredAddress
from localproviders.discovery import candidates
from localproviders.openai_compatible.wire.products import PRODUCTS
from localproviders.testing import (
    Exchange,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeOllama,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)
from tests.support.locality import SilentListener
from tests.unit.discovery.support import find_server

TOKEN = "sk-lm-AbCdEfGh:0123456789abcdefghij"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_API_KEY", "LM_API_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, TOKEN)


def sent(server: Any) -> Dict[str, Optional[str]]:
    """Return the key in the request for each path."""
    return {each.path: each.headers.get("authorization") for each in server.exchanges}


def test_only_lm_studio_is_shown_the_token_and_not_before_it_has_greeted() -> None:
    with FakeOllama() as ollama, FakeOpenAICompatible() as other, FakeLMStudio() as studio:
        discover([ollama.url, other.url, studio.url])

    assert set(sent(ollama).values()) == set(sent(other).values()) == {None}
    assert sent(studio) == {"/lmstudio-greeting": None, "/api/v1/models": f"Bearer {TOKEN}"}


def test_a_given_lm_studio_that_wants_its_token_gets_it() -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        found = find_server(studio.url)
        with found.make_provider() as provider:
            assert provider.list_models()

    assert (found.kind, found.state, found.generation) == ("lmstudio", "available", "0.4")


def usual(server: Any, monkeypatch: pytest.MonkeyPatch) -> FoundServer:
    """Find a server at a usual port that the caller did not name."""
    monkeypatch.setattr(candidates, "usual_ports", lambda: {server.port: "somebody"})
    (found,) = discover().servers
    return found


def test_who_only_says_that_it_is_lm_studio_is_not_shown_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        found = usual(studio, monkeypatch)
        with found.make_provider() as provider:
            with pytest.raises(Exception, match="API token is required"):
                provider.list_models()
        assert set(sent(studio).values()) == {None}
        with found.make_provider(api_key=TOKEN) as provider:
            assert provider.list_models()

    assert (found.kind, found.state) == ("lmstudio", "needs a key")


def test_the_place_where_the_provider_itself_goes_is_shown_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", studio.port)
        found = usual(studio, monkeypatch)

    assert LMStudioProvider().settings.endpoint.port == studio.port
    assert (found.kind, found.state) == ("lmstudio", "available")


def test_the_key_of_llama_cpp_is_shown_only_at_its_default_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", TOKEN)
    with FakeLlamaCpp(api_key=TOKEN) as fake:
        elsewhere = usual(fake, monkeypatch)
        assert set(sent(fake).values()) == {None}
        place = parse_endpoint(fake.url, default_port=80)
        monkeypatch.setattr("localproviders.llamacpp.provider._PORT", fake.port)
        monkeypatch.setattr("localproviders.llamacpp.provider._DEFAULT", place)
        found = usual(fake, monkeypatch)
        with found.make_provider() as provider:
            assert provider.list_models()

    assert (elsewhere.kind, elsewhere.state) == ("llamacpp", "needs a key")
    assert (found.kind, found.state) == ("llamacpp", "available")
    assert found.version == "b11549-fake"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


@pytest.mark.sample(2)
@pytest.mark.parametrize("how", ["stranger", "trusted folder", "user"])
@pytest.mark.parametrize("kind", ["openai-compatible", "ollama", "lmstudio"])
def test_only_an_address_of_the_users_own_kind_lmstudio_is_shown_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    user = tmp_path / "own" / "localproviders" / "config.toml"
    with FakeLMStudio(api_key=TOKEN) as studio:
        text = f"[servers.x]\nkind = '{kind}'\nendpoint = '{studio.url}/v1'\n"
        _write(user if how == "user" else tmp_path / "localproviders.toml", text)
        if how == "trusted folder":
            _write(user, f"trusted_folders = ['{tmp_path}']\n")
        refused = how == "stranger" or (how == "trusted folder" and kind == "lmstudio")
        for search in (lambda: cli.main(["discover"]), _search_configured):
            try:
                search()
            except ConfigurationError:
                assert refused
        keys = set(sent(studio).values())
    expected = {None, f"Bearer {TOKEN}"} if (how, kind) == ("user", "lmstudio") else {None}
    assert keys == (set() if refused else expected)


_LOGINS: Dict[str, Any] = {
    "api_key": ("api_key = 'configured-key'\n", "authorization", "Bearer configured-key"),
    "headers": ("[servers.x.headers]\nX-Team = 'research'\n", "x-team", "research"),
    "secret headers": ("[servers.x.headers]\nX-Api-Key = 'hush-hush'\n", "x-api-key", "hush-hush"),
    "auth": ("username = 'me'\npassword = 'p'\n", "authorization", "Basic bWU6cA=="),
}


def _behind_gateway(name: str, value: str) -> Any:
    def script(exchange: Exchange) -> List[Any]:
        if exchange.headers.get(name) != value:
            return [http_answer({"error": "who are you?"}, status="401 Unauthorized")]
        models = {"data": [{"id": "m", "object": "model"}], "object": "list"}
        is_list = exchange.path == "/v1/models"
        return [http_answer(models) if is_list else http_answer({}, status="404 Not Found")]

    return script


@pytest.mark.parametrize("login", _LOGINS)
def test_a_configured_server_receives_its_own_login(
    login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    lines, name, value = _LOGINS[login]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    user = tmp_path / "own" / "localproviders" / "config.toml"
    with ScriptedServer(_behind_gateway(name, value)) as server:
        with ScriptedServer(_behind_gateway(name, value)) as other:
            endpoint = f"kind = 'openai-compatible'\nendpoint = '{server.url}/v1'\n"
            _write(user, f"[servers.x]\n{endpoint}{lines}")
            user.chmod(0o600)
            assert cli.main(["discover", other.url]) == 0
            found = discover(Config.load(environ={**os.environ}).endpoints, refresh=True)
    assert [each.state for each in found.servers] == ["available"]
    assert {each.headers.get(name) for each in server.exchanges} == {value}
    assert not {each.headers.get(name) for each in other.exchanges} & {value}
    shown = f"{found!r}{found.explain()}{pickle.dumps(found)!r}{capsys.readouterr()}"
    assert value not in shown


def test_a_configured_login_is_not_sent_in_the_clear_or_from_a_pickle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {"kind": "openai-compatible", "endpoint": "http://10.0.0.1:9/v1", "locality": "private"}
    config = Config.load(
        environ={}, locality="private", servers={"x": {**table, "headers": {"X-Api-Key": "hush"}}}
    )
    (found,) = [
        s for s in discover(config.endpoints, locality="private").servers if "10.0" in s.endpoint
    ]
    assert (found.state, "in the clear" in found.reason) == ("unavailable", True)
    assert b"hush" not in pickle.dumps(config.endpoints)


def _search_configured() -> None:
    config = Config.load()
    found = discover([*config.endpoints, *config.project_endpoints], refresh=True)
    for server in found.servers:
        with server.make_provider(retry=RetryPolicy(attempts=1)) as provider:
            try:
                provider.list_models()
            except ProviderError:
                pass


def test_an_address_that_the_caller_gives_too_is_shown_the_token() -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        found = discover([ConfiguredAddress(studio.url), studio.url]).servers
    assert [server.state for server in found] == ["available"]


def test_an_lm_studio_at_the_address_for_ollama_is_not_shown_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        monkeypatch.setenv("OLLAMA_HOST", studio.url)
        discover()
        assert set(sent(studio).values()) == {None}


def test_a_wrong_token_is_told_and_not_shown() -> None:
    with FakeLMStudio(api_key="sk-lm-another1:0123456789abcdefghij") as studio:
        found = find_server(studio.url)

    assert (found.kind, found.state) == ("lmstudio", "needs a key")
    assert "Malformed LM Studio API token" in found.reason
    assert TOKEN[:10] not in repr(found)


def test_a_token_that_cannot_be_sent_stops_no_other_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LM_API_TOKEN", "blank at the end ")
    with FakeOllama() as ollama, FakeLMStudio() as studio:
        monkeypatch.setattr(candidates, "usual_ports", lambda: {studio.port: "LM Studio"})
        found = discover([ollama.url, studio.url])

    assert [(server.name, server.state) for server in found.servers] == [
        ("ollama", "available"),
        ("lmstudio", "unavailable"),
    ]
    assert "the key in LM_API_TOKEN is empty or has blanks" in found.explain()


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentListener() as proxy, FakeOllama() as ollama, FakeLMStudio() as studio:
        monkeypatch.setenv(name, proxy.url)
        found = discover([ollama.url, studio.url.replace("127.0.0.1", "localhost")])

        assert not proxy.was_reached
    assert [server.state for server in found.servers] == ["available"] * 2


def test_nothing_but_greetings_and_lists_is_asked_for() -> None:
    with FakeOllama() as ollama, FakeOpenAICompatible() as other, FakeLMStudio() as studio:
        discover([ollama.url, other.url, studio.url])

    paths: List[str] = []
    for server in (ollama, other, studio):
        paths += sent(server)
        assert {each.method for each in server.exchanges} == {"GET"}
        assert not any(each.body for each in server.exchanges)
    assert set(paths) == {
        *("/", "/lmstudio-greeting"),
        *("/api/version", "/api/tags", "/api/ps", "/v1/models", "/api/v1/models"),
        *(sign.path for product in PRODUCTS for way in product.ways for sign in way),
    } - {"/health", "/metrics", "/version", "/v3/models"}  # other signs come before these
