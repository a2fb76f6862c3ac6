"""Lenient readers of what a server's JSON may hold: another type is read as nothing.

Servers grow faster than SDKs, and a surprise in a side fact must not cost the answer. Only
where the answer itself stands is a surprise an error (`text`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, List, Mapping, Optional

from localproviders.errors import ProtocolError


def whole(value: Any) -> Optional[int]:
    """Give a whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: Any) -> Optional[int]:
    """Give a whole number, or None; one written as 7.0 counts (lmstudio-api §7, 41)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return whole(value)


def number(value: Any) -> Optional[float]:
    """Give a number that a float can hold, or None; a text such as "nan" is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def word(value: Any) -> Optional[str]:
    """Give a text that says something, or None."""
    return value if isinstance(value, str) and value else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Give an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> List[Mapping[str, Any]]:
    """Give the objects of a list; none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def words(value: Any) -> List[str]:
    """Give the texts of a list; none for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Give a piece of an answer; null is the empty text.

    Raises:
        ProtocolError: It is no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProtocolError(f"the answer has a {type(value).__name__} where text should be")
    return value


def parse_date(text: Any) -> Optional[datetime]:
    """Read RFC 3339 with any number of decimals, on every Python; None for nonsense."""
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", str(text or "")
    )
    if not found:
        return None
    seconds, fraction, zone = found.groups()
    offset = "+00:00" if zone == "Z" else zone
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6]:0<6}{offset}")
    except ValueError:
        return None
