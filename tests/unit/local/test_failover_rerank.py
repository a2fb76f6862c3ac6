"""`rerank` over several servers, and with a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import pytest

from localproviders import (
    AllFailedError,
    CallEvent,
    CapabilityError,
    ConfigurationError,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    UnsupportedError,
)
from localproviders.config import ServerConfig
from localproviders.local import gguf
from localproviders.testing import FakeOllama, FakeOpenAICompatible
from tests.unit.local.support import ONCE

_DOCUMENTS = ["a cat", "the dog runs", "a dog"]


def test_the_server_that_can_rank_is_used() -> None:
    events: List[CallEvent] = []
    with FakeOllama(["both"]) as ollama, FakeOpenAICompatible(["both-reranker"]) as ranker:
        providers = [
            OllamaProvider(ollama.url, retry=ONCE),
            OpenAICompatibleProvider(ranker.base_url, name="ranker", retry=ONCE),
        ]
        aliases = {"best": ("ollama/both", "ranker/both-reranker")}
        with LocalProvider(providers, aliases=aliases, listeners=[events.append]) as local:
            direct = local.rerank("a dog", _DOCUMENTS, model="ranker/both-reranker", top_n=1)
            ranking = local.rerank("a dog", _DOCUMENTS, model="best")

    assert [ranked.index for ranked in direct] == [2]
    assert (direct.tried, direct.provider, direct.model) == ((), "ranker", "both-reranker")
    assert [ranked.index for ranked in ranking] == [2, 0, 1]
    assert ranking.endpoint == ranker.base_url
    (tried,) = ranking.tried
    assert (tried.provider, tried.error) == ("ollama", "UnsupportedError")
    assert ranking.warnings == (f"tried before: {tried}",)
    (event,) = events
    assert (event.kind, event.operation, event.to_provider) == ("fell_back", "rerank", "ranker")
    assert not [e for e in ollama.exchanges if "rerank" in e.path]


def test_a_server_without_the_model_and_a_server_that_is_down_are_passed_over() -> None:
    with FakeOpenAICompatible(["other"]) as first, FakeOpenAICompatible(["a-reranker"]) as second:
        providers = [
            OpenAICompatibleProvider(first.base_url, name="first", retry=ONCE),
            OpenAICompatibleProvider(second.base_url, name="second", retry=ONCE),
        ]
        with LocalProvider(providers) as local:
            assert local.rerank("a dog", _DOCUMENTS, model="a-reranker").provider == "second"
            second.stop()
            with pytest.raises(AllFailedError):
                local.rerank("a dog", _DOCUMENTS, model="a-reranker")


def test_the_error_of_the_only_server_is_raised() -> None:
    with FakeOllama(["m"]) as ollama, LocalProvider([OllamaProvider(ollama.url)]) as local:
        with pytest.raises(UnsupportedError, match=r"rerank\(\) is not possible"):
            local.rerank("a dog", _DOCUMENTS, model="m")
    with FakeOpenAICompatible(["m"]) as fake:
        with LocalProvider([OpenAICompatibleProvider(fake.base_url)]) as local:
            with pytest.raises(CapabilityError, match="does not support reranking"):
                local.rerank("a dog", _DOCUMENTS, model="openai-compatible/m")


def test_without_a_model_one_that_ranks_is_chosen() -> None:
    with FakeOllama(["m"]) as ollama, FakeOpenAICompatible(["m", "a-reranker"]) as ranker:
        providers = [
            OllamaProvider(ollama.url, retry=ONCE),
            OpenAICompatibleProvider(ranker.base_url, retry=ONCE),
        ]
        with LocalProvider(providers, strategy="smallest") as local:
            ranking = local.rerank("a dog", _DOCUMENTS)
            ranker.models.pop()
            with pytest.raises(CapabilityError, match="rerank"):
                local.rerank("a dog", _DOCUMENTS)
        with LocalProvider(providers) as local:
            with pytest.raises(ConfigurationError, match="no model was named"):
                local.rerank("a dog", _DOCUMENTS)

    assert (ranking.model, ranking.tried) == ("a-reranker", ())


def test_one_text_is_refused_before_a_server_is_asked() -> None:
    with FakeOllama() as ollama, LocalProvider([OllamaProvider(ollama.url)]) as local:
        with pytest.raises(ValueError, match="documents is a single text"):
            local.rerank("a dog", "a dog", model="m")
    assert ollama.exchanges == []


def test_a_model_file_is_asked_through_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:

        class Engine:
            def __init__(self, **_: Any) -> None:
                pass

            def start(self) -> OpenAICompatibleProvider:
                return OpenAICompatibleProvider(fake.base_url)

            def stop(self) -> None:
                pass

        monkeypatch.setattr(gguf, "LocalEngine", Engine)
        config = ServerConfig(name="file", kind="gguf", gguf=Path("a-reranker.gguf"))
        with gguf.HostedProvider(config) as provider:
            ranking = provider.rerank("a dog", _DOCUMENTS, model="a-reranker", top_n=1)

    assert (ranking.provider, [ranked.index for ranked in ranking]) == ("file", [2])
