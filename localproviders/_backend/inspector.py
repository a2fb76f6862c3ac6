"""A look at each chunk of an answer, before the caller gets it."""

from __future__ import annotations

from typing import Callable, List, Optional

from localproviders.types.answer import CompletionChunk


class Inspector:
    """Lets a provider look at each chunk, and keeps each of its warnings once.

    Args:
        check: Raises if a chunk breaks a promise, or gives a warning.
        warnings: Where the warnings go.
    """

    def __init__(
        self, check: Callable[[CompletionChunk], Optional[str]], warnings: List[str]
    ) -> None:
        self._check = check
        self._warnings = warnings

    def __call__(self, chunk: CompletionChunk) -> None:
        """Look at one chunk."""
        warning = self._check(chunk)
        if warning is not None and warning not in self._warnings:
            self._warnings.append(warning)
