"""The fake of OpenAI's dialect ranks documents as llama.cpp's server does, build b11549."""

from __future__ import annotations

import json
from typing import Any, Dict, Tuple

import pytest
import requests

from localproviders.testing import FakeModel, FakeOpenAICompatible, Refusal
from localproviders.testing.openai_rankings import PATHS
from tests.support.recordings import dialect_exchange

_DOCUMENTS = ["hi", "it is a bear", "The giant panda is a bear species endemic to China."]
_GOOD = {"query": "What is a panda?", "documents": _DOCUMENTS}


def _post(fake: Any, body: Any, path: str = "/v1/rerank") -> Tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(fake.url + path, json=body)
    return answer.status_code, answer.json()


def _recorded(name: str) -> Tuple[Any, int, Any]:
    request, answer = dialect_exchange(name)
    head, _, body = answer.partition(b"\r\n\r\n")
    return request["body"], int(head.split()[1]), json.loads(body)


def _shape(value: Any) -> Any:
    """Return the keys and the types of JSON."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    return type(value).__name__


@pytest.mark.parametrize("name", ["rerank", "rerank_texts", "rerank_top_n"])
def test_a_ranking_has_the_recorded_shape(name: str) -> None:
    body, status, recorded = _recorded(name)
    with FakeOpenAICompatible(["all-minilm-reranker"]) as fake:
        found = _post(fake, {"model": "all-minilm", **body})
    assert (found[0], _shape(found[1])) == (status, _shape(recorded))


@pytest.mark.parametrize("name", ["rerank_unsupported", "rerank_error_documents"])
def test_a_refusal_is_the_recorded_one(name: str) -> None:
    body, status, recorded = _recorded(name)
    models = ["m"] if name == "rerank_unsupported" else ["a-reranker"]
    with FakeOpenAICompatible(models) as fake:
        assert _post(fake, body) == (status, recorded)


def test_a_long_document_is_refused_as_recorded() -> None:
    _, status, recorded = _recorded("rerank_too_long")
    model = FakeModel(name="r", abilities=("rerank",), context_length=512)
    with FakeOpenAICompatible([model]) as fake:
        found = _post(fake, {"query": "q", "documents": ["word " * 802]})
    assert found == (status, recorded)


_REFUSED: Dict[str, Any] = {
    '"query" must be provided': {"documents": ["a"]},
    '"query" must be a string': {"query": ["q"], "documents": ["a"]},
    '"documents" must be a non-empty string array': {"query": "q", "documents": []},
    "vector::_M_default_append": {**_GOOD, "top_n": -1},
}


@pytest.mark.parametrize("message", _REFUSED)
def test_a_wrong_request_is_refused(message: str) -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        status, body = _post(fake, _REFUSED[message])
    assert status == body["error"]["code"] == (500 if "vector" in message else 400)
    assert body["error"]["message"] == message


@pytest.mark.parametrize("path", PATHS)
def test_all_routes_rank(path: str) -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        _, body = _post(fake, _GOOD, path)
    assert body["model"] == "a-reranker"
    assert [row["index"] for row in body["results"]] == [1, 2, 0]


@pytest.mark.parametrize(("top_n", "length"), [(0, 0), (2, 2), (9, 3), ("2", 3), (True, 3)])
def test_the_list_is_cut_at_a_whole_number(top_n: Any, length: int) -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        _, body = _post(fake, {**_GOOD, "top_n": top_n})
    assert len(body["results"]) == length
    assert body["usage"] == {"prompt_tokens": 27, "total_tokens": 27}


def test_scores_and_refusals_are_scripted() -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        fake.score("hi", 3.5)
        fake.score("it is a bear", None)
        _, body = _post(fake, _GOOD)
        assert [row["relevance_score"] for row in body["results"]][::2] == [3.5, None]
        fake.poison("hi", Refusal(status="503 Service Unavailable", body={"error": "no"}))
        assert _post(fake, _GOOD) == (503, {"error": "no"})
        fake.heal()
        assert [row["index"] for row in _post(fake, _GOOD)[1]["results"]] == [1, 2, 0]


def test_a_fault_meets_a_ranking() -> None:
    with FakeOpenAICompatible(["a-reranker"]) as fake:
        fake.break_next("one document ranked twice")
        assert len({row["index"] for row in _post(fake, _GOOD)[1]["results"]}) == 1
        fake.break_next("status 503 with JSON")
        assert _post(fake, _GOOD)[0] == 503
