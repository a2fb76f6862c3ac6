"""A whole JSON body to its value: what `framing.parse_json` gives, at json's own speed. Pure.

`parse_json` looks at a text before Python's decoder does, and is called back for each number:
2.8 times what json needs for 256 vectors of floats, and 3.4 times for base64. Here json runs
alone, and what it has made is looked at; on any doubt `parse_json` decides.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from json import decoder, scanner
from math import isfinite
from typing import Any, Callable, Iterable, List, NoReturn, Sequence, Tuple

from localproviders._http.framing import parse_json

# In a shorter text there is nothing to win.
_LARGE = 16 * 1024

# Until the nesting is known, this bounds it: json's decoder stops where Python would. A
# program that has raised the limit much further could run out of stack first.
_MOST_RECURSION = 3000

# As in `framing`: longer runs cost quadratic time.
_MAX_DIGITS = 400

_Scan = Callable[[str, int], Tuple[Any, int]]


def parse_body(text: str, max_depth: int, *, packs: bool = False) -> Any:
    """Read one JSON value.

    Args:
        text: The body.
        max_depth: Deepest nesting.
        packs: Lists of numbers may come as ``array('f')``: they are packed one by one, so
            that never all of them are there as Python's floats, which take three times the
            text.

    Raises:
        ProtocolError: As `parse_json`.
        AnswerTooLargeError: As `parse_json`.
    """
    if _is_for_json(text):
        try:
            has_rows = packs and _ROW.search(text, 0, _LARGE) is not None
            value = (_ROWS if has_rows else _DECODER).decode(text)
            if _is_sound(value, max_depth):
                return value
        except (ValueError, RecursionError):
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


def _is_for_json(text: str) -> bool:
    # Halves of surrogate pairs are left to `parse_json`. A single character is looked for
    # first, in a tenth of the time.
    escaped = "\\" in text and "\\u" in text
    return len(text) >= _LARGE and not escaped and sys.getrecursionlimit() <= _MOST_RECURSION


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)


_ROW = re.compile(r"\[\s*-?[0-9]")
_NUMBER = re.compile(r"\s*-?[0-9]")


class _RowDecoder(json.JSONDecoder):
    """Reads each list of numbers, or object in a list, in C, and packs the numbers at once.

    Only what is around them is read by json's decoder in Python.
    """

    def __init__(self) -> None:
        super().__init__(parse_constant=_refuse_constant, parse_int=_whole)
        self._in_c: _Scan = vars(self)["scan_once"]
        self.parse_array = self._list
        self._around: _Scan = scanner.py_make_scanner(self)  # type: ignore[attr-defined]  # not in the stubs
        self.scan_once = self._around

    def _list(self, at: Tuple[str, int], _: object) -> Tuple[Any, int]:
        text, start = at
        if _NUMBER.match(text, start) is None:
            found: Tuple[Any, int] = decoder.JSONArray(at, self._item)  # type: ignore[attr-defined]  # as above
            return found
        row, end = self._in_c(text, start - 1)
        return _row(row), end

    def _item(self, text: str, start: int) -> Tuple[Any, int]:
        if text[start : start + 1] != "{":
            return self._around(text, start)
        item, end = self._in_c(text, start)
        for name, value in item.items():
            if isinstance(value, list) and value and isinstance(value[0], (int, float)):
                item[name] = _row(value)
        return item, end


def _row(numbers: List[Any]) -> array[float]:
    packed = pack(numbers)
    if not isfinite(sum(numbers)):  # in 64 bits, as they were read
        raise ValueError
    return packed


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole)
_ROWS = _RowDecoder()


def _is_sound(value: Any, max_depth: int) -> bool:
    """Whether nothing is nested too deeply, and no number has become an infinity."""
    level: List[Any] = [value]
    for _ in range(max_depth):
        inner: List[Any] = []
        for each in level:
            if not _look_into(each, inner):
                return False
        if not inner:
            return True
        level = inner
    return False


def _look_into(value: Any, inner: List[Any]) -> bool:
    """Add the containers in a value to `inner`; False where a number is infinite."""
    if isinstance(value, list):
        # A list of numbers adds up, in 4 µs for a thousand; anything else in it does not.
        try:
            if isfinite(sum(value)):
                return True
        except (TypeError, OverflowError):
            pass
        return _sort_out(value, inner)
    return _sort_out(value.values() if isinstance(value, dict) else (value,), inner)


def _sort_out(items: Iterable[Any], inner: List[Any]) -> bool:
    for item in items:
        kind = type(item)  # json makes no subclasses
        if kind is list or kind is dict:
            inner.append(item)
        elif kind is float and not isfinite(item):
            return False
    return True
