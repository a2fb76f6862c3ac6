"""How long a text is, in tokens, and how that is known."""

from __future__ import annotations

from typing import Literal

from localproviders._record import Record, record

#: How a count is known: the server counted; it follows from counts that the server gave
#: for other prompts of this model; or it is a guess from the number of characters.
CountSource = Literal["exact", "calibrated", "rough"]


@record
class TokenCount(Record):
    """A number of tokens, and how it is known.

    Attributes:
        tokens: The number.
        source: ``exact``, ``calibrated`` or ``rough``.
        detail: In words: who counted, or from how much it was concluded.
    """

    tokens: int
    source: CountSource
    detail: str = ""
