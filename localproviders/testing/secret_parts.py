"""Mask parts of secrets in JSON: secrets that are cut off, or split between records of a stream."""

from __future__ import annotations

import re
from typing import Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

from localproviders.secret import Unseen

# Number of characters of the shortest part that is masked. A shorter part can be an ordinary word,
# or a prefix that every API key of a service has.
_SHORTEST_PART = 8

# A string of JSON, and the colon after it if it is the name of a field. The end of the body may cut
# off the string.
_STRING = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)(?:"(\s*:)?|\\?\Z)', re.DOTALL)

# One character of such a string, as it is written: an escape, an ASCII character, or UTF-8.
_UNIT = re.compile(rb"\\u[0-9A-Fa-f]{4}|\\.|[\xc0-\xff][\x80-\xbf]*|.", re.DOTALL)


class _Literal(NamedTuple):
    """The content of a JSON string in a body: its position, and its bytes with their escapes."""

    start: int
    written: bytes

    def is_plain(self) -> bool:
        """Return whether each byte is one character."""
        return b"\\" not in self.written and self.written.isascii()

    def units(self) -> List[Tuple[int, int]]:
        """Return, for each character, the positions in the body where it starts and ends."""
        found = [match.span() for match in _UNIT.finditer(self.written)]
        return [(self.start + first, self.start + last) for first, last in found]

    def text(self) -> str:
        """Return the decoded characters, one for each pair of `units`."""
        if self.is_plain():
            return self.written.decode("ascii")
        return "".join(map(_character, _UNIT.findall(self.written)))


def mask_parts(body: bytes, secrets: Iterable[str]) -> bytes:
    """Replace the bytes of all parts of secrets with asterisks, so that the body keeps its length.

    A part has at least eight characters. Only the strings of JSON are searched for parts. Before
    the search, the values of all fields with the same name are joined, as a client joins the pieces
    of a stream. So a part is found even if it is divided among several pieces.
    """
    parts = _parts(secrets)
    if not parts:
        return body
    masked = bytearray(body)
    for literals in _literals_by_name(body).values():
        for start, end in _spans(literals, parts):
            masked[start:end] = b"*" * (end - start)
    return bytes(masked)


def _parts(secrets: Iterable[str]) -> Set[str]:
    """Return all parts of the shortest length. Any longer part consists of these."""
    found: Set[str] = set()
    for secret in map(Unseen, secrets):
        starts = range(len(secret) - _SHORTEST_PART + 1)
        found |= {Unseen(secret[start : start + _SHORTEST_PART]) for start in starts}
    return found


def _literals_by_name(body: bytes) -> Dict[bytes, List[_Literal]]:
    """Return the strings that are values, by the name of their field."""
    found: Dict[bytes, List[_Literal]] = {}
    name = b""
    for match in _STRING.finditer(body):
        if match.group(2):
            name = match.group(1)
        elif match.group(1):
            found.setdefault(name, []).append(_Literal(match.start(1), match.group(1)))
    return found


def _spans(literals: List[_Literal], parts: Set[str]) -> Iterator[Tuple[int, int]]:
    """Yield the start and the end, in the body, of each character that belongs to a part."""
    texts = [literal.text() for literal in literals]
    marked = _marked("".join(texts), parts)
    if not marked:
        return
    at = 0
    for literal, text in zip(literals, texts):
        inside = [at + number in marked for number in range(len(text))]
        if any(inside):
            yield from (unit for unit, is_in in zip(literal.units(), inside) if is_in)
        at += len(text)


def _marked(text: str, parts: Set[str]) -> Set[int]:
    """Return the positions of the characters that belong to a part."""
    found: Set[int] = set()
    for part in parts:
        start = text.find(part)
        while start >= 0:
            found.update(range(start, start + len(part)))
            start = text.find(part, start + 1)
    return found


def _character(unit: bytes) -> str:
    """Return the character of one unit. Invalid UTF-8 becomes a character that no secret has."""
    if unit.startswith(b"\\u") and len(unit) == 6:
        return chr(int(unit[2:], 16))
    if unit.startswith(b"\\"):
        named = {b"n": "\n", b"t": "\t", b"r": "\r", b"b": "\b", b"f": "\f"}
        return named.get(unit[1:], unit[1:].decode("latin-1") or "\\")
    text = unit.decode("utf-8", "replace")
    return text if len(text) == 1 else "\ufffd"
