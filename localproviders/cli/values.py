"""Checks the values of options: durations, numbers, digests and encodings."""

from __future__ import annotations

import argparse
import codecs
import re
from typing import Callable, Optional

from localproviders._patterns import pattern

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
# A longer time is probably a typing error, and some systems cannot wait that long.
_MOST_DAYS = 1000
# Codecs that `str.encode` accepts, but that are not encodings of text files.
_NO_TEXT = ("idna", "punycode", "unicode_escape", "raw_unicode_escape")
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
        argparse.ArgumentTypeError: The text is no duration, or it is above 1000 days.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90, 90s, 10m or 2h")
    seconds = float(found.group(1)) * _SECONDS[found.group(2)]
    if seconds > _MOST_DAYS * 24 * 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MOST_DAYS} days")
    return seconds


def filled(text: str) -> str:
    """Return the text, unless it is empty. An unset variable of a shell gives an empty text.

    Raises:
        argparse.ArgumentTypeError: The text is empty, or has only white space.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} is empty: write a value, or leave the option out"
        )
    return text


def whole(least: int, most: Optional[int] = None) -> Callable[[str], int]:
    """Return a function that reads a whole number of at least `least` and at most `most`."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        found = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) else least - 1
        if found < least or (most is not None and found > most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limits}")
        return found

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
    """Return the text, if it is the digest of a model or the beginning of one.

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
        name = codecs.lookup(text).name
    except (LookupError, TypeError, ValueError):
        name = _NO_TEXT[0]
    if name.replace("-", "_") in _NO_TEXT:
        raise argparse.ArgumentTypeError(f"there is no encoding {text!r}")
    return name
