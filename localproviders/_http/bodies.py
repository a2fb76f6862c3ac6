"""A body of vectors to its value, each vector packed as it is read. Pure.

Python's floats take three times the text that they were read from, and the exact reading of
`framing.parse_json` is called back for each of them: 2.6 times the time of json alone. Here
each list of numbers is read by json in C and packed at once; a mark takes its place, and what
is left, a short text, is read exactly. On any doubt `parse_json` reads the whole.
"""

from __future__ import annotations

import re
import struct
from array import array
from itertools import chain, zip_longest
from math import isfinite
from typing import Any, Dict, List, Sequence

from localproviders._http.framing import new_decoder, parse_json
from localproviders.errors import ProviderError

# In a shorter list there is nothing to win.
_LONG = 256

# In so much of a body its first vector begins.
_BEGINNING = 16 * 1024

_ROW = re.compile(r"\[\s*-?[0-9]")

# Stands, in an object of its own, where a list stood. Inside of a text it is no JSON, because
# of its quotes; in a body that holds it already, or may in escapes, nothing is marked.
_MARK = "packed by localproviders"


def parse_body(text: str, max_depth: int) -> Any:
    """Read one JSON value; long lists of numbers may come as ``array('f')``.

    Raises:
        ProtocolError: As `parse_json`.
        AnswerTooLargeError: As `parse_json`.
    """
    # One letter is found thirty times as fast as two; the first vector stands near the start.
    escaped = "\\" in text and "\\u" in text
    if not escaped and _ROW.search(text, 0, _BEGINNING) is not None:
        try:
            return _parse_packed(text, max_depth)
        except (ValueError, ProviderError):
            pass
    return parse_json(text, max_depth)


def pack(numbers: Sequence[float]) -> array[float]:
    """Pack numbers into 32 bits each.

    Raises:
        ValueError: One of them is no number, or is past every float.
    """
    try:
        # struct takes 8 µs for a thousand numbers, where the array's own loop takes 20.
        return array("f", struct.pack(f"{len(numbers)}f", *numbers))
    except (TypeError, OverflowError, struct.error):
        raise ValueError("not a list of numbers") from None


def _parse_packed(text: str, max_depth: int) -> Any:
    rows: List[array[float]] = []
    around: List[str] = []
    at = 0
    found = _ROW.search(text)
    while found is not None:
        start, end = found.start(), text.find("]", found.start()) + 1
        rows.append(_row(text, start, end))
        around.append(text[at:start])
        at, found = end, _ROW.search(text, end)
    around.append(text[at:])
    if any(_MARK in piece for piece in around):
        raise ValueError
    marks = [f'{{"{_MARK}": {number}}}' for number in range(len(rows))]
    skeleton = "".join(chain.from_iterable(zip_longest(around, marks, fillvalue="")))

    def packed(value: Dict[str, Any]) -> Any:
        return rows[value[_MARK]] if _MARK in value else value

    return parse_json(skeleton, max_depth, object_hook=packed)


def _row(text: str, start: int, end: int) -> array[float]:
    """Read a list of nothing but numbers.

    Raises:
        ValueError: It is another list, or a short one.
        ProtocolError: It has a number of more than 400 digits.
    """
    # Something else in it could go deeper than anybody has looked; behind a text, past `end`.
    is_flat = all(text.find(mark, start + 1, end) < 0 for mark in '[{"')
    if end - start < _LONG or not is_flat:
        raise ValueError
    numbers: List[Any] = _NUMBERS.raw_decode(text, start)[0]
    packed = pack(numbers)
    if not isfinite(sum(numbers)):  # in 64 bits, as they were read; two infinities make a NaN
        raise ValueError
    return packed


# Floats are json's own here, and looked at together.
_NUMBERS = new_decoder(parse_float=float)
