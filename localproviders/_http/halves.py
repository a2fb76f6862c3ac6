"""Surrogate pairs: two halves that encode one character outside Unicode's basic plane.

JSON can write such a character, for example an emoji, as two escapes. A server that streams the
pieces of a tokenizer may put one half into a record and the other half into the next record.
"""

from __future__ import annotations

import re
from typing import Any, Iterator, Optional, Tuple

from localproviders._patterns import pattern

# The escape of a half: the beginning that both halves share, and the end of each.
_BEGIN, _HIGH_END, _LOW_END = r"\\u[dD]", r"[89abAB][0-9a-fA-F]{2}", r"[c-fC-F][0-9a-fA-F]{2}"
_HIGH, _LOW = _BEGIN + _HIGH_END, _BEGIN + _LOW_END

# The end of a string that may end with a high half. The backslash of the half may also be the
# second one of an escaped backslash.
_ENDS_WITH_HIGH = pattern(rf'{_HIGH}"')
# A field whose string ends with a high half. The pattern matches each backslash together with the
# character after it, so the half is a real escape.
_KEY = r'"(\w+)"\s*:\s*"'
_WITH_KEY = pattern(rf'{_KEY}(?:[^"\\]|\\.)*?({_HIGH})"')

# A half that is alone: a high half without a low half after it, or a low half without a high half
# before it. Both alternatives begin with the same fixed text, because `re` searches quickly for a
# fixed text. The pattern is correct only if no escaped backslash is directly before a "u".
_ALONE = pattern(rf"{_BEGIN}(?:{_HIGH_END}(?!{_LOW})|(?<!{_HIGH}{_BEGIN}){_LOW_END})")

# Records longer than this are not searched: a record that ends with half a character has the text
# of a single token.
_LONGEST_RECORD = 64 * 1024


def has_open_half(record: str) -> bool:
    """Return whether a string of this record may end with the first half of a surrogate pair."""
    return (
        "\\u" in record
        and len(record) <= _LONGEST_RECORD
        and _ENDS_WITH_HIGH.search(record) is not None
    )


def join_records(record: str, following: str) -> Tuple[str, str]:
    """Move the first half of a pair into the following record, if that record has the second.

    Args:
        record: JSON in which a string may end with the first half.
        following: The next record.

    Returns:
        Both records. They are unchanged if the halves do not belong together.
    """
    for first in _WITH_KEY.finditer(record):
        second = re.search(rf'"{first.group(1)}"\s*:\s*"(?={_LOW})', following)
        if second is not None:
            at = second.end()
            moved = following[:at] + first.group(2) + following[at:]
            return record[: first.start(2)] + record[first.end(2) :], moved
    return record, following


def without_halves(text: str) -> str:
    """Replace the escapes of halves that are alone, because they can be neither printed nor sent.

    The replacement is a string, not a function, because a text may have millions of escapes.
    """
    if "\\\\u" in text:
        # An escaped backslash before a "u" looks like the escape of a character. So each escaped
        # backslash is written as \u005c, which has the same meaning and is not ambiguous.
        text = text.replace("\\\\", "\\u005c")
    # Most texts have no half, and `sub` prepares its replacement before it searches.
    return _ALONE.sub(r"\\ufffd", text) if _ALONE.search(text) else text


def joined(text: str) -> Optional[str]:
    """Return a text with the halves of each surrogate pair joined; None if a half is alone."""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


# Fields of a request whose values can be objects in which a person or a model chose the field
# names. An error does not show these names.
_FREE_FIELDS = ("arguments", "data", "questions", "state")


def find_lone_half(payload: Any) -> str:
    """Return where in a request the first text with half of a surrogate pair is."""
    return next((place for place, text in _texts(payload, "") if joined(text) is None), "a text")


def _texts(value: Any, place: str) -> Iterator[Tuple[str, str]]:
    """Yield pairs of a place in a JSON value, such as ``messages[0].content``, and its text."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield f"a name in {place or 'the request'}", str(name)
            inner = f"{place}.{name}" if place else str(name)
            found = _texts(item, inner)
            yield from ((inner, text) for _, text in found) if name in _FREE_FIELDS else found
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}[{index}]")
