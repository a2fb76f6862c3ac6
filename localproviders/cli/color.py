"""Whether output is colored, and the escape sequences of the styles."""

from __future__ import annotations

import os
from typing import Any, Mapping

#: The styles, and their numbers in an escape sequence of a terminal.
STYLES: Mapping[str, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
}


def is_colored(when: str, stream: Any) -> bool:
    """Return whether text for a stream should be colored.

    Args:
        when: The value of ``--color``. ``auto`` colors a terminal, unless ``NO_COLOR`` is set and
            not empty, or ``TERM`` is ``dumb``.
        stream: The stream, such as standard output; None if it is closed.
    """
    if when != "auto":
        return when == "always"
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    # An old console of Windows shows escape sequences as text. Newer terminals, and programs that
    # translate the sequences, set one of these variables.
    if os.name == "nt" and not any(map(os.environ.get, ("WT_SESSION", "ANSICON", "TERM"))):
        return False
    try:
        found: bool = stream.isatty()
    except ValueError:  # the stream is closed
        return False
    return found


def styled(text: str, style: str) -> str:
    """Return a text between the escape sequences of a style of `STYLES`."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"
