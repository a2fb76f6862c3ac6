"""`fallback_locality`: an alias may leave the locality, from its second model on."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Iterator, List

import pytest

from localproviders import (
    CallEvent,
    Config,
    ConfigurationError,
    LocalityError,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    OpenAIProvider,
    RetryPolicy,
    create_fallback_provider,
)
from localproviders.local.substitutes import Substitutes, of_configuration
from localproviders.testing import FakeOllama, Refusal
from tests.support.clouds import FakeOpenAI, bodies

_ONCE = RetryPolicy(attempts=1)
_ALIASES = {"careful": ("ollama/llama3.2", "openai/gpt-6-sol"), "fast": ("ollama/llama3.2",)}
_ANY: Any = {"careful": "any"}
_DOWN = Refusal(body={"error": "down"}, status="503 X")


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama(["llama3.2"]) as server:
        yield server


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def servers(ollama: FakeOllama, openai: FakeOpenAI) -> Iterator[List[ModelProvider]]:
    # The fake of the service is on this machine, but its provider may go anywhere.
    with OllamaProvider(ollama.url, retry=_ONCE) as local, OpenAIProvider(
        openai.base_url, locality="any", retry=_ONCE
    ) as cloud:
        yield [local, cloud]


# --- use ------------------------------------------------------------------------------------------


def _chat(provider: ModelProvider) -> Any:
    return provider.chat("Hi", model="careful")


def _stream(provider: ModelProvider) -> Any:
    with provider.stream("Hi", model="careful") as chunks:
        list(chunks)
    return chunks.result()


@pytest.mark.parametrize("ask", [_chat, _stream])
def test_the_substitute_answers_only_if_the_first_model_fails(
    ask: Callable[[ModelProvider], Any],
    ollama: FakeOllama,
    openai: FakeOpenAI,
    servers: List[ModelProvider],
) -> None:
    events: List[CallEvent] = []
    options: Any = {"aliases": _ALIASES, "fallback_locality": _ANY, "listeners": (events.append,)}
    with LocalProvider(servers, **options) as provider:
        assert ask(provider).provider == "ollama"
        assert (events, bodies(openai)) == ([], [])
        ollama.reply_with(_DOWN)
        answer = ask(provider)
    assert (answer.provider, answer.text) == ("openai", "Hello there, friend.")
    warning = answer.warnings[-1]
    assert "left the locality 'loopback'" in warning and "'careful'" in warning
    assert [(event.kind, event.to_provider) for event in events] == [("fell_back", "openai")]


def test_a_use_after_a_skipped_server_is_an_event_too(
    ollama: FakeOllama, servers: List[ModelProvider]
) -> None:
    events: List[CallEvent] = []
    options: Any = {"aliases": _ALIASES, "fallback_locality": _ANY, "listeners": (events.append,)}
    ollama.reply_with(*[_DOWN] * 3)
    with LocalProvider(servers, **options) as provider:
        for _ in range(4):
            assert provider.chat("Hi", model="careful").provider == "openai"
    # The fourth call skips the server that failed three times.
    assert [event.to_provider for event in events] == ["openai"] * 4


@pytest.mark.parametrize("strategy", ["first", "loaded", "largest", "smallest", "balanced"])
def test_no_strategy_puts_a_substitute_first(
    strategy: str, openai: FakeOpenAI, servers: List[ModelProvider]
) -> None:
    options: Any = {"aliases": _ALIASES, "fallback_locality": _ANY, "strategy": strategy}
    with LocalProvider(servers, **options) as provider:
        for _ in range(3):
            assert provider.chat("Hi", model="careful").provider == "ollama"
    assert not openai.exchanges


@pytest.mark.parametrize("name", ["openai/gpt-6-sol", "gpt-6-sol", "fast", "direct"])
def test_no_other_name_reaches_the_substitute(
    name: str, ollama: FakeOllama, openai: FakeOpenAI, servers: List[ModelProvider]
) -> None:
    ollama.reply_with(_DOWN)
    aliases = {**_ALIASES, "direct": ("ollama/llama3.2", "openai/gpt-6-sol")}
    with LocalProvider(servers, aliases=aliases, fallback_locality=_ANY) as provider:
        with pytest.raises(Exception) as caught:  # its class depends on the name
            provider.chat("Hi", model=name)
        assert {info.provider for info in provider.list_models()} == {"ollama"}
    assert not openai.exchanges
    if name.startswith("openai/"):
        assert isinstance(caught.value, LocalityError)
        assert "'careful'" in (caught.value.hint or "")


def test_the_first_model_must_be_within_the_locality(servers: List[ModelProvider]) -> None:
    aliases = {"careful": ("openai/gpt-6-sol", "ollama/llama3.2", "openai/gpt-4.1")}
    with LocalProvider(servers, aliases=aliases, fallback_locality=_ANY) as provider:
        with pytest.raises(LocalityError, match="first"):
            provider.chat("Hi", model="careful")


def test_a_pickled_provider_keeps_its_substitutes(
    ollama: FakeOllama, servers: List[ModelProvider]
) -> None:
    ollama.reply_with(_DOWN)
    with LocalProvider(servers, aliases=_ALIASES, fallback_locality=_ANY) as provider:
        with pickle.loads(pickle.dumps(provider)) as again:
            assert again.chat("Hi", model="careful").provider == "openai"
            again.refresh()
            ollama.reply_with(_DOWN)
            assert again.chat("Hi", model="careful").provider == "openai"


# --- arguments ------------------------------------------------------------------------------------


def test_without_it_a_wider_provider_is_refused(servers: List[ModelProvider]) -> None:
    cases: List[Any] = [{}, {"fallback_locality": {"fast": "any"}}, {"fallback_locality": {}}]
    for options in cases:
        given: Any = {"aliases": _ALIASES, **options}
        with pytest.raises(LocalityError, match="further") as caught:
            create_fallback_provider(servers, **given)
        assert "fallback_locality" in (caught.value.hint or "")
    with pytest.raises(LocalityError, match="further"):
        LocalProvider(servers, aliases=_ALIASES, fallback_locality={"careful": "private"})


def test_a_text_is_no_mapping(servers: List[ModelProvider]) -> None:
    wrong: Any = "any"
    with pytest.raises(TypeError, match="careful"):
        LocalProvider(servers, aliases=_ALIASES, fallback_locality=wrong)


@pytest.mark.parametrize("value", [{"carefull": "any"}, {"careful": "anny"}])
def test_a_wrong_name_has_a_suggestion(value: Any, servers: List[ModelProvider]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean"):
        LocalProvider(servers, aliases=_ALIASES, fallback_locality=value)


# --- configuration --------------------------------------------------------------------------------


def _config(ollama: FakeOllama, openai: FakeOpenAI, **options: Any) -> Config:
    servers = {
        "ollama": {"endpoint": ollama.url, "retry": {"attempts": 1}},
        "openai": {"endpoint": openai.base_url, "retry": {"attempts": 1}},
    }
    given: Any = {"locality": "loopback", "fallback_locality": _ANY, **options}
    return Config.load(environ={}, servers=servers, aliases=_ALIASES, **given)


def test_the_configuration_names_the_alias(
    ollama: FakeOllama, openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.discovery.candidates.usual_ports", dict)
    config = _config(ollama, openai)
    assert [server.locality for server in config.servers] == ["loopback", "loopback"]
    ollama.reply_with(_DOWN)
    with LocalProvider(config=config) as provider:
        answer = provider.chat("Hi", model="careful")
        assert (answer.provider, len(bodies(openai))) == ("openai", 1)
        assert "left the locality" in answer.warnings[-1]
        with pytest.raises(LocalityError):
            provider.chat("Hi", model="openai/gpt-6-sol")
    ollama.reply_with(_DOWN)
    # An argument is a later layer, so it ends the configured exception.
    with LocalProvider(config=config, locality="loopback") as provider:
        answer = provider.chat("Hi", model="careful")
    assert not any("left the locality" in warning for warning in answer.warnings)


def test_an_own_locality_of_the_server_is_a_limit(ollama: FakeOllama, openai: FakeOpenAI) -> None:
    config = _config(ollama, openai)
    substitutes = Substitutes(config.fallback_locality, config.aliases)
    assert of_configuration(config, substitutes) == {"openai": "any"}
    servers = {"ollama": {}, "openai": {"locality": "loopback"}}
    options: Any = {"locality": "private", "aliases": _ALIASES, "fallback_locality": _ANY}
    config = Config.load(environ={}, servers=servers, **options)
    assert of_configuration(config, substitutes) == {"openai": "loopback"}
