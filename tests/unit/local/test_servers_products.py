"""A `LocalProvider` uses the programs that it finds, at the paths of their APIs."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from localproviders import LocalProvider
from localproviders.discovery import forget
from localproviders.errors import ProviderError
from localproviders.testing.products import GREETINGS, FakeProduct


@pytest.fixture(autouse=True)
def _no_other_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    forget()
    yield
    forget()


def _at(fake: FakeProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a search find only this server, as at a usual port."""
    name = "localproviders.discovery.candidates.usual_ports"
    monkeypatch.setattr(name, lambda: {fake.port: "a server"})


@pytest.mark.parametrize("name", ["Docker Model Runner", "LocalAI", "KoboldCpp", "vLLM"])
def test_a_program_is_used_as_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeProduct(name, ["ai/smollm2"]) as fake, LocalProvider() as provider:
        _at(fake, monkeypatch)
        answer = provider.chat("Hi", model="ai/smollm2")
        listed = [(model.name, model.provider) for model in provider.list_models()]

    assert (answer.text, answer.model) == ("Hello there, friend.", "ai/smollm2")
    assert listed == [("ai/smollm2", f"openai-compatible-{fake.port}")]
    path = f"{GREETINGS[name].root}/chat/completions"
    assert [each.path for each in fake.exchanges if each.method == "POST"] == [path]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(name for name, greeting in GREETINGS.items() if greeting.has_list)
)
def test_every_program_that_keeps_prompts_is_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeProduct(name, ["m"]) as fake, LocalProvider() as provider:
        _at(fake, monkeypatch)
        if name in ("LiteLLM", "Open WebUI"):
            with pytest.raises(ProviderError):
                provider.chat("Hi", model="m")
        else:
            assert provider.chat("Hi", model="m").text == "Hello there, friend."


def test_a_proxy_that_sends_prompts_to_other_hosts_must_be_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FakeProduct("LiteLLM", ["m"]) as fake:
        _at(fake, monkeypatch)
        with LocalProvider() as provider, pytest.raises(ProviderError) as caught:
            provider.chat("Hi", model="m")
        assert "LiteLLM" in str(caught.value) and "other hosts" in str(caught.value)
        assert not [each for each in fake.exchanges if each.method == "POST"]
        text = f"[servers.proxy]\nkind = 'openai-compatible'\nendpoint = '{fake.base_url}'\n"
        file = tmp_path / "localproviders" / "config.toml"
        file.parent.mkdir()
        file.write_text(text, "utf-8")
        with LocalProvider() as provider:
            assert provider.chat("Hi", model="m").text == "Hello there, friend."
