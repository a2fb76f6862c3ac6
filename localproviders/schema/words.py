"""The words of a reason: where a value stands, what it is, never at length."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any, Callable, Collection, Iterable, Optional

_LONGEST = 60
_MOST_VALUES = 10
_PLAIN_KEY = re.compile(r"[^\W\d]\w{0,59}")

#: JSON's types as a person says them.
TYPES = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "object": "an object",
    "array": "an array",
    "boolean": "true or false",
    "null": "null",
}


def type_of(value: Any) -> Optional[str]:
    """Give the JSON type of a value; None for what is no JSON, such as NaN or a tuple."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number" if abs(value) < float("inf") else None
    kinds = ((str, "string"), (int, "number"), (list, "array"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), None)


def key(path: str, name: str) -> str:
    """Give the path of an object's value."""
    return f"{path}.{name}" if _PLAIN_KEY.fullmatch(name) else f"{path}[{quoted(name)}]"


def item(path: str, index: int) -> str:
    """Give the path of an array's value."""
    return f"{path}[{index}]"


def quoted(text: str) -> str:
    """Give a text between quotes, cut where it is long, such as can be printed anywhere."""
    whole = cut(text).encode("utf-8", "replace").decode("utf-8")  # no half of a character
    return json.dumps(whole, ensure_ascii=False)


def cut(text: str) -> str:
    """Give at most 60 characters of a text."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def counted(number: int, one: str, many: str) -> str:
    """Give a count with its noun."""
    return f"{number} {one if number == 1 else many}"


def shown(value: Any) -> str:
    """Say what a value is: a short one itself, of an object or array its size."""
    if isinstance(value, dict):
        return f"an object with {counted(len(value), 'key', 'keys')}"
    if isinstance(value, list):
        return f"an array of {counted(len(value), 'item', 'items')}"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and value.bit_length() > 180:
        return "a number of very many digits"  # which Python may refuse to write down
    return cut(json.dumps(value)) if type_of(value) else cut(repr(value))


def several(values: Collection[Any], say: Callable[[Any], str], most: int = _MOST_VALUES) -> str:
    """Give the words for the first values in a row, and how many more there are."""
    rest = len(values) - most
    said = ", ".join(say(each) for each in islice(values, most))
    return said + (f" and {rest} more" if rest > 0 else "")


def either(texts: Iterable[str]) -> str:
    """Give texts with "or" before the last."""
    *head, last = texts
    return f"{', '.join(head)} or {last}" if head else last
