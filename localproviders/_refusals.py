"""The fields of requests, and the schemas, that the server of one provider has refused."""

from __future__ import annotations

from typing import Hashable, Optional, Set, Tuple

# Maximum number of remembered refusals. The memory is emptied when it is full.
_MOST_REFUSALS = 1_000


class Refusals:
    """The fields of requests, and the schemas, that the server of one provider refuses, by model.

    There is no lock, because adding to a set is atomic.
    """

    def __init__(self) -> None:
        self._known: Set[Tuple[Optional[str], Hashable]] = set()

    def add(self, model: Optional[str], key: Hashable) -> None:
        """Remember a refusal; None as the model means all models."""
        if len(self._known) >= _MOST_REFUSALS:
            self._known.clear()
        self._known.add((model, key))

    def has(self, model: str, *keys: Hashable) -> bool:
        """Return whether the server refuses one of these fields or schemas for a model."""
        known = self._known
        return any((None, key) in known or (model, key) in known for key in keys)

    def __bool__(self) -> bool:
        return bool(self._known)
