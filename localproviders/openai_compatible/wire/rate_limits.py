"""Functions that read from rate-limit headers how long to wait after a refused request.

Services write the same header in different forms (docs/reference/clouds.md, "Limits"). So
`ServiceRules.read_wait` is the function that reads the form of one service.
"""

from __future__ import annotations

import re
import time
from typing import Callable, Mapping, Optional

from localproviders._dialect.values import count

# A duration such as 1s, 6m0s, 7.66s, 12ms or 1h2m3s.
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LIMITED = ("requests", "tokens")


def wait_by_durations(headers: Mapping[str, str]) -> Optional[float]:
    """Return the seconds until a used-up limit of OpenAI or Groq is reset; None if unknown."""
    waits = [
        _duration(headers.get(f"x-ratelimit-reset-{each}"))
        for each in _LIMITED
        if headers.get(f"x-ratelimit-remaining-{each}") == "0"
    ]
    known = [wait for wait in waits if wait is not None]
    return max(known) if known else None


def _duration(text: Optional[str]) -> Optional[float]:
    if text is None or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def wait_by_time(
    headers: Mapping[str, str], now: Callable[[], float] = time.time
) -> Optional[float]:
    """Return the seconds until the time in OpenRouter's header; None if it is unknown or past.

    The header has milliseconds since 1970.
    """
    text = headers.get("X-RateLimit-Reset") or ""
    moment = count(int(text)) if re.fullmatch(r"\d{12,14}", text) else None
    wait = None if moment is None else moment / 1000 - now()
    return wait if wait is not None and wait > 0 else None
