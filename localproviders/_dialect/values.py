"""Lenient readers for values in a server's JSON: a value of an unexpected type counts as missing.

Servers change faster than SDKs, and an unexpected value in a secondary field must not make the
response unusable. Only `text` raises an error, because it reads generated text and names of
models: without them the response would be wrong.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, List, Mapping, Optional

from localproviders.errors import ProtocolError

# Signed 64-bit integers are below this. No server needs larger numbers, and the formats of the
# exporters do not accept them. A hostile server could also send many larger integers with equal
# hashes, which would make a dictionary slow.
_INT64_LIMIT = 2**63


def integer(value: Any) -> Optional[int]:
    """Return the value if it is an integer of at most 64 bits; otherwise None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_INT64_LIMIT <= value < _INT64_LIMIT else None


def count(value: Any) -> Optional[int]:
    """Return the value as an integer if it is an integer of at least 0; otherwise None.

    A float with an integer value, such as 7.0, is accepted. A negative number counts as missing,
    because counts of tokens are added to counters that must not decrease.
    """
    # LM Studio may write integers as floats (docs/reference/lmstudio.md, "Traps").
    found = integer(int(value) if isinstance(value, float) and value.is_integer() else value)
    return None if found is None or found < 0 else found


def index_of(value: Any) -> Optional[int]:
    """Return an index, which a few servers write as a float or a text; None for other values."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else None
    return integer(int(value) if isinstance(value, float) and value.is_integer() else value)


def is_failure_code(code: Any, *, by_number: bool = False) -> bool:
    """Return whether a service's own code, which is a number or a name, means a failure.

    If `by_number` is true, a name never means a failure.
    """
    if isinstance(code, int):
        return code >= 400
    if not isinstance(code, str) or by_number:
        return False
    return (
        re.fullmatch(r"(?!(ok|success\w*|succeeded)$)[a-z][\w.-]*", code, re.IGNORECASE) is not None
    )


def number(value: Any) -> Optional[float]:
    """Return the value as a float if it is a number; otherwise None, also for the string "nan"."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def nonempty_text(value: Any) -> Optional[str]:
    """Return the value if it is a string that is not empty; otherwise None."""
    return value if isinstance(value, str) and value else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a JSON object; otherwise an empty object."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> List[Mapping[str, Any]]:
    """Return the JSON objects in a list; an empty list if the value is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> List[str]:
    """Return the strings in a list; an empty list if the value is not a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return generated text or the name of a model; null becomes an empty string.

    Raises:
        ProtocolError: The value is neither a string nor null.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProtocolError(
            f"expected a string in the response, got a value of type {type(value).__name__}"
        )
    return value


def parse_timestamp(text: Any) -> Optional[datetime]:
    """Parse an RFC 3339 timestamp; return None if it is invalid.

    The seconds may have any number of decimal places. Before Python 3.11,
    `datetime.fromisoformat` accepts only three or six.
    """
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


def retry_after(value: Optional[str]) -> Optional[float]:
    """Parse the header ``Retry-After``, which contains a number of seconds or a date.

    Returns:
        Seconds from now, at least 0; None if the header is missing or invalid.
    """
    if not value:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
