"""Records that are the one before with another piece of text in it. Pure.

Of an answer's records nearly all are alike, letter by letter, but for the piece of text
and perhaps the time. Where that is so, all that was found in the one that was read in full
holds for the next: its shape, its depth, its numbers, the model, the host. Only the text
is new, and its JSON string is all that is read: 0.5 µs a record, where reading all of it
takes 3 to 8. The server's record is read in full when somebody asks for it.

The full reading stays the only definition of right: what is not exactly alike goes there.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Match, Optional, Sequence

from localproviders._http.framing import parse_json
from localproviders.errors import ProviderError
from localproviders.types.answer import CompletionChunk, LikeChunk

#: Gives, for "text" or "thinking", the strings of a record that differ from one to the
#: next, in the order in which the server writes them; the piece itself is the last.
Moving = Callable[[Any, str], Sequence[Any]]

# The inside of a JSON string: one that means what it says; one with escapes in it.
_PLAIN = r'[^"\\\x00-\x1f]*'
_STRING = rf"({_PLAIN}(?:\\.{_PLAIN})*)"

# What a template may repeat; a chunk that says more is read in full.
_REPEATED = {"text", "thinking", "model", "thinking_inferred"}

# So often in turn a template may fit nothing, before no more are made.
_MOST_IN_VAIN = 8


class Template:
    """Reads records that are like the one it was made from.

    Args:
        moving: See `Moving`.
        max_json_depth: As for `parse_json`.
    """

    def __init__(self, moving: Moving, max_json_depth: int) -> None:
        self._moving = moving
        self._max_depth = max_json_depth
        self._fits: Callable[[str], Optional[Match[str]]] = _never
        self._like = CompletionChunk()
        self._is_text = True
        self._in_vain = 0

    def make(self, record: str, chunk: CompletionChunk) -> None:
        """Make it from a record and the chunk that was read from it, if that can be.

        The record must be one whose next of kin would be read alike: the caller has made
        sure that nothing but the text depends on what came before.
        """
        if self._in_vain >= _MOST_IN_VAIN or not set(chunk.to_dict()) <= _REPEATED:
            return
        if bool(chunk.text) == bool(chunk.thinking):
            return
        kind = "text" if chunk.text else "thinking"
        pattern = self._pattern(record, self._moving(chunk.raw, kind), kind)
        if pattern is not None:
            self._in_vain += 1
            self._fits = re.compile(pattern, re.DOTALL).fullmatch
            self._like, self._is_text = chunk, kind == "text"

    def _pattern(self, record: str, strings: Sequence[Any], kind: str) -> Optional[str]:
        """Give what fits the record whatever its strings say; None where they are doubtful."""
        probes = [f"probe {number}" for number, _ in enumerate(strings)]
        pattern, probe, at = "", "", 0
        for string, mark in zip(strings, probes):
            if not string or not isinstance(string, str) or record.count(f'"{string}"') != 1:
                return None
            begin = record.find(f'"{string}"', at) + 1
            if not begin:
                return None
            pattern += re.escape(record[at:begin]) + (_STRING if mark == probes[-1] else _PLAIN)
            probe += record[at:begin] + mark
            at = begin + len(string)
        try:
            # The proof: other strings in these places are read as those, and nothing else is.
            found = self._moving(parse_json(probe + record[at:], self._max_depth), kind)
        except ProviderError:
            return None
        return pattern + re.escape(record[at:]) if list(found) == probes else None

    def read(self, record: str) -> Optional[CompletionChunk]:
        """Give the chunk of a record that is like the one before; None where it is not."""
        found = self._fits(record)
        if found is None:
            return None
        said = found[1]
        if "\\" in said:
            try:
                said = parse_json(f'"{said}"', self._max_depth)
            except ProviderError:
                return None  # the full reading says what is wrong
        if not said:
            return None  # an empty piece may leave the word to another field
        self._in_vain = 0
        if self._is_text:
            return LikeChunk(said, "", self._like, record, self._raw)
        return LikeChunk("", said, self._like, record, self._raw)

    def _raw(self, record: str) -> Any:
        return parse_json(record, self._max_depth)


def _never(_: str) -> None:
    return None
