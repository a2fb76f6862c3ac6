"""Reasoning that a server left in the text, in a leading ``<think>`` block. Pure."""

from __future__ import annotations

from typing import Tuple

_OPEN, _CLOSE = "<think>", "</think>"

# A model that is bound to a schema may write blanks without end: who waits shall see them.
_MOST_BLANKS = 64


class ThinkingSplitter:
    """Takes a leading ``<think>`` block out of a text that comes in pieces.

    Servers that do not know a model's template leave its reasoning in the text
    (lmstudio-api §3.7). Only a block at the very beginning is taken, whatever stands in
    the answer later; blanks around it, up to 64 before it, are dropped. A block without an
    end is reasoning to the last letter.

    Attributes:
        held: The piece of text whose meaning the next piece decides.
        found: Whether there was such a block.
    """

    def __init__(self) -> None:
        self.held = ""
        self.found = False
        self._split = self._before

    def split(self, text: str) -> Tuple[str, str]:
        """Give the reasoning and the text of the next piece."""
        return self._split(text) if text else ("", "")

    def and_end(self, piece: Tuple[str, str]) -> Tuple[str, str]:
        """Give the last piece with what was held back: the answer is over."""
        rest, self.held = self.held, ""
        inside = self._split == self._inside
        return (piece[0] + rest, piece[1]) if inside else (piece[0], piece[1] + rest)

    @property
    def settled(self) -> bool:
        """Whether every further piece is text, as it comes."""
        return self._split == self._behind and not self.held

    def give_up(self) -> None:
        """Leave the text alone from now on: the server keeps reasoning apart itself."""
        self._split = self._behind

    def _before(self, piece: str) -> Tuple[str, str]:
        text = self.held + piece
        begin = text.lstrip()
        leads = len(text) - len(begin) <= _MOST_BLANKS
        if leads and begin.startswith(_OPEN):
            self.found, self.held, self._split = True, "", self._inside
            return self._inside(begin[len(_OPEN) :])
        if leads and _OPEN.startswith(begin):
            self.held = text
            return "", ""
        self.held, self._split = "", self._behind
        return "", text

    def _inside(self, piece: str) -> Tuple[str, str]:
        text = self.held + piece
        thinking, close, rest = text.partition(_CLOSE)
        if close:
            self.held, self._split = "", self._after
            return thinking, self._after(rest)[1]
        kept = next((n for n in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:n])), 0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept], ""

    def _after(self, piece: str) -> Tuple[str, str]:
        text = piece.lstrip()
        if text:
            self._split = self._behind
        return "", text

    def _behind(self, piece: str) -> Tuple[str, str]:
        rest, self.held = self.held, ""
        return "", rest + piece
