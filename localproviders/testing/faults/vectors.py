"""Faults of responses with vectors, and of responses with a list of models."""

from __future__ import annotations

import base64
from array import array
from typing import Any, Callable, Iterable, List, Tuple

from localproviders.testing.answers import Answer
from localproviders.testing.faults.fault import Fault, changing
from localproviders.testing.scripted import Step

_VECTORS = ("vectors",)
_LIST = ("list",)


def _change_vectors(change: Callable[[List[Any]], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Change the list of vectors, in Ollama's or OpenAI's dialect."""

    def change_record(record: Any) -> Any:
        if "embeddings" in record:
            return {**record, "embeddings": change(record["embeddings"])}
        items = record["data"]
        rows = change([item["embedding"] for item in items])
        if not isinstance(rows, list):
            return {**record, "data": rows}
        made = [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ]
        return {**record, "data": made}

    return changing(change_record)


def _with_indexes(*indexes: Any) -> Callable[[Any], Any]:
    def change_record(record: Any) -> Any:
        if "data" not in record:
            return {**record, "embeddings": record["embeddings"][:1]}
        items = [{**item, "index": i} for item, i in zip(record["data"], indexes)]
        return {**record, "data": items}

    return change_record


def _change_models(change: Callable[[Any], Any]) -> Callable[[Answer], Iterable[Step]]:
    """Change the list of models, in Ollama's or OpenAI's dialect."""

    def change_record(record: Any) -> Any:
        key = "models" if "models" in record else "data"
        return {**record, key: change(record[key])}

    return changing(change_record)


def _with_another_digest(row: Any) -> Any:
    """Return an entry of the model list, with its digest changed if it has one."""
    return {**row, "digest": row["digest"][::-1]} if "digest" in row else row


_NOT_A_NUMBER = base64.b64encode(array("f", [float("nan"), 1.0]).tobytes()).decode()

VECTOR_FAULTS: Tuple[Fault, ...] = (
    Fault("too few vectors", _change_vectors(lambda rows: rows[:-1]), _VECTORS),
    Fault("too many vectors", _change_vectors(lambda rows: [*rows, rows[0]]), _VECTORS),
    Fault("no vectors", _change_vectors(lambda rows: []), _VECTORS),
    Fault("null for the vectors", _change_vectors(lambda rows: None), _VECTORS),
    Fault("vectors of different lengths", _change_vectors(lambda rows: [rows[0], [1.0]]), _VECTORS),
    Fault("an empty vector", _change_vectors(lambda rows: [rows[0], []]), _VECTORS),
    Fault("null for a vector", _change_vectors(lambda rows: [rows[0], None]), _VECTORS),
    Fault("a text in a vector", _change_vectors(lambda rows: [rows[0], ["x"] * 16]), _VECTORS),
    Fault("a list in a vector", _change_vectors(lambda rows: [rows[0], [[1.0]] * 16]), _VECTORS),
    Fault(
        "a number too large for a vector",
        _change_vectors(lambda rows: [rows[0], [1e39] * 16]),
        _VECTORS,
    ),
    Fault(
        "vectors that are not finite", _change_vectors(lambda rows: [_NOT_A_NUMBER] * 2), _VECTORS
    ),
    Fault("vectors in broken base64", _change_vectors(lambda rows: ["AAA$"] * 2), _VECTORS),
    Fault(
        "base64 vectors that end inside a number",
        _change_vectors(lambda rows: ["AAAA"] * 2),
        _VECTORS,
    ),
    Fault("vectors in another order", changing(_with_indexes(1, 0)), _VECTORS),
    Fault("vectors under one index", changing(_with_indexes(0, 0)), _VECTORS),
    Fault("vectors under strange indexes", changing(_with_indexes("a", None)), _VECTORS),
    Fault("vectors of another model", changing(lambda r: {**r, "model": "another"}), _VECTORS),
    Fault("a number for the list", _change_models(lambda _: 7), _LIST),
    Fault("a text for the list", _change_models(lambda _: "models"), _LIST),
    Fault("texts in the list", _change_models(lambda _: ["a", "b"]), _LIST),
    Fault("nulls in the list", _change_models(lambda rows: [None, *rows]), _LIST),
    Fault("an empty list", _change_models(lambda _: []), _LIST),
    Fault("other digests", _change_models(lambda rows: [*map(_with_another_digest, rows)]), _LIST),
    Fault(
        "each model twice",
        _change_models(lambda rows: [*rows, *map(_with_another_digest, rows)]),
        _LIST,
    ),
    Fault(
        "models without a name",
        _change_models(
            lambda rows: [{**row, **dict.fromkeys(("name", "model", "id", "key"))} for row in rows]
        ),
        _LIST,
    ),
)
