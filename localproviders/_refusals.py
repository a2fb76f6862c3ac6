"""A memory of the request fields and the schemas that a server refuses."""

from __future__ import annotations

import re
from typing import Hashable, Optional, Set, Tuple

from localproviders.errors import ProviderError
from localproviders.secret import Unseen

# Maximum number of remembered refusals. The memory is emptied when it is full.
_MOST_REFUSALS = 1_000


class Refusals:
    """The request fields and the schemas that the server of a provider refuses for each model.

    There is no lock, because adding to a set is atomic.
    """

    def __init__(self) -> None:
        self._known: Set[Tuple[Optional[str], Hashable]] = set()

    def add(self, model: Optional[str], key: Hashable) -> None:
        """Remember that a field or a schema is refused. None as the model means all models."""
        if len(self._known) >= _MOST_REFUSALS:
            self._known.clear()
        self._known.add((model, key))

    def has(self, model: str, *keys: Hashable) -> bool:
        """Return whether the server refuses one of these fields or schemas for a model."""
        known = self._known
        return any((None, key) in known or (model, key) in known for key in keys)

    def __bool__(self) -> bool:
        return bool(self._known)


def refuses(error: ProviderError, names: str, denial: str) -> bool:
    """Return whether an error means that the server refuses a field or a schema.

    Args:
        error: The error.
        names: Pattern that the server's error text matches if it concerns the field or the schema.
        denial: Pattern that the error text must also match if the status is not 4xx.
    """
    said = Unseen(error.server_message or "")
    is_early = error.status is not None and 400 <= error.status < 500
    return says(names, said) and (is_early or says(denial, said))


def says(pattern: str, text: str) -> bool:
    """Return whether a text of a server matches a pattern, ignoring case."""
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None
