"""A look at each chunk, before the caller gets it."""

from __future__ import annotations

from typing import Callable, List, Optional

from localproviders.types.answer import CompletionChunk


class Inspector:
    """Lets the provider look at each chunk, and keeps a warning once.

    Args:
        check: Looks at a chunk: raises, or gives a warning.
        warnings: Where warnings are kept.
    """

    def __init__(
        self, check: Callable[[CompletionChunk], Optional[str]], warnings: List[str]
    ) -> None:
        self._check = check
        self._warnings = warnings

    def __call__(self, chunk: CompletionChunk) -> None:
        warning = self._check(chunk)
        if warning is not None and warning not in self._warnings:
            self._warnings.append(warning)
