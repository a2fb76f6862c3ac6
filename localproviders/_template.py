"""Text templates with fields in braces. The values of a row of data fill the fields."""

from __future__ import annotations

import json
import re
from typing import Any, List, Mapping, Tuple

from localproviders._did_you_mean import did_you_mean
from localproviders._patterns import pattern
from localproviders.errors import ConfigurationError

# A doubled brace, a field, or a brace that is neither.
_PART = pattern(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template:
    """A text such as ``Sort {title}: {body}``, whose fields are the columns of a row.

    The complete text between two braces is the name of a column. A doubled brace becomes a single
    brace in the text.

    Attributes:
        fields: The names of the columns, in the order of their first use.

    Args:
        text: The text.

    Raises:
        ConfigurationError: A brace is not closed, or has no name.
    """

    def __init__(self, text: str) -> None:
        self._parts: List[Tuple[str, bool]] = []
        end = 0
        for found in _PART.finditer(text):
            self._parts.append((text[end : found.start()], False))
            self._parts.append(_read(found, text))
            end = found.end()
        self._parts.append((text[end:], False))
        self.fields: List[str] = list(dict.fromkeys(p for p, is_field in self._parts if is_field))

    def fill(self, row: Mapping[str, Any], name: str) -> str:
        """Return the text with the values of a row. Values other than strings are written as JSON.

        Args:
            row: The values by column.
            name: Name of the row for the error, such as ``row 3 of mails.csv``.

        Raises:
            ConfigurationError: The row lacks a column of the template, or has no value in it.
        """
        return "".join(
            _value(row, part, name) if is_field else part for part, is_field in self._parts
        )


def _read(found: re.Match[str], text: str) -> Tuple[str, bool]:
    if found.group() in ("{{", "}}"):
        return found.group()[0], False
    if not found.group(1):
        at = found.start() + 1
        raise ConfigurationError(
            f"the template has a brace without a name at character {at}",
            hint="write {column}, and {{ for a brace in the text",
        )
    return found.group(1), True


def _value(row: Mapping[str, Any], field: str, name: str) -> str:
    value = row.get(field)
    if value is None:
        known = [str(each) for each in row if each is not None]
        raise ConfigurationError(
            f"{name} has no value for {{{field}}}{did_you_mean(field, known)}",
            hint="the columns are " + ", ".join(known[:20]) if known else None,
        )
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
