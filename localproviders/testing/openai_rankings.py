"""Rerank requests: their checks and their responses, as in llama.cpp's server, build b11549."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from localproviders.testing.openai_requests import RefusedError, refused

#: The routes of llama.cpp that rank documents.
PATHS = ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking")


class RankQuestion(NamedTuple):
    """The fields of a rerank request.

    Attributes:
        query: The query.
        documents: The documents.
        top_n: The number of documents in the response.
        is_tei: Whether the response must have the form of text-embeddings-inference (TEI).
    """

    query: str
    documents: List[str]
    top_n: int
    is_tei: bool


def not_started_for_it() -> RefusedError:
    """Return the refusal of a server that was not started with ``--reranking``."""
    error = {
        "code": 501,
        "message": "This server does not support reranking. Start it with `--reranking`",
        "type": "not_supported_error",
    }
    return RefusedError({"error": error}, "501 Not Implemented")


def read_question(body: Mapping[str, Any]) -> RankQuestion:
    """Check a rerank request, and return its fields.

    Raises:
        RefusedError: The server refuses the request.
    """
    if "query" not in body:
        raise refused('"query" must be provided')
    query = body["query"]
    if not isinstance(query, str):
        raise refused('"query" must be a string')
    is_tei = "texts" in body
    documents: Any = body.get("texts" if is_tei else "documents")
    is_list = isinstance(documents, list) and bool(documents)
    if not is_list or not all(isinstance(document, str) for document in documents):
        raise refused('"documents" must be a non-empty string array')
    top_n = body.get("top_n")
    if isinstance(top_n, bool) or not isinstance(top_n, int):
        top_n = len(documents)  # a value of another type is ignored
    if top_n < 0:
        raise refused("vector::_M_default_append", 500)
    return RankQuestion(query, documents, top_n, is_tei)


def score_of(query: str, document: str) -> float:
    """Return the score of a document: the share of words common to both texts, minus 0.1.

    So a score can be negative.
    """
    asked, found = (set(re.findall(r"\w+", text.lower())) for text in (query, document))
    return len(asked & found) / (len(asked | found) or 1) - 0.1


def ranking_of(
    question: RankQuestion, scores: Sequence[Any], model: str, tokens: int
) -> Union[Dict[str, Any], List[Dict[str, Any]]]:
    """Return the JSON of a response, in which the documents are sorted by score."""
    name = "score" if question.is_tei else "relevance_score"
    pairs = sorted(enumerate(scores), key=_order)[: question.top_n]
    results = [{"index": index, name: score} for index, score in pairs]
    if question.is_tei:
        return results
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"model": model, "object": "list", "usage": usage, "results": results}


def _order(pair: Tuple[int, Any]) -> float:
    """Return the sort key: the highest score is first, and values that are no numbers are last."""
    is_number = isinstance(pair[1], (int, float)) and not isinstance(pair[1], bool)
    return -pair[1] if is_number else float("inf")
