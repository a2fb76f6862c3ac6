"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from typing import Any, AnyStr, Pattern, cast


def pattern(text: AnyStr, flags: int = 0) -> Pattern[AnyStr]:
    """Return a regular expression that is compiled at the first call of one of its methods.

    Python needs up to 0.2 ms to compile an expression. Most of the expressions in this package are
    not used in a short script.

    Args:
        text: The expression.
        flags: The flags of `re.compile`.

    Raises:
        re.error: The expression is invalid. It is raised by the methods, not by this function.
    """
    return cast("Pattern[AnyStr]", _LazyPattern(text, flags))


class _LazyPattern:
    def __init__(self, text: Any, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(self._text, self._flags), name)
        # Later calls find the method without `__getattr__`.
        return vars(self).setdefault(name, method)
