"""Bad texts in a batch: they are found with few requests and reported with their reasons."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, Dict, List

import pytest

from localproviders import (
    ContextOverflowError,
    EmbeddingError,
    ProviderError,
    RequestRejectedError,
    ServerError,
)
from localproviders.testing import Exchange, Refusal, ScriptedServer, http_answer
from tests.support.embedding import MODEL, PROVIDERS, batches, numbered, provider_of, running

all_three = pytest.mark.parametrize("kind", PROVIDERS)

_REJECTED = Refusal(status="400 Bad Request", body={"error": "no such token"})
_CRASHED = Refusal(status="500 Internal Server Error", body={"error": "do request: EOF"})
_LONG = "word " * 9

_REASONS: Dict[str, Any] = {
    "rejected": (_REJECTED, RequestRejectedError),
    "a crash": (_CRASHED, ServerError),
    "another length": ([1.0, 2.0], EmbeddingError),
    "numbers past 32 bits": ([1e39] * 16, (EmbeddingError,)),
}


@pytest.mark.sample(6)
@all_three
@pytest.mark.parametrize("reason", _REASONS)
@pytest.mark.parametrize("bad", [[0], [63], [64, 65], [20, 50, 99]], ids=str)
def test_bad_texts_are_named_and_the_others_are_there(
    kind: str, reason: str, bad: List[int]
) -> None:
    how, error_class = _REASONS[reason]
    if kind == "openai" and reason == "numbers past 32 bits":
        how = [math.inf] * 16  # base64 vectors cannot contain them
    texts = numbered(100)
    with running(kind) as (server, provider):
        good = provider.embed(texts).vectors
        before = len(batches(server))
        for index in bad:
            server.poison(texts[index], how)
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(texts)
    error = caught.value

    assert list(error.failures) == bad
    assert all(isinstance(error.errors[index], error_class) for index in bad)
    assert error.embedded == {i: vector for i, vector in enumerate(good) if i not in bad}
    assert f"{len(bad)} of 100 texts" in error.message
    assert f"text {bad[0]}: {error.failures[bad[0]]}" in error.message
    assert len(batches(server)) - before <= 2 + len(bad) * 2 * 6


@all_three
def test_too_long_texts_keep_their_numbers(kind: str) -> None:
    texts = ["short", _LONG, "brief"]
    with running(kind, context_length=5) as (_, provider):
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(texts)
    reason = caught.value.errors[1]

    assert isinstance(reason, ContextOverflowError)
    assert list(caught.value.embedded) == [0, 2]
    if kind != "ollama":  # the error message of Ollama contains no numbers
        assert (reason.prompt_tokens, reason.context_length) == (9, 5)


@all_three
@pytest.mark.parametrize("texts", [[_LONG], [_LONG] * 3])
def test_one_reason_for_all_is_the_error_itself(kind: str, texts: List[str]) -> None:
    with running(kind, context_length=5) as (_, provider):
        with pytest.raises(ContextOverflowError) as caught:
            provider.embed(texts)

    assert dict(caught.value.embedded) == {}


def test_the_hint_of_a_long_text_is_one_that_embed_takes() -> None:
    with running("ollama", context_length=5) as (_, provider):
        with pytest.raises(ContextOverflowError, match="truncate=True") as caught:
            provider.embed(_LONG)
        provider.embed(_LONG, truncate=True)

    assert caught.value.model == MODEL


def test_nan_in_ollamas_words_is_a_bad_vector() -> None:
    with running("ollama") as (server, provider):
        server.poison("bad")
        with pytest.raises(EmbeddingError) as caught:
            provider.embed("bad")

    assert list(caught.value.failures) == [0]


@all_three
@pytest.mark.parametrize("refusal", [_REJECTED, _CRASHED], ids=lambda refusal: refusal.status)
def test_a_server_that_refuses_everything_is_soon_left_alone(kind: str, refusal: Any) -> None:
    texts = numbered(5_000)
    with running(kind) as (server, provider):
        for text in texts:
            server.poison(text, refusal)
        with pytest.raises(ServerError) as caught:
            provider.embed(texts)

    assert not isinstance(caught.value, EmbeddingError)
    assert len(batches(server)) < 20


@all_three
def test_also_when_it_begins_in_the_middle(kind: str) -> None:
    texts = numbered(1_000)
    with running(kind) as (server, provider):
        for text in texts[:1] + texts[400:]:
            server.poison(text, _CRASHED)
        server.poison(texts[0], _CRASHED)
        with pytest.raises(ServerError):
            provider.embed(["x" * 30] * 64 + texts[400:])

    assert len(batches(server)) < 21


@pytest.mark.sample(1)
@all_three
def test_a_row_of_bad_texts_does_not_condemn_the_rest(kind: str) -> None:
    texts = numbered(200)
    bad = set(range(40))
    with running(kind) as (server, provider):
        for index in bad:
            server.poison(texts[index], _REJECTED)
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(texts)

    assert set(caught.value.failures) == bad
    assert set(caught.value.embedded) == set(range(200)) - bad


@all_three
def test_vectors_of_another_length_in_a_later_batch_are_noticed(kind: str) -> None:
    texts = numbered(9)
    with running(kind) as (server, provider):
        for text in texts[6:]:
            server.poison(text, [1.0, 2.0])
        with pytest.raises(EmbeddingError, match="2 values instead of 16") as caught:
            provider.embed(texts, batch_size=3)

    assert list(caught.value.failures) == [6, 7, 8]


def test_a_server_that_ignores_the_dimensions_is_noticed() -> None:
    with running("openai") as (server, provider):
        with pytest.raises(EmbeddingError, match="16 values instead of 7"):
            provider.embed(numbered(100), dimensions=7)

    assert len(batches(server)) < 9


@all_three
def test_vectors_too_few_for_a_batch_are_asked_for_one_by_one(kind: str) -> None:
    with running(kind) as (server, provider):
        server.break_next("too few vectors")
        response = provider.embed(["a", "b"])

    assert len(response.vectors) == 2
    assert batches(server) == [["a", "b"], ["a"], ["b"]]


@pytest.mark.sample(13)
@pytest.mark.parametrize("length", [1, 2, 999])
@pytest.mark.parametrize("value", [None, True, False, "1", [1.0], [True], {}])
@all_three
def test_what_is_no_number_makes_a_bad_vector(kind: str, value: Any, length: int) -> None:
    def script(exchange: Exchange) -> List[Any]:
        if exchange.path == "/api/tags":
            return [http_answer({"models": [{"name": MODEL, "model": MODEL}]})]
        good, bad = [0.5] * length, [0.5] * (length - 1) + [value]
        rows = [bad if text == "bad" else good for text in exchange.json["input"]]
        data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
        return [http_answer({"data": data, "embeddings": rows, "model": MODEL})]

    with ScriptedServer(script) as server, provider_of(kind, server.url) as provider:
        with pytest.raises(EmbeddingError, match="not a list of numbers") as caught:
            provider.embed(["a", "bad", "c"])

    assert list(caught.value.embedded) == [0, 2]
    assert len([one for one in server.exchanges if "embed" in one.path]) == 1


@all_three
def test_the_error_pickles_and_is_plain_json(kind: str) -> None:
    texts = numbered(9)
    with running(kind) as (server, provider):
        server.poison(texts[4], _REJECTED)
        with pytest.raises(EmbeddingError) as caught:
            provider.embed(texts)
    error = caught.value
    twin = pickle.loads(pickle.dumps(error))

    assert (twin.failures, twin.embedded) == (error.failures, error.embedded)
    assert type(twin.errors[4]) is RequestRejectedError
    assert json.loads(json.dumps(error.to_dict()))["failures"] == {"4": error.failures[4]}


@all_three
def test_no_error_shows_a_text_that_a_server_quotes(kind: str) -> None:
    said = "a private matter between us"

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            return [http_answer({"models": [{"name": f"{MODEL}:latest"}]})]
        return [http_answer({"error": f"bad: {exchange.json}"}, status="400 Bad Request")]

    with ScriptedServer(script) as server, provider_of(kind, server.url) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.embed([said, "and another text of ours"])

    for shown in (str(caught.value), repr(caught.value.__dict__)):
        assert "private" not in shown
