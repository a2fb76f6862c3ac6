"""`rerank` on servers of the dialect: the route, the refusals, the limits, the events."""

from __future__ import annotations

import math
import threading
from typing import Any, Dict, List

import pytest

from localproviders import (
    AuthenticationError,
    CallEvent,
    CancelledError,
    CancelToken,
    CapabilityError,
    ConfigurationError,
    ContextOverflowError,
    LimitError,
    LMStudioProvider,
    LocalityError,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
    UnsupportedError,
)
from localproviders.testing import (
    Exchange,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    ScriptedServer,
    http_answer,
)
from tests.support.fake_time import FakeTime

QUERY = "which dog barks"
DOCUMENTS = ["a cat sleeps", "the dog barks", "a dog runs"]
RANKER = "a-reranker"


def _indexes(ranking: Any) -> List[int]:
    return [ranked.index for ranked in ranking]


def test_documents_are_sorted_by_the_scores_of_the_server() -> None:
    with FakeOpenAICompatible([RANKER]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            assert _indexes(provider.rerank(QUERY, DOCUMENTS)) == [1, 2, 0]
            assert _indexes(provider.rerank(QUERY, DOCUMENTS, top_n=2)) == [1, 2]
            assert _indexes(provider.rerank(QUERY, DOCUMENTS, top_n=9)) == [1, 2, 0]
            fake.score("a cat sleeps", 12.5)
            ranking = provider.rerank(QUERY, DOCUMENTS, model=f"{RANKER}")

    assert (ranking.results[0].index, ranking.results[0].score) == (0, 12.5)
    assert all(exchange.path == "/v1/rerank" for exchange in fake.exchanges)


def test_documents_with_equal_scores_keep_their_order() -> None:
    with FakeOpenAICompatible([RANKER]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            assert _indexes(provider.rerank("x", ["same", "same", "same"])) == [0, 1, 2]


# --- the route ----------------------------------------------------------------------------------


def _only(path: str, status: str = "404 Not Found") -> Any:
    """Return a script of a server with one route."""
    good = {"results": [{"index": 0, "relevance_score": 1}]}

    def script(exchange: Exchange) -> List[bytes]:
        return [http_answer(good) if exchange.path == path else http_answer(b"", status=status)]

    return script


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("/v1", "/v1/rerank", ["/v1/rerank"]),
        ("/v1", "/rerank", ["/v1/rerank", "/rerank"]),
        ("", "/rerank", ["/rerank"]),
        ("/v3", "/v3/rerank", ["/v3/rerank"]),
        ("/llm/v1", "/llm/v1/rerank", ["/llm/v1/rerank"]),
        ("/llm/v1", "/llm/rerank", ["/llm/v1/rerank", "/llm/rerank"]),
    ],
)
@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed"])
def test_the_route_is_found_and_remembered(
    base: str, path: str, asked: List[str], status: str
) -> None:
    with ScriptedServer(_only(path, status)) as server:
        with OpenAICompatibleProvider(server.url + base, model="m") as provider:
            first = provider.rerank("q", ["a"])
            second = provider.rerank("q", ["a"])
            provider.close()
            third = provider.rerank("q", ["a"])

    assert [exchange.path for exchange in server.exchanges] == [*asked, path, path]
    assert (first.attempts, second.attempts, third.attempts) == (len(asked), 1, 1)
    assert first.endpoint == server.url + base


def test_another_server_at_the_address_is_found_again() -> None:
    route = ["/rerank"]
    with ScriptedServer(lambda exchange: _only(route[0])(exchange)) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            provider.rerank("q", ["a"])
            route[0] = "/v1/rerank"
            provider.rerank("q", ["a"])
            provider.rerank("q", ["a"])

    paths = [exchange.path for exchange in server.exchanges]
    assert paths == ["/v1/rerank", "/rerank", "/rerank", "/v1/rerank", "/v1/rerank"]


def test_threads_find_the_route_at_the_same_time() -> None:
    found: List[List[int]] = []
    with ScriptedServer(_only("/rerank")) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:

            def ask() -> None:
                found.append(_indexes(provider.rerank("q", ["a"])))

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert found == [[0]] * 4


def test_a_web_page_is_no_server_without_the_route() -> None:
    page = http_answer(b"<!doctype html><title>Login</title>", status="404 Not Found")
    with ScriptedServer(lambda _: [page]) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(RequestRejectedError, match="web page") as caught:
                provider.rerank("q", ["a"])

    assert "a web server seems to listen there" in str(caught.value.hint)


# --- refusals -----------------------------------------------------------------------------------


def test_a_server_that_was_not_started_for_it_is_a_capability_error() -> None:
    with FakeOpenAICompatible() as fake:
        with OpenAICompatibleProvider(fake.base_url, model="some-model") as provider:
            with pytest.raises(CapabilityError, match="Start it with `--reranking`") as caught:
                provider.rerank("q", ["a"])

    assert (caught.value.status, caught.value.model) == (501, "some-model")
    assert "provider.embed(" in str(caught.value.hint)
    assert len(fake.exchanges) == 1


def test_a_long_document_is_an_overflow_with_both_numbers() -> None:
    model = FakeModel(name=RANKER, abilities=("rerank",), context_length=20)
    with FakeOpenAICompatible([model]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            with pytest.raises(ContextOverflowError) as caught:
                provider.rerank(QUERY, ["short", "word " * 30])

    assert (caught.value.prompt_tokens, caught.value.context_length) == (33, 20)


def test_a_refusal_of_the_server_does_not_quote_a_document() -> None:
    refusal = Refusal(status="400 Bad Request", body={"error": f"I do not like {DOCUMENTS[1]!r}"})
    with FakeOpenAICompatible([RANKER]) as fake:
        fake.poison(DOCUMENTS[1], refusal)
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            with pytest.raises(RequestRejectedError, match="I do not like") as caught:
                provider.rerank(QUERY, DOCUMENTS)

    assert DOCUMENTS[1] not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"


def test_a_busy_server_is_asked_again() -> None:
    once = RetryPolicy(first_wait_s=0)
    with FakeOpenAICompatible([RANKER]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model=RANKER, retry=once) as provider:
            fake.break_next("too many requests, retry at once")
            assert provider.rerank(QUERY, DOCUMENTS).attempts == 2
            fake.break_next("a full queue", times=None)
            with pytest.raises(ServerBusyError):
                provider.rerank(QUERY, DOCUMENTS)


def test_a_wrong_key_and_an_outer_address_are_refused() -> None:
    with FakeOpenAICompatible([RANKER], api_key="right") as fake:
        with OpenAICompatibleProvider(fake.base_url, model=RANKER, api_key="wrong") as provider:
            with pytest.raises(AuthenticationError):
                provider.rerank("q", ["a"])
    with OpenAICompatibleProvider("http://192.0.2.1/v1", model="m", locality="private") as provider:
        with pytest.raises(LocalityError):
            provider.rerank("q", ["a"])


def test_a_call_needs_a_model() -> None:
    with FakeOpenAICompatible([RANKER]) as fake:
        with OpenAICompatibleProvider(fake.base_url) as provider:
            with pytest.raises(ConfigurationError, match="no model was named") as caught:
                provider.rerank("q", ["a"])

    assert RANKER in str(caught.value.hint)


@pytest.mark.parametrize("score", [None, "high", True, [1.0]])
def test_a_score_that_is_no_number_is_an_error(score: Any) -> None:
    with FakeOpenAICompatible([RANKER]) as fake:
        fake.score(DOCUMENTS[0], score)
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            with pytest.raises(ProtocolError, match="as the score of document 0") as caught:
                provider.rerank(QUERY, DOCUMENTS)

    assert caught.value.hint == "check that the model is a reranking model"


def test_another_model_is_a_warning() -> None:
    body = {"model": "another", "results": [{"index": 0, "relevance_score": 1}]}
    with ScriptedServer(lambda _: [http_answer(body)]) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            ranking = provider.rerank("q", ["a"])

    assert ranking.model == "another"
    assert ranking.warnings == ("requested model 'm', but the server answered with 'another'",)


# --- servers that cannot ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "provider_of", "asked"),
    [
        (FakeOllama, lambda fake: OllamaProvider(fake.url), []),
        (FakeOllama, lambda fake: OpenAICompatibleProvider(fake.url + "/v1"), ["/v1/rerank", "/rerank"]),
        (FakeLMStudio, lambda fake: LMStudioProvider(fake.url), ["/v1/rerank"]),
        (FakeLMStudio, lambda fake: OpenAICompatibleProvider(fake.url + "/v1"), ["/v1/rerank"]),
    ],
    ids=["ollama", "ollama's dialect", "lmstudio", "lmstudio's dialect"],
)  # fmt: skip
def test_a_server_that_cannot_names_the_recipe_which_works(
    server: Any, provider_of: Any, asked: List[str]
) -> None:
    with server(["nomic-embed-text"]) as fake, provider_of(fake) as provider:
        with pytest.raises(UnsupportedError, match=r"rerank\(\) is not possible") as caught:
            provider.rerank(QUERY, DOCUMENTS, model="nomic-embed-text")
        assert [exchange.path for exchange in fake.exchanges] == asked
        recipe = str(caught.value.hint).rpartition("less exact: ")[2]
        names: Dict[str, Any] = {
            "math": math,
            "provider": provider,
            "query": QUERY,
            "documents": DOCUMENTS,
            "embedding_model": "nomic-embed-text",
        }
        exec(recipe, names)

    assert names["order"] == [1, 2, 0]
    assert (caught.value.provider, caught.value.exit_code) == (provider.name, 2)


def test_a_reranker_of_lm_studio_would_be_used() -> None:
    body = {"model": "m", "results": [{"index": 0, "relevance_score": 1}]}
    with ScriptedServer(lambda _: [http_answer(body)]) as server:
        with LMStudioProvider(server.url, model="m") as provider:
            assert _indexes(provider.rerank("q", ["a"])) == [0]


# --- limits, cancelling, events -----------------------------------------------------------------


def test_the_total_limit_ends_a_call(fake_clock: FakeTime) -> None:
    with FakeOpenAICompatible([RANKER]) as fake:
        fake.break_next("silence", times=None)
        with OpenAICompatibleProvider(fake.base_url, model=RANKER) as provider:
            with pytest.raises(LimitError) as caught:
                provider.rerank(QUERY, DOCUMENTS, timeout=3)

    assert (caught.value.limit, caught.value.limit_s) == ("total_s", 3)


def test_another_thread_cancels_a_call() -> None:
    token = CancelToken()
    with ScriptedServer(lambda _: [lambda _: token.cancel(), lambda e: e.hold()]) as server:
        with OpenAICompatibleProvider(server.url + "/v1", model="m") as provider:
            with pytest.raises(CancelledError):
                provider.rerank("q", ["a"], cancel=token)


def test_the_search_for_the_route_is_told() -> None:
    events: List[CallEvent] = []
    with ScriptedServer(_only("/rerank")) as server:
        with OpenAICompatibleProvider(
            server.url + "/v1", model="m", listeners=[events.append]
        ) as provider:
            provider.rerank("q", ["a"])
            provider.rerank("q", ["a"])

    assert [(event.kind, event.attempts) for event in events] == [
        ("started", 1), ("connected", 1), ("retried", 1), ("connected", 2), ("finished", 2),
        ("started", 1), ("connected", 1), ("finished", 1),
    ]  # fmt: skip


def test_the_events_have_the_name_of_the_verb() -> None:
    events: List[CallEvent] = []
    with FakeOpenAICompatible([RANKER]) as fake:
        with OpenAICompatibleProvider(
            fake.base_url, model=RANKER, listeners=[events.append]
        ) as provider:
            provider.rerank(QUERY, DOCUMENTS)
            with pytest.raises(UnsupportedError, match="the prompt itself"):
                provider.rerank(QUERY, DOCUMENTS, extra_body={"_debug_render_only": True})

    assert [event.kind for event in events] == [
        "started", "connected", "finished", "started", "failed",
    ]  # fmt: skip
    assert {(event.operation, event.task) for event in events} == {("rerank", "rerank")}
    finished = events[2]
    assert (finished.prompt_tokens, finished.served_model) == (18, RANKER)
    assert events[-1].error == "UnsupportedError"
    assert not any(document in repr(events) for document in DOCUMENTS)
