"""Rerank responses: recordings of llama.cpp, and bodies of servers that cannot run here."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest

from localproviders import (
    CapabilityError,
    ContextOverflowError,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    errors,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types import Usage
from tests.support.recordings import DATA, dialect_exchange

QUERY = "What is a panda?"
DOCUMENTS = ["hi", "it is a bear", "The giant panda is a bear species endemic to China."]
BODIES: Dict[str, Dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((DATA / "rerank").glob("*.json"))
}
GOOD = [name for name, data in BODIES.items() if "results" in data]
BAD = [name for name, data in BODIES.items() if "error" in data]

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


# --- recordings of llama.cpp --------------------------------------------------------------------

_PANDA = {"The giant panda": 0.1969383805990219, "it is": 0.08428765833377838, "hi": 0.00659839}
RECORDED = {"rerank": (3, 34), "rerank_top_n": (2, 34), "rerank_texts": (3, None)}
REFUSED = {
    "rerank_too_long": ContextOverflowError,
    "rerank_unsupported": CapabilityError,
    "rerank_error_documents": RequestRejectedError,
}


def provider_of(server: ScriptedServer, base: str = "/v1") -> OpenAICompatibleProvider:
    once = RetryPolicy(attempts=1)
    return OpenAICompatibleProvider(server.url + base, model="all-minilm", retry=once)


@both_ways
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_ranking_comes_out_right(name: str, one_byte: bool) -> None:
    length, tokens = RECORDED[name]
    request, answer = dialect_exchange(name)
    body = request["body"]
    documents = body.get("documents") or body["texts"]
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            ranking = provider.rerank(body["query"], documents, top_n=body.get("top_n"))

    found = [(ranked.index, ranked.document, ranked.score) for ranked in ranking]
    assert (
        found
        == [
            (index, documents[index], pytest.approx(score))
            for index, score in zip((2, 1, 0), _PANDA.values())
        ][:length]
    )
    assert (ranking.model, ranking.usage) == ("all-minilm", Usage(prompt_tokens=tokens))
    assert (ranking.endpoint, ranking.attempts) == (f"{server.url}/v1", 1)
    assert ranking.warnings == ()
    assert ranking.raw == json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", ["rerank", "rerank_top_n"])
def test_the_request_is_the_recorded_one(name: str) -> None:
    request, answer = dialect_exchange(name)
    body = request["body"]
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        provider.rerank(body["query"], body["documents"], top_n=body.get("top_n"))

    (exchange,) = server.exchanges
    assert (exchange.method, exchange.path) == (request["method"], request["path"])
    assert exchange.json == {"model": "all-minilm", **body}


@both_ways
@pytest.mark.parametrize("name", REFUSED)
def test_a_recorded_refusal_has_its_class(name: str, one_byte: bool) -> None:
    _, answer = dialect_exchange(name)
    script = lambda _: [answer, lambda exchange: exchange.close()]  # noqa: E731  # a short script
    with ScriptedServer(script, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider, pytest.raises(ProviderError) as caught:
            provider.rerank(QUERY, DOCUMENTS)

    assert type(caught.value) is REFUSED[name]
    assert len(server.exchanges) == 1


def test_a_recorded_overflow_has_both_numbers() -> None:
    _, answer = dialect_exchange("rerank_too_long")
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        with pytest.raises(ContextOverflowError, match=r"803 tokens.*512") as caught:
            provider.rerank("q", ["word " * 800])

    assert (caught.value.prompt_tokens, caught.value.context_length) == (803, 512)
    assert "--ubatch-size" in str(caught.value.hint)


# --- other servers ------------------------------------------------------------------------------

_MISSING_FIELD = (
    "Failed to deserialize the JSON body into the target type: missing field `texts` at line 1 "
    "column 150"
)


def _answer(status: int, body: Any) -> bytes:
    if not isinstance(body, str):
        return http_answer(body, status=f"{status} Words")
    head = f"HTTP/1.1 {status} Words\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def server_of(data: Dict[str, Any]) -> ScriptedServer:
    """Return a server with one route."""

    def script(exchange: Exchange) -> List[Any]:
        if exchange.path == "/v1/models":
            return [http_answer({"object": "list", "data": []})]
        if exchange.path != data["path"]:
            return [_answer(404, "")]
        if data["field"] not in exchange.json:
            return [_answer(422, _MISSING_FIELD)]
        return [_answer(data["status"], data["body"])]

    return ScriptedServer(script)


@pytest.mark.parametrize("name", GOOD)
def test_a_ranking_of_another_server_comes_out_right(name: str) -> None:
    data = BODIES[name]
    with server_of(data) as server, provider_of(server, data["base"]) as provider:
        rankings = [provider.rerank(QUERY, DOCUMENTS, model="some-model") for _ in range(2)]

    for ranking in rankings:
        found = [[ranked.index, ranked.score] for ranked in ranking]
        assert found == data["results"]
        assert [ranked.document for ranked in ranking] == [DOCUMENTS[i] for i, _ in found]
        assert ranking.model == (data["model"] or "some-model")
        assert ranking.usage == Usage(prompt_tokens=data["prompt_tokens"])
        assert len(ranking.warnings) == (data["model"] is not None)
    # The second call asks the right route at once.
    assert [ranking.attempts for ranking in rankings] == [len(server.exchanges) - 1, 1]
    assert server.exchanges[-1].path == server.exchanges[-2].path == data["path"]


@pytest.mark.parametrize("name", GOOD)
def test_a_ranking_of_another_server_is_cut(name: str) -> None:
    data = BODIES[name]
    with server_of(data) as server, provider_of(server, data["base"]) as provider:
        ranking = provider.rerank(QUERY, DOCUMENTS, top_n=1)

    assert [[ranked.index, ranked.score] for ranked in ranking] == data["results"][:1]
    sent = server.exchanges[-1].json
    # TEI has no such field.
    assert sent.get("top_n") == (1 if data["field"] == "documents" else None)


@pytest.mark.parametrize("name", BAD)
def test_a_refusal_of_another_server_has_its_class(name: str) -> None:
    data = BODIES[name]
    with server_of(data) as server, provider_of(server, data["base"]) as provider:
        with pytest.raises(ProviderError) as caught:
            provider.rerank(QUERY, DOCUMENTS)

    error = caught.value
    assert type(error) is getattr(errors, data["error"]), error
    assert error.endpoint == server.url + data["base"]
    if data["error"] in ("CapabilityError", "UnsupportedError"):
        assert "provider.embed([query, *documents]" in str(error.hint)
    assert not any(document in str(error) for document in DOCUMENTS[1:])
