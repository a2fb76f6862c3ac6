"""An Ollama older than `/api/embed`: one text per request, on the older route."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Tuple

import pytest

from localproviders import (
    ContextOverflowError,
    EmbeddingError,
    LocalityError,
    ModelNotFoundError,
    OllamaProvider,
    UnsupportedError,
)
from localproviders.testing import FakeOllama, ScriptedServer, http_answer
from localproviders.testing.fake import vector_of
from tests.support import recordings
from tests.support.embedding import batches, numbered, running


@contextlib.contextmanager
def old(**options: Any) -> Iterator[Tuple[FakeOllama, OllamaProvider]]:
    with running("ollama", **options) as (server, provider):
        server.old_embeddings = True
        yield server, provider


def test_each_text_is_asked_for_alone_and_the_route_is_remembered() -> None:
    with old() as (server, provider):
        response = provider.embed(["one", "two"], keep_alive=60)
        provider.embed(["three"])

    paths = [exchange.path for exchange in server.exchanges if exchange.method == "POST"]
    assert paths == ["/api/embed"] + ["/api/embeddings"] * 3
    assert server.exchanges[-2].json == {
        "model": "vector-model", "prompt": "two", "keep_alive": 60,
    }  # fmt: skip
    assert response.embeddings == [pytest.approx(vector_of(text, 16)) for text in ("one", "two")]
    assert (response.model, response.truncation) == ("vector-model", "none")
    assert "too old" in response.warnings[0]
    assert response.usage.prompt_tokens is None


def test_a_bad_text_costs_no_request_of_the_others() -> None:
    texts = numbered(9)
    with old() as (server, provider):
        server.poison(texts[4])
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(texts)

    assert list(caught.value.failures) == [4]
    assert len(caught.value.embedded) == 8
    assert len(batches(server)) == 1 + 9


def test_a_text_too_long_is_an_error() -> None:
    with old(context_length=3) as (_, provider), pytest.raises(ContextOverflowError):
        provider.embed("one two three four")


@pytest.mark.parametrize("fields", [{"dimensions": 3}, {"truncate": True}])
def test_what_the_old_route_cannot_do_is_refused(fields: Any) -> None:
    with old() as (server, provider):
        with pytest.raises(UnsupportedError, match=next(iter(fields))):
            provider.embed("a", **fields)

    assert len(batches(server)) == 1


def test_an_unknown_model_is_no_old_server() -> None:
    with running("ollama", locality="any") as (server, provider):
        with pytest.raises(ModelNotFoundError):
            provider.embed("a", model="nowhere")

    assert len(batches(server)) == 1


def test_another_kind_of_server_is_not_taken_for_an_old_one() -> None:
    lost = http_answer("404 page not found", status="404 Not Found", content_type="text/plain")
    with ScriptedServer(lost) as server:
        with OllamaProvider(server.url, model="m", locality="any") as provider:
            for _ in range(2):
                with pytest.raises(UnsupportedError):
                    provider.embed("a")

    assert [e.path for e in server.exchanges] == ["/api/embed", "/api/embeddings"] * 2


def test_an_answer_from_elsewhere_is_refused_here_too() -> None:
    tags = http_answer({"models": [{"name": "m:latest"}]})
    lost = http_answer("404 page not found", status="404 Not Found", content_type="text/plain")
    away = http_answer({"embedding": [1.0], "remote_host": "https://ollama.com:443"})
    answers = {"/api/tags": tags, "/api/embed": lost, "/api/embeddings": away}
    with ScriptedServer(lambda e: [answers[e.path]]) as server:
        with OllamaProvider(server.url, model="m") as provider, pytest.raises(LocalityError):
            provider.embed("a")


def test_a_recorded_answer_is_read() -> None:
    tags = http_answer({"models": [{"name": "all-minilm:latest"}]})
    lost = http_answer("404 page not found", status="404 Not Found", content_type="text/plain")
    answers = {
        "/api/tags": tags,
        "/api/embed": lost,
        "/api/embeddings": recordings.ollama_answer("embeddings_old"),
    }
    with ScriptedServer(lambda e: [answers[e.path]]) as server:
        with OllamaProvider(server.url, model="all-minilm") as provider:
            response = provider.embed("hello")

    assert response.dimensions == 384
    assert response.embeddings[0][0] == pytest.approx(-0.06288018)
