"""The values of options: durations, numbers, sizes."""

from __future__ import annotations

import argparse
import codecs
import re
from typing import Callable

from localproviders._patterns import pattern

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = pattern(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|m|h|)", re.ASCII)


def duration(text: str) -> float:
    """Return the seconds of a duration: ``90``, ``90s``, ``10m`` or ``2h``.

    Raises:
        argparse.ArgumentTypeError: The text is no duration, or it is zero.
    """
    seconds = duration_or_zero(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above zero")
    return seconds


def duration_or_zero(text: str) -> float:
    """Return the seconds of a duration, which may be zero.

    Raises:
        argparse.ArgumentTypeError: The text is no duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90, 90s, 10m or 2h")
    return float(found.group(1)) * _SECONDS[found.group(2)]


def whole(least: int) -> Callable[[str], int]:
    """Return a function that reads a whole number of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """Return a function that reads a number between two limits."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = least - 1
        if not least <= found <= most:  # also refuses "nan"
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} to {most:g}")
        return found

    return read


def digest(text: str) -> str:
    """Return the first digits of the digest of a model.

    Raises:
        argparse.ArgumentTypeError: The text is no digest.
    """
    if not re.fullmatch(r"(sha256:)?[0-9a-fA-F]{12,64}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not 12 to 64 hexadecimal digits")
    return text


def encoding(text: str) -> str:
    """Return the usual name of an encoding of text.

    Raises:
        argparse.ArgumentTypeError: There is no such encoding.
    """
    try:
        "a".encode(text)  # `codecs.lookup` also finds codecs that are no encodings, such as "hex"
        return codecs.lookup(text).name
    except (LookupError, TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"there is no encoding {text!r}") from None
