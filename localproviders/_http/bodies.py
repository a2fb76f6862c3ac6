"""Parse a JSON body of vectors and pack each vector while it is read. This module does no I/O.

Python floats take three times the memory of their JSON text. `framing.parse_json` also calls a
Python function for each float, which takes 2.6 times as long as json alone. So this module reads
each list of numbers with json's C code, packs the numbers into 32 bits each, and replaces the list
in the body with a marker. The remaining body is short. `parse_json` reads it with all its checks.
In any doubtful case, `parse_json` reads the unchanged body instead. The deadline is checked before
each list, because parsing a body of 256 MiB takes seconds.
"""

from __future__ import annotations

import struct
from array import array
from itertools import chain, zip_longest
from math import isfinite
from typing import Any, Dict, List, Optional, Sequence

from localproviders._http.framing import Look, new_decoder, no_look, parse_json
from localproviders._interrupts import is_injected
from localproviders._patterns import pattern
from localproviders.errors import AnswerTooLargeError, ProtocolError

# A list is packed only if the length of its text is between these numbers of characters. Packing a
# shorter list saves nothing. A longer list is not a vector, and the deadline is not checked while a
# list is packed. So a longer list stays in the body, and `parse_json` limits its number of values.
_MIN_CHARACTERS, _MAX_CHARACTERS = 256, 4 * 1024 * 1024

# A body is treated as a body of vectors only if a list of numbers begins within this many
# characters of the start of the body.
_SEARCHED_CHARACTERS = 16 * 1024

_LIST_START = pattern(r"\[\s*-?[0-9]")

# A packed list is replaced with a marker, an object with this key. The marker contains quotes. So
# if the list was in fact the text of a string in the body, the marker makes the JSON invalid, and
# the mistake is noticed. If the body itself contains this key, even escaped, `parse_json` reads the
# unchanged body.
_MARKER_KEY = "packed by localproviders"


def parse_body(text: str, max_depth: int, look: Look = no_look) -> Any:
    """Parse one JSON value; long lists of numbers may be returned as ``array('f')``.

    Raises:
        ProtocolError: The text is not JSON, or holds NaN, an infinity, a number too large for a
            float, or an integer of more than 400 digits.
        AnswerTooLargeError: The JSON is nested deeper than allowed, or has too many values.
        ProviderError: The call is out of time or cancelled.
    """
    if _LIST_START.search(text, 0, _SEARCHED_CHARACTERS) is not None:
        try:
            return _parse_packed(text, max_depth, look)
        except (ValueError, LookupError, TypeError, ProtocolError, AnswerTooLargeError) as error:
            if is_injected(error):
                raise
            # `parse_json` reads the body, or raises the right error.
    return parse_json(text, max_depth, look=look)


def pack(numbers: Sequence[float]) -> array[float]:
    """Pack numbers into 32 bits each.

    Raises:
        ValueError: A value is not a number, or is too large for 32 bits.
    """
    # The module struct would pack true and false as the numbers 1 and 0.
    if bool in map(type, numbers):
        raise ValueError("not a list of numbers")
    return _pack_quickly(numbers)


def _pack_quickly(numbers: Sequence[float]) -> array[float]:
    """Pack numbers like `pack`; the caller has checked that there is no true and no false."""
    try:
        # struct takes 8 µs for a thousand numbers; array("f", numbers) takes 20 µs.
        return array("f", struct.pack(f"{len(numbers)}f", *numbers))
    except (TypeError, OverflowError, struct.error) as error:
        if is_injected(error):
            raise
        raise ValueError("not a list of numbers") from None


def _parse_packed(text: str, max_depth: int, look: Look) -> Any:
    """Parse a body and pack its long lists of numbers.

    Raises:
        ValueError: The body is not a plain body of vectors.
        ProtocolError: The body is not valid JSON.
        AnswerTooLargeError: The JSON is nested deeper than allowed, or has too many values.
    """
    packed_lists: List[array[float]] = []
    gaps: List[str] = []
    at = 0
    found = _LIST_START.search(text)
    while found is not None:
        look()
        start, end = found.start(), text.find("]", found.start()) + 1
        packed_list = _pack_list(text, start, end)
        if packed_list is not None:
            packed_lists.append(packed_list)
            gaps.append(text[at:start])
            at = end
        found = _LIST_START.search(text, end)
    gaps.append(text[at:])
    if any(_MARKER_KEY in piece for piece in gaps):
        raise ValueError
    markers = [f'{{"{_MARKER_KEY}": {number}}}' for number in range(len(packed_lists))]
    # The body without its lists: pieces of text and markers alternate.
    skeleton = "".join(chain.from_iterable(zip_longest(gaps, markers, fillvalue="")))
    inserted: List[array[float]] = []

    def insert_list(value: Dict[str, Any]) -> Any:
        if _MARKER_KEY not in value:
            return value
        inserted.append(packed_lists[value[_MARKER_KEY]])
        return inserted[-1]

    parsed = parse_json(skeleton, max_depth, look=look, object_hook=insert_list)
    if len(inserted) != len(packed_lists):
        raise ValueError  # the body contains the key itself, in an escaped form
    return parsed


def _pack_list(text: str, start: int, end: int) -> Optional[array[float]]:
    """Pack the list between two positions; return None if the list must stay in the body.

    A list stays in the body if it is too long, or if one of its values is true, false, null, or
    too large for 32 bits.

    Raises:
        ValueError: The list is short, contains a string, a list or an object, or has a number
            that is not finite.
        ProtocolError: The list has a number of more than 400 digits.
    """
    # Nested lists and objects would escape the check of the nesting depth. A string may contain
    # a "]", and then `end` is not the end of the list.
    is_flat = all(text.find(mark, start + 1, end) < 0 for mark in '[{"')
    if end - start < _MIN_CHARACTERS or not is_flat:
        raise ValueError
    if end - start > _MAX_CHARACTERS:
        return None
    if text.find("t", start, end) >= 0 or text.find("f", start, end) >= 0:
        return None  # true or false: `pack` would refuse the list; other lists can stay packed
    numbers: List[Any] = _NUMBERS.raw_decode(text, start)[0]
    try:
        packed = _pack_quickly(numbers)
    except ValueError:
        return None  # for example, one value is null; other lists can stay packed
    # The sum of all numbers shows whether any of them is infinite or NaN: these values do not
    # cancel out, because opposite infinities add up to NaN. The sum is computed from the 64-bit
    # numbers, not from the packed ones.
    if not isfinite(sum(numbers)):
        raise ValueError
    return packed


# json's C code reads the floats without a callback. `_pack_list` checks all floats of a list
# together.
_NUMBERS = new_decoder(parse_float=float)
