"""Tests of `rerank` with a real llama.cpp server.

No reranking model is on the package index. The embedding model is started as one: the requests, the
responses and the refusals are real, and its scores mean nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Iterator, List

import pytest
import requests

from localproviders import (
    CapabilityError,
    ContextOverflowError,
    OpenAICompatibleProvider,
)
from localproviders._rerank_verb import RerankRequest
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine.models import RECIPES, open_model
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.rerank import TEXTS, parse_scores, rerank_payload

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_QUERY = "What is a panda?"
_DOCUMENTS = ["hi", "it is a bear", "The giant panda is a bear species endemic to China.", ""]


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAICompatibleProvider]:
    with open_model(RECIPES["embedding"], tmp_path_factory.mktemp("model")) as file:
        with LocalEngine(Path(file.name), rerank=True) as provider:
            yield provider


def test_all_documents_are_ranked(ranker: OpenAICompatibleProvider) -> None:
    ranking = ranker.rerank(_QUERY, iter(_DOCUMENTS))

    assert sorted(ranked.index for ranked in ranking) == [0, 1, 2, 3]
    assert all(ranked.document == _DOCUMENTS[ranked.index] for ranked in ranking)
    scores = [ranked.score for ranked in ranking]
    assert scores == sorted(scores, reverse=True)
    assert all(map(math.isfinite, scores)) and len(set(scores)) > 1
    assert ranking.usage.prompt_tokens and ranking.usage.prompt_tokens > 30
    assert (ranking.attempts, ranking.warnings) == (1, ())
    assert ranking.endpoint == ranker.settings.endpoint.url


def test_the_best_documents_are_those_of_the_complete_ranking(
    ranker: OpenAICompatibleProvider,
) -> None:
    everything = ranker.rerank(_QUERY, _DOCUMENTS)

    for top_n in (1, 2, 4, 10):
        best = ranker.rerank(_QUERY, _DOCUMENTS, top_n=top_n)
        assert [ranked.index for ranked in best] == [r.index for r in everything][:top_n]


def test_the_shape_of_another_server_is_read_too(ranker: OpenAICompatibleProvider) -> None:
    usual = ranker.rerank(_QUERY, _DOCUMENTS)
    request = RerankRequest(query=_QUERY, documents=_DOCUMENTS)
    key = ranker.settings.api_key
    assert key is not None
    body = requests.post(
        f"{ranker.settings.endpoint.url}/v1/rerank",
        json=rerank_payload(request, "m", TEXTS),
        headers={"Authorization": f"Bearer {key.reveal()}"},
        timeout=60,
        proxies={"http": ""},
    ).json()

    assert isinstance(body, list)
    other = parse_scores(body, request, RULES).results
    assert [ranked.index for ranked in other] == [ranked.index for ranked in usual]


def test_a_document_that_is_too_long_is_an_overflow(ranker: OpenAICompatibleProvider) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        ranker.rerank(_QUERY, ["short", "word " * 3000])

    assert caught.value.prompt_tokens and caught.value.prompt_tokens > 3000
    assert caught.value.context_length and caught.value.context_length <= 2048


@pytest.mark.parametrize("model", ["embedding", "chat"])
def test_a_server_that_was_started_for_something_else_cannot_rank(model: str) -> None:
    with LocalEngine(model) as provider, pytest.raises(CapabilityError) as caught:
        provider.rerank(_QUERY, _DOCUMENTS)

    assert caught.value.status == 501
    assert "--reranking" in str(caught.value)


def test_the_recipe_in_the_hint_sorts_documents() -> None:
    documents: List[str] = _DOCUMENTS[:3]
    with LocalEngine("embedding") as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.rerank(_QUERY, documents)
        recipe = str(caught.value.hint).rpartition("less exact: ")[2]
        names = {
            "math": math,
            "provider": provider,
            "query": _QUERY,
            "documents": documents,
            "embedding_model": "embedding",
        }
        exec(recipe, names)

    assert names["order"] == [2, 1, 0]
