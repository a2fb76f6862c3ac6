"""A fast path for stream records that differ from the previous one only in their text.

Nearly all records of a stream are identical except for the piece of text and perhaps the time. The
field names, the nesting, the numbers and the model of such a record are known from an earlier
record that was parsed completely. So only the JSON string with the text is parsed. This takes
0.8 µs, while parsing the complete record takes 3 to 8 µs. The complete record is parsed only when
the caller reads the attribute `raw` of the chunk.

The result must be the same as if the complete record were parsed. So a record that also differs in
anything else is parsed completely. The module does no input or output.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Callable, Optional, Sequence, Tuple

from localproviders._http.framing import LARGE, parse_json
from localproviders._http.halves import has_open_half
from localproviders.errors import ProviderError
from localproviders.types.responses import CompletionChunk, LikeChunk

#: A function that returns the strings of a parsed record that change from record to record. They
#: have the order in which the server writes them. There are at most two strings, and the last one
#: is the piece of text. The second argument is the kind of this piece: "text" or "thinking".
GetChangingStrings = Callable[[Any, str], Sequence[Any]]

# A chunk can be a template only if it has no other fields than these.
_TEMPLATE_FIELDS = {"text", "thinking", "model", "thinking_inferred", "raw"}
_OTHER_FIELDS = attrgetter(*sorted({*CompletionChunk.__slots__} - _TEMPLATE_FIELDS))

# If this number of templates in a row matched no record, no more templates are made.
_MAX_UNUSED_TEMPLATES = 8

# The parts of a template that no record matches, because decoded text cannot contain a surrogate.
_NO_MATCH = ("\ud800", "", "")


class Template:
    """A reader for records that differ from an earlier record only in their text.

    Args:
        changing_strings: Function that returns the strings that change from record to record.
        max_json_depth: Maximum nesting of JSON that is accepted.
    """

    def __init__(self, changing_strings: GetChangingStrings, max_json_depth: int) -> None:
        self._changing_strings = changing_strings
        self._max_depth = max_json_depth
        # The values from which the next call of `read` makes `_parts`: a record, its chunk and its
        # changing strings.
        self._new_record: Optional[Tuple[str, CompletionChunk, Sequence[Any]]] = None
        # The text of a record before, between and after its changing strings.
        self._parts = _NO_MATCH
        self._like = CompletionChunk()
        self._is_text = True
        # Position of the middle part in the previous record.
        self._middle_at = 0
        self._unused_templates = 0

    @property
    def has_matched(self) -> bool:
        """Whether the current template has matched a record."""
        return self._parts is not _NO_MATCH and not self._unused_templates

    def make(self, record: str, chunk: CompletionChunk) -> None:
        """Make a template from a completely parsed record and its chunk.

        The caller must make sure that the chunk of each later record depends only on that record,
        and not on the state of the parser. Most of the work is postponed to the next call of
        `read`. So the work does not delay the first token, and is not done for a stream with a
        single record.
        """
        has_one_kind = bool(chunk.text) != bool(chunk.thinking)
        # Checking a template takes several times the memory of its record.
        is_useful = self._unused_templates < _MAX_UNUSED_TEMPLATES and len(record) <= LARGE
        if is_useful and has_one_kind and not any(_OTHER_FIELDS(chunk)):
            # The chunk is copied, because the caller receives it and may change it.
            like = CompletionChunk(
                text=chunk.text,
                thinking=chunk.thinking,
                model=chunk.model,
                thinking_inferred=chunk.thinking_inferred,
            )
            kind = "text" if chunk.text else "thinking"
            self._new_record = record, like, self._changing_strings(chunk.raw, kind)

    def _prepare(self, record: str, like: CompletionChunk, strings: Sequence[Any]) -> None:
        self._new_record, self._middle_at = None, 0
        parts = self._split(record, strings, "text" if like.text else "thinking")
        if parts is not None:
            self._unused_templates += 1
            self._parts, self._like, self._is_text = parts, like, bool(like.text)

    def _split(
        self, record: str, strings: Sequence[Any], kind: str
    ) -> Optional[Tuple[str, str, str]]:
        """Return the parts of a record before, between and after the changing strings.

        The middle part is empty if there is only one string. The result is None if it is not
        certain that records with these parts are parsed correctly.
        """
        parts, at = [], 0
        for string in strings:
            if not string or not isinstance(string, str) or record.count(f'"{string}"') != 1:
                return None
            begin = record.find(f'"{string}"', at) + 1
            if not begin:
                return None
            parts.append(record[at:begin])
            at = begin + len(string)
        # A probe that is as long as the record cannot occur in the record by accident.
        probes = [letter * len(record) for letter in "ab"[: len(strings)]]
        trial = "".join(f"{part}{probe}" for part, probe in zip(parts, probes)) + record[at:]
        try:
            # Check that the parser finds the probes exactly where they were inserted.
            found = self._changing_strings(parse_json(trial, self._max_depth), kind)
        except ProviderError:
            return None
        if list(found) != probes:
            return None
        return parts[0], parts[1] if len(parts) > 1 else "", record[at:]

    def read(self, record: str) -> Optional[CompletionChunk]:
        """Return the chunk of a record that matches the template, or None if it does not match."""
        if self._new_record is not None:
            self._prepare(*self._new_record)
        head, middle, tail = self._parts
        begin, end = len(head), len(record) - len(tail)
        if not (record.startswith(head) and record.endswith(tail)):
            return None
        if middle:
            # The string before the middle part is a time, usually of constant length. So the middle
            # part is first compared at its previous position, which is cheaper than a search.
            if not record.startswith(middle, self._middle_at):
                self._middle_at = record.find(middle, begin)
            first = record[begin : self._middle_at]
            if self._middle_at < begin or '"' in first or "\\" in first or not first.isprintable():
                return None
            begin = self._middle_at + len(middle)
        piece = record[begin:end]
        if '"' in piece or "\\" in piece or not piece.isprintable():
            if "\\u" in piece[-6:] and has_open_half(f'{piece}"'):
                return None  # the second half of this character is in the next record
            piece = self._unescaped(piece)
        if not piece:
            return None  # if the text is empty, another field of the record may matter
        self._unused_templates = 0
        if self._is_text:
            return LikeChunk(piece, "", self._like, record, self._raw)
        return LikeChunk("", piece, self._like, record, self._raw)

    def _unescaped(self, string: str) -> str:
        try:
            return str(parse_json(f'"{string}"', self._max_depth))
        except ProviderError:
            return ""  # the record is then parsed completely, which raises the error again

    def _raw(self, record: str) -> Any:
        return parse_json(record, self._max_depth)
