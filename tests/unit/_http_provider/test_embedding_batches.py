"""Many texts in one call: batches, their order, and the sums of their counts and times."""

from __future__ import annotations

import builtins
import inspect
import random
import time
from dataclasses import fields
from typing import Any, Dict, List, Tuple

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    DependencyError,
    EmbeddingRequest,
    EmbeddingResponse,
    LimitError,
    Limits,
    LocalProvider,
    ModelProvider,
    ProviderError,
    RetryPolicy,
    UnreachableError,
    UnsupportedError,
)
from localproviders._http_provider.embedding import split_into_batches
from localproviders.testing import Exchange, Refusal, ScriptedServer, http_answer
from localproviders.testing.fake import vector_of
from tests.support.embedding import MODEL, PROVIDERS, batches, numbered, provider_of, running
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

all_three = pytest.mark.parametrize("kind", PROVIDERS)


@pytest.mark.parametrize(
    ("lengths", "size", "characters", "expected"),
    [
        ([1], 2, 10, [(0, 1)]),
        ([1, 1, 1, 1], 2, 10, [(0, 2), (2, 4)]),
        ([1, 1, 1], 2, 10, [(0, 2), (2, 3)]),
        ([4, 4, 4, 4], 9, 8, [(0, 2), (2, 4)]),
        ([4, 5, 4], 9, 8, [(0, 1), (1, 2), (2, 3)]),
        ([1, 99, 1, 1], 9, 8, [(0, 1), (1, 2), (2, 4)]),
        ([99, 99], 9, 8, [(0, 1), (1, 2)]),
        ([8, 1], 9, 8, [(0, 1), (1, 2)]),
    ],
)
def test_a_batch_is_full_at_one_of_its_sizes(
    lengths: List[int], size: int, characters: int, expected: List[Tuple[int, int]]
) -> None:
    texts = tuple("x" * length for length in lengths)
    request = EmbeddingRequest(texts=texts, batch_size=size, batch_characters=characters)

    assert list(split_into_batches(request)) == expected


@all_three
def test_the_batches_follow_one_another_on_one_connection(kind: str) -> None:
    texts = numbered(150)
    with running(kind) as (server, provider):
        response = provider.embed(texts)

    assert [len(batch) for batch in batches(server)] == [64, 64, 22]
    assert [text for batch in batches(server) for text in batch] == texts
    assert {exchange.connection for exchange in server.exchanges} == {1}
    assert response.embeddings == [
        pytest.approx(vector_of(text, 16)) for text in texts
    ]  # fmt: skip


@all_three
def test_the_sizes_are_the_callers(kind: str) -> None:
    with running(kind) as (server, provider):
        provider.embed(["a"] * 5, batch_size=2)
        provider.embed(["four"] * 3, batch_characters=8)
        provider.embed(EmbeddingRequest(texts=("a",) * 3, batch_size=1))

    assert [len(batch) for batch in batches(server)] == [2, 2, 1, 2, 1, 1, 1, 1]


@all_three
def test_any_iterable_of_texts_will_do(kind: str) -> None:
    with running(kind) as (server, provider):
        response = provider.embed(text for text in ("one", "two"))

    assert batches(server) == [["one", "two"]]
    assert len(response.vectors) == 2


def test_embed_takes_the_fields_of_its_request() -> None:
    keywords = set(inspect.signature(ModelProvider.embed).parameters)

    assert keywords - {"self", "timeout", "cancel"} == {f.name for f in fields(EmbeddingRequest)}


@pytest.mark.parametrize("field", [{"model": "b"}, {"dimensions": 3}, {"truncate": True}])
def test_a_keyword_beside_a_request_is_refused_and_not_dropped(field: Dict[str, Any]) -> None:
    with running("ollama") as (server, provider):
        with pytest.raises(ValueError, match=rf"{next(iter(field))}.*replace"):
            provider.embed(EmbeddingRequest(texts=("a",)), **field)

    assert server.exchanges == []


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"batch_characters": 0},
        {"dimensions": 0},
        {"keep_alive": "soon"},
        {"keep_alive": float("nan")},
    ],
)
def test_impossible_numbers_are_refused(fields: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        EmbeddingRequest(texts="a", **fields)


def test_order_is_that_of_the_index() -> None:
    def script(exchange: Exchange) -> List[Any]:
        texts = exchange.json["input"]
        data = [{"index": i, "embedding": [float(text)]} for i, text in enumerate(texts)]
        random.Random(7).shuffle(data)
        return [http_answer({"data": data, "model": MODEL})]

    with ScriptedServer(script) as server, provider_of("openai", server.url) as provider:
        response = provider.embed([str(number) for number in range(100)])

    assert response.embeddings == [[float(number)] for number in range(100)]


# --- what adds up ---------------------------------------------------------------------------


def test_counts_and_times_are_those_of_all_batches() -> None:
    with running("ollama") as (_, provider):
        one = provider.embed(["a b"])
        three = provider.embed(["a b"] * 3, batch_size=1)

    assert (one.usage.prompt_tokens, three.usage.prompt_tokens) == (2, 6)
    assert three.server_timings.total_s == pytest.approx(3 * one.server_timings.total_s)
    assert three.attempts == 1


def test_a_count_that_one_batch_lacks_is_unknown() -> None:
    def script(exchange: Exchange) -> List[Any]:
        usage = {"usage": {"prompt_tokens": 5}} if exchange.json["input"] == ["a"] else {}
        return [http_answer({"data": [{"embedding": [1.0]}], "model": MODEL, **usage})]

    with ScriptedServer(script) as server, provider_of("openai", server.url) as provider:
        assert provider.embed("a").usage.prompt_tokens == 5
        assert provider.embed(["a", "b"], batch_size=1).usage.prompt_tokens is None
        assert provider.embed(["b", "a"], batch_size=1).usage.prompt_tokens is None


def test_a_warning_of_all_batches_is_given_once() -> None:
    answer = http_answer({"data": [{"embedding": [1.0]}], "model": "another"})
    with ScriptedServer(answer) as server, provider_of("openai", server.url) as provider:
        (warning,) = provider.embed(["a", "b", "c"], batch_size=1).warnings

    assert "another" in warning


@all_three
def test_attempts_are_the_most_of_any_batch(kind: str) -> None:
    with running(kind, retry=RetryPolicy(first_wait_s=0)) as (server, provider):
        server.break_next("status 429 with JSON")
        response = provider.embed(numbered(3), batch_size=1)

    assert response.attempts == 2


@all_three
def test_listeners_hear_of_one_call(kind: str) -> None:
    events: List[Any] = []
    with running(kind, listeners=[events.append]) as (_, provider):
        response = provider.embed(numbered(3), batch_size=1)

    assert [event.kind for event in events] == ["started", "connected", "finished"]
    assert events[-1].prompt_tokens == response.usage.prompt_tokens


@pytest.mark.parametrize(
    ("kind", "truncate", "expected"),
    [
        ("ollama", False, "none"),
        ("ollama", True, "allowed"),
        ("lmstudio", False, "unknown"),
        ("openai", False, "unknown"),
    ],
)
def test_whether_a_text_may_have_been_cut(kind: str, truncate: bool, expected: str) -> None:
    with running(kind, context_length=3) as (_, provider):
        response = provider.embed(
            ["one two three four five"[: 30 if truncate else 7]], truncate=truncate
        )

    assert response.truncation == expected


def test_the_model_stays_as_long_as_asked() -> None:
    with running("ollama") as (server, provider):
        provider.embed(["a", "b"], batch_size=1, keep_alive=90)

    assert [e.json["keep_alive"] for e in server.exchanges if e.method == "POST"] == [90, 90]


def test_a_model_that_shall_go_at_once_is_refused_where_nobody_can_say_so() -> None:
    with running("openai") as (_, provider), pytest.raises(UnsupportedError, match="keep_alive"):
        provider.embed("a", keep_alive=0)


# --- numpy ----------------------------------------------------------------------------------


def test_vectors_become_a_matrix() -> None:
    numpy = pytest.importorskip("numpy")
    with running("openai") as (_, provider):
        response = provider.embed(numbered(70))
    matrix = response.to_numpy()

    assert (matrix.shape, matrix.dtype) == ((70, 16), numpy.float32)
    assert matrix.tolist() == response.embeddings


def test_without_numpy_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "numpy":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DependencyError, match="numpy"):
        EmbeddingResponse(vectors=(), model="m", provider="p").to_numpy()


# --- ends in the middle ---------------------------------------------------------------------


def _silent_after(kind: str, count: int, then: Any) -> ScriptedServer:
    """Start a server that answers this many batches of one text, then runs another step."""
    tags = http_answer({"models": [{"name": f"{MODEL}:latest"}]})
    rows = {"embeddings": [[1.0, 2.0]], "data": [{"embedding": [1.0, 2.0]}], "model": MODEL}
    answered: List[int] = []

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            return [tags]
        answered.append(1)
        return [http_answer(rows)] if len(answered) <= count else [then]

    return ScriptedServer(script)


@all_three
@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(load_s=0, first_token_s=5), "first_token_s"),
        (Limits(total_s=5), "total_s"),
    ],
)
def test_a_limit_keeps_what_was_embedded(
    kind: str, limits: Limits, limit: str, fake_clock: FakeTime
) -> None:
    with _silent_after(kind, 3, lambda e: e.hold()) as server:
        with provider_of(kind, server.url) as provider, pytest.raises(LimitError) as caught:
            provider.embed(numbered(9), batch_size=1, timeout=limits)
    error = caught.value

    assert (error.limit, error.elapsed_s) == (limit, 5)
    assert {index: list(vector) for index, vector in error.embedded.items()} == {
        0: [1.0, 2.0], 1: [1.0, 2.0], 2: [1.0, 2.0],
    }  # fmt: skip


@all_three
def test_each_batch_has_the_first_token_limit_for_itself(kind: str, fake_clock: FakeTime) -> None:
    """All batches together take longer than the limit, and the call still succeeds."""
    began = fake_clock.now
    tags = http_answer({"models": [{"name": f"{MODEL}:latest"}]})
    rows = {"embeddings": [[1.0]], "data": [{"embedding": [1.0]}], "model": MODEL}

    def script(exchange: Exchange) -> List[Any]:
        if exchange.method == "GET":
            return [tags]
        return [lambda e: e.hold(6), http_answer(rows)]

    limits = Limits(load_s=0, first_token_s=7, total_s=60)
    with ScriptedServer(script) as server, provider_of(kind, server.url) as provider:
        response = provider.embed(numbered(5), batch_size=1, timeout=limits)

    assert len(response.vectors) == 5
    assert fake_clock.now - began == 5 * 6


@all_three
def test_cancelling_in_the_middle_keeps_what_was_embedded(kind: str) -> None:
    token = CancelToken()

    def cancel(exchange: Exchange) -> None:
        token.cancel()
        exchange.hold()

    with _silent_after(kind, 2, cancel) as server, provider_of(kind, server.url) as provider:
        with pytest.raises(CancelledError) as caught:
            provider.embed(numbered(5), batch_size=1, cancel=token)

    assert list(caught.value.embedded) == [0, 1]
    assert server.wait_for_connections(0, GRACE_S)


@all_three
@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(status="401 Unauthorized", body={"error": "unauthorized"}),
        Refusal(status="404 Not Found", body={"error": "model 'x' not found"}),
        Refusal(status="400 Bad Request", body={"error": "it does not support embeddings"}),
    ],
    ids=lambda refusal: refusal.status,
)
def test_a_reason_that_lies_in_no_text_ends_the_call_at_once(kind: str, refusal: Any) -> None:
    texts = numbered(9)
    with running(kind) as (server, provider):
        server.poison(texts[5], refusal)
        with pytest.raises(ProviderError) as caught:
            provider.embed(texts, batch_size=3)

    assert len(batches(server)) == 2
    assert list(caught.value.embedded) == [0, 1, 2]


@all_three
def test_a_server_that_goes_away_ends_the_call(kind: str) -> None:
    with running(kind, retry=RetryPolicy(attempts=1)) as (server, provider):
        provider.embed("a")
        with server.down(), pytest.raises(UnreachableError) as caught:
            provider.embed(numbered(9), batch_size=3)

    assert dict(caught.value.embedded) == {}


@all_three
def test_a_response_has_the_time_of_the_complete_call(kind: str) -> None:
    with running(kind) as (_, direct):
        for provider in (direct, LocalProvider([direct])):
            began = time.monotonic()
            response = provider.embed(["a", "b", "c"], model=MODEL, batch_size=1)
            longest = time.monotonic() - began
            assert response.timings.first_token_s is None
            assert 0 < (response.timings.total_s or 0) <= longest
            again = EmbeddingResponse.from_dict(response.to_dict())
            assert again.timings == response.timings
