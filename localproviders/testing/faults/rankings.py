"""Faults of responses with ranked documents."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import Fault, changing
from localproviders.testing.scripted import Step

_RANKING = ("ranking",)
_Rows = List[Dict[str, Any]]


def _change_results(change: Callable[[_Rows], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Change the list of results, in Cohere's form or in that of text-embeddings-inference."""

    def change_record(record: Any) -> Any:
        if isinstance(record, list):
            return change(record)
        return {**record, "results": change(record["results"])}

    return changing(change_record)


def _with_index(index: Any) -> Callable[[Answer], Iterable[Step]]:
    """Set the index of the first result."""
    return _change_results(lambda rows: [{**rows[0], "index": index}, *rows[1:]])


def _with_score(score: Any) -> Callable[[Answer], Iterable[Step]]:
    """Set the score of the first result, whether its field is `score` or `relevance_score`."""

    def change(rows: _Rows) -> _Rows:
        name = "score" if "score" in rows[0] else "relevance_score"
        return [{**rows[0], name: score}, *rows[1:]]

    return _change_results(change)


def _without(*names: str) -> Callable[[Answer], Iterable[Step]]:
    return _change_results(
        lambda rows: [{name: row[name] for name in row if name not in names} for row in rows]
    )


RANKING_FAULTS: Tuple[Fault, ...] = (
    Fault("an index beyond the documents", _with_index(7), _RANKING),
    Fault("a negative index of a document", _with_index(-1), _RANKING),
    Fault("null for an index of a document", _with_index(None), _RANKING),
    Fault("a text for an index of a document", _with_index("a"), _RANKING),
    Fault(
        "one document ranked twice", _change_results(lambda rows: [rows[0]] * len(rows)), _RANKING
    ),
    Fault("results without an index", _without("index"), _RANKING),
    Fault("results without a score", _without("score", "relevance_score"), _RANKING),
    Fault("null for a score", _with_score(None), _RANKING),
    Fault("a text for a score", _with_score("high"), _RANKING),
    Fault("true for a score", _with_score(True), _RANKING),
    Fault("NaN for a score", _with_score(float("nan")), _RANKING),
    Fault("infinity for a score", _with_score(float("inf")), _RANKING),
    Fault("too many results", _change_results(lambda rows: [*rows, {**rows[0]}]), _RANKING),
    Fault("too few results", _change_results(lambda rows: rows[:-1]), _RANKING),
    Fault("no results", _change_results(lambda rows: []), _RANKING),
    Fault("null for the results", _change_results(lambda rows: None), _RANKING),
    Fault("texts in the results", _change_results(lambda rows: ["a"] * len(rows)), _RANKING),
    Fault("results that are not sorted", _change_results(lambda rows: rows[::-1]), _RANKING),
    Fault("a ranking of another model", changing(lambda r: {**r, "model": "another"}), _RANKING),
)
