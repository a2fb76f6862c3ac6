"""A search sends no key where none belongs, meets no proxy, and asks for lists only."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import pytest

from localproviders import FoundServer, LMStudioProvider, discover
from localproviders.discovery import candidates
from localproviders.testing import FakeLMStudio, FakeOllama, FakeOpenAICompatible
from tests.discovery.support import look_at
from tests.locality.support import Nobody

TOKEN = "sk-lm-AbCdEfGh:0123456789abcdefghij"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_API_KEY", "LM_API_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, TOKEN)


def sent(server: Any) -> Dict[str, Optional[str]]:
    """Give the key that each path was asked with."""
    return {each.path: each.headers.get("authorization") for each in server.exchanges}


def test_only_lm_studio_is_shown_the_token_and_not_before_it_has_greeted() -> None:
    with FakeOllama() as ollama, FakeOpenAICompatible() as other, FakeLMStudio() as studio:
        discover([ollama.url, other.url, studio.url])

    assert set(sent(ollama).values()) == set(sent(other).values()) == {None}
    assert sent(studio) == {"/lmstudio-greeting": None, "/api/v1/models": f"Bearer {TOKEN}"}


def test_a_given_lm_studio_that_wants_its_token_gets_it() -> None:
    with FakeLMStudio(api_key=TOKEN) as studio:
        found = look_at(studio.url)
        with found.make_provider() as provider:
            assert provider.list_models()

    assert (found.kind, found.state, found.generation) == ("lmstudio", "available", "0.4")


def usual(server: Any, monkeypatch: pytest.MonkeyPatch) -> FoundServer:
    """Find a server at a usual port, where nobody has named it."""
    monkeypatch.setattr(candidates, "PORTS", {server.port: "somebody"})
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


def test_a_wrong_token_is_told_and_not_shown() -> None:
    with FakeLMStudio(api_key="sk-lm-another1:0123456789abcdefghij") as studio:
        found = look_at(studio.url)

    assert (found.kind, found.state) == ("lmstudio", "needs a key")
    assert "Malformed LM Studio API token" in found.reason
    assert TOKEN[:10] not in repr(found)


def test_a_token_that_cannot_be_sent_stops_no_other_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LM_API_TOKEN", "blank at the end ")
    with FakeOllama() as ollama, FakeLMStudio() as studio:
        monkeypatch.setattr(candidates, "PORTS", {studio.port: "LM Studio"})
        found = discover([ollama.url, studio.url])

    assert [(server.name, server.state) for server in found.servers] == [
        ("ollama", "available"),
        ("lmstudio", "unavailable"),
    ]
    assert "the key in LM_API_TOKEN is empty or has blanks" in found.explain()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Nobody() as proxy, FakeOllama() as ollama, FakeLMStudio() as studio:
        monkeypatch.setenv(name, proxy.url)
        found = discover([ollama.url, studio.url.replace("127.0.0.1", "localhost")])

        assert not proxy.came
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
        *("/", "/lmstudio-greeting", "/props", "/version"),
        *("/api/version", "/api/tags", "/api/ps", "/v1/models", "/api/v1/models"),
    }
