"""Vectors out of an answer: counted, measured and packed."""

from __future__ import annotations

from array import array
from math import isfinite
from typing import Dict, Optional, Sequence, Tuple

from localproviders.errors import EmbeddingError


def check_vectors(
    rows: Sequence[Sequence[float]], expected: int, dimensions: Optional[int]
) -> Tuple[array[float], ...]:
    """Pack vectors after checking their number, length and values.

    Raises:
        EmbeddingError: A vector is missing or surplus, misshapen, or not finite.
    """
    if len(rows) != expected:
        raise EmbeddingError(f"{expected} texts were sent, and {len(rows)} vectors came back")
    packed: Dict[int, array[float]] = {}
    failures: Dict[int, str] = {}
    length = dimensions or len(rows[0])
    for index, row in enumerate(rows):
        try:
            vector = row if isinstance(row, array) else array("f", row)
        except (TypeError, OverflowError):
            failures[index] = "not a list of numbers"
            continue
        if len(vector) != length or not length:
            failures[index] = f"{len(vector)} values instead of {length}"
        elif not all(map(isfinite, vector)):
            failures[index] = "a value is not finite"
        else:
            packed[index] = vector
    if failures:
        first = min(failures)
        raise EmbeddingError(
            f"{len(failures)} of {expected} vectors are unusable; "
            f"vector {first}: {failures[first]}",
            failures=failures,
            embedded=packed,
        )
    return tuple(packed[index] for index in range(expected))
