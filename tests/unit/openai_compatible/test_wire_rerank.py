"""Rerank requests and responses as pure functions, with generated responses."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders import ProtocolError, ProviderError, UnsupportedError
from localproviders._rerank_verb import RerankRequest
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.rerank import (
    DOCUMENTS,
    TEXTS,
    parse_scores,
    rerank_payload,
)
from tests.support.pieces import json_values

_SCORES = st.floats(allow_nan=False, allow_infinity=False, width=32)


def _request(documents: int, top_n: Optional[int] = None) -> RerankRequest:
    texts = tuple(f"document {number}" for number in range(documents))
    return RerankRequest(query="q", documents=texts, top_n=top_n)


def _rows(scores: List[float], name: str) -> List[Dict[str, Any]]:
    return [{"index": index, name: score} for index, score in enumerate(scores)]


@st.composite
def _rankings(draw: Any) -> Any:
    """Draw scores, and a good response with them in any order."""
    scores = draw(st.lists(_SCORES, min_size=1, max_size=6))
    name = draw(st.sampled_from(["score", "relevance_score"]))
    rows = draw(st.permutations(_rows(scores, name)))
    text = draw(st.sampled_from([None, "x", {"text": "x"}]))
    rows = [{**row, "document": text} for row in rows]
    return scores, draw(st.sampled_from([rows, {"results": rows}]))


@given(ranking=_rankings(), top_n=st.none() | st.integers(1, 8))
def test_any_order_and_shape_comes_out_sorted(ranking: Any, top_n: Optional[int]) -> None:
    scores, body = ranking
    found = parse_scores(body, _request(len(scores), top_n), RULES).results

    wanted = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    assert [ranked.index for ranked in found] == wanted[:top_n]
    assert all(ranked.score == scores[ranked.index] for ranked in found)
    assert all(ranked.document == f"document {ranked.index}" for ranked in found)


@given(ranking=_rankings(), data=st.data())
def test_a_changed_response_is_right_or_an_error(ranking: Any, data: Any) -> None:
    scores, body = ranking
    rows = body["results"] if isinstance(body, dict) else body
    row = data.draw(st.sampled_from(rows))
    field = data.draw(st.sampled_from(["index", "score", "relevance_score"]))
    row[field] = data.draw(json_values | st.floats() | st.integers())
    try:
        found = parse_scores(body, _request(len(scores)), RULES).results
    except ProviderError:
        return
    assert sorted(ranked.index for ranked in found) == list(range(len(scores)))
    assert all(math.isfinite(ranked.score) for ranked in found)


@given(body=json_values, top_n=st.none() | st.integers(1, 3))
def test_any_json_is_a_ranking_or_an_error(body: Any, top_n: Optional[int]) -> None:
    try:
        found = parse_scores(body, _request(2, top_n), RULES).results
    except ProviderError:
        return
    assert len(found) == (2 if top_n is None else min(2, top_n))


@pytest.mark.parametrize(
    ("sent", "top_n", "is_good"),
    [(4, None, False), (2, None, False), (3, None, True), (0, None, False), (3, 2, True),
     (2, 2, True), (1, 2, False), (0, 1, False), (4, 2, False), (3, 9, True), (2, 9, False)],
)  # fmt: skip
def test_the_number_of_scores_is_checked(sent: int, top_n: Optional[int], is_good: bool) -> None:
    body = {"results": _rows([0.5] * sent, "score")}
    if is_good:
        assert len(parse_scores(body, _request(3, top_n), RULES).results) == min(3, top_n or 3)
        return
    with pytest.raises(ProtocolError, match=f"{sent} scores for 3 documents"):
        parse_scores(body, _request(3, top_n), RULES)


@pytest.mark.parametrize(
    ("index", "is_good"), [(1.0, True), ("1", True), (1.5, False), (True, False)]
)
def test_an_index_may_be_written_in_another_way(index: Any, is_good: bool) -> None:
    body = [{"index": index, "score": 1}, {"index": 0, "score": 0.5}]
    if is_good:
        assert [r.index for r in parse_scores(body, _request(2), RULES).results] == [1, 0]
        return
    with pytest.raises(ProtocolError, match="a result with the index"):
        parse_scores(body, _request(2), RULES)


def test_an_error_in_a_list_is_an_error() -> None:
    with pytest.raises(ProviderError, match="it broke"):
        parse_scores([{"error": {"message": "it broke"}}], _request(1), RULES)


def test_a_request_has_only_the_fields_that_the_caller_gave() -> None:
    request = _request(2, 1).replace(extra_body={"truncate": True, "user": None})

    assert rerank_payload(request, "m", DOCUMENTS) == {
        "model": "m", "query": "q", "documents": ["document 0", "document 1"], "top_n": 1,
        "truncate": True,
    }  # fmt: skip
    assert rerank_payload(request, "m", TEXTS) == {
        "model": "m", "query": "q", "texts": ["document 0", "document 1"], "truncate": True,
    }  # fmt: skip
    assert "document" not in repr(rerank_payload(request, "m", TEXTS))


def test_the_debug_switch_of_ollama_is_refused() -> None:
    request = _request(1).replace(extra_body={"_debug_render_only": True})
    with pytest.raises(UnsupportedError):
        rerank_payload(request, "m", DOCUMENTS)
