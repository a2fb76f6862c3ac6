"""Dates and times of JSON text, read alike on every Python.

Before 3.11 `datetime.fromisoformat` knows no `Z` and only some lengths of a fraction; since
then it reads forms that RFC 3339 does not have.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Dict

from localproviders.schema.kinds import Kind

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


def _date(value: str, path: str) -> date:
    try:
        if _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass  # such as the 30th of February
    raise ValueError(f"{path}: is no date, and must be one like 2026-01-31")


def _datetime(value: str, path: str) -> datetime:
    found = _DATETIME.fullmatch(value)
    try:
        if found:
            day, time, fraction, zone = found.groups()
            part = f"{fraction:0<7.7}" if fraction else ""  # a point and six digits
            zone = "+00:00" if zone in ("Z", "z") else zone or ""
            return datetime.fromisoformat(f"{day}T{time}{part}{zone}")
    except ValueError:
        pass  # such as hour 25
    raise ValueError(f"{path}: is no date with time, and must be one like 2026-01-31T12:00:00Z")


#: The kinds of this module, by type. A schema's ``format`` asserts nothing: `make` checks.
DATES: Dict[type, Kind] = {
    datetime: Kind({"type": "string", "format": "date-time"}, _datetime),
    date: Kind({"type": "string", "format": "date"}, _date),
}
