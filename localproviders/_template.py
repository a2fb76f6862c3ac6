"""Records that are the one before with another piece of text in it. Pure.

Of an answer's records nearly all are alike, letter by letter, but for the piece of text
and perhaps the time. Where that is so, all that was found in the one that was read in full
holds for the next: its shape, its depth, its numbers, the model, the host. Only the text
is new, and its JSON string is all that is read: 0.8 µs a record, where reading all of it
takes 3 to 8. The server's record is read in full when somebody asks for it.

The full reading stays the only definition of right: what is not exactly alike goes there.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Tuple

from localproviders._http.framing import parse_json
from localproviders.errors import ProviderError
from localproviders.types.answer import CompletionChunk, LikeChunk

#: Gives, for "text" or "thinking", the strings of a record that differ from one to the
#: next, in the order in which the server writes them: at most two, the piece itself the last.
Moving = Callable[[Any, str], Sequence[Any]]

# What a template may repeat; a chunk that says more is read in full.
_REPEATED = {"text", "thinking", "model", "thinking_inferred"}

# So often in turn a template may fit nothing, before no more are made.
_MOST_IN_VAIN = 8

# Before, between and behind the strings: what no decoded text can hold.
_NOTHING = ("\ud800", "", "")


class Template:
    """Reads records that are like the one it was made from.

    Args:
        moving: See `Moving`.
        max_json_depth: As for `parse_json`.
    """

    def __init__(self, moving: Moving, max_json_depth: int) -> None:
        self._moving = moving
        self._max_depth = max_json_depth
        self._model: Optional[Tuple[str, CompletionChunk, Sequence[Any]]] = None
        self._parts = _NOTHING
        self._like = CompletionChunk()
        self._is_text = True
        self._at = 0
        self._in_vain = 0

    def make(self, record: str, chunk: CompletionChunk) -> None:
        """Take a record and the chunk that was read from it as the model of the next.

        The record must be one whose next of kin would be read alike: the caller has made
        sure that nothing but the text depends on what came before. Most of the work is left for
        the next record: the first token waits less, and the only one does not pay for it.
        """
        one_kind = bool(chunk.text) != bool(chunk.thinking)
        if self._in_vain < _MOST_IN_VAIN and one_kind and set(chunk.to_dict()) <= _REPEATED:
            # A copy: the chunk goes to the caller, who may change it before the next comes.
            like = CompletionChunk(
                text=chunk.text,
                thinking=chunk.thinking,
                model=chunk.model,
                thinking_inferred=chunk.thinking_inferred,
            )
            kind = "text" if chunk.text else "thinking"
            self._model = record, like, self._moving(chunk.raw, kind)

    def _study(self, record: str, like: CompletionChunk, strings: Sequence[Any]) -> None:
        self._model, self._at = None, 0
        parts = self._cut(record, strings, "text" if like.text else "thinking")
        if parts is not None:
            self._in_vain += 1
            self._parts, self._like, self._is_text = parts, like, bool(like.text)

    def _cut(
        self, record: str, strings: Sequence[Any], kind: str
    ) -> Optional[Tuple[str, str, str]]:
        """Give what stands before, between and behind the strings; None where it is doubtful."""
        parts, at = [], 0
        for string in strings:
            if not string or not isinstance(string, str) or record.count(f'"{string}"') != 1:
                return None
            begin = record.find(f'"{string}"', at) + 1
            if not begin:
                return None
            parts.append(record[at:begin])
            at = begin + len(string)
        # No string in a record is as long as the record: a probe is found where it was put.
        probes = [letter * len(record) for letter in "ab"[: len(strings)]]
        trial = "".join(f"{part}{probe}" for part, probe in zip(parts, probes)) + record[at:]
        try:
            # The proof: other strings in these places are read as those, and nothing else is.
            found = self._moving(parse_json(trial, self._max_depth), kind)
        except ProviderError:
            return None
        if list(found) != probes:
            return None
        return parts[0], parts[1] if len(parts) > 1 else "", record[at:]

    def read(self, record: str) -> Optional[CompletionChunk]:
        """Give the chunk of a record that is like the one before; None where it is not."""
        if self._model is not None:
            self._study(*self._model)
        head, middle, tail = self._parts
        begin, end = len(head), len(record) - len(tail)
        if not (record.startswith(head) and record.endswith(tail)):
            return None
        if middle:
            # Times are mostly of one length: a look at the place is cheaper than a search.
            if not record.startswith(middle, self._at):
                self._at = record.find(middle, begin)
            moving = record[begin : self._at]
            if self._at < begin or '"' in moving or "\\" in moving or not moving.isprintable():
                return None
            begin = self._at + len(middle)
        said = record[begin:end]
        if '"' in said or "\\" in said or not said.isprintable():
            said = self._unescaped(said)
        if not said:
            return None  # an empty piece may leave the word to another field
        self._in_vain = 0
        if self._is_text:
            return LikeChunk(said, "", self._like, record, self._raw)
        return LikeChunk("", said, self._like, record, self._raw)

    def _unescaped(self, string: str) -> str:
        try:
            return str(parse_json(f'"{string}"', self._max_depth))
        except ProviderError:
            return ""  # the full reading says what is wrong

    def _raw(self, record: str) -> Any:
        return parse_json(record, self._max_depth)
