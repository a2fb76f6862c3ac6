"""Python types in JSON: the schema of a type, and the function that makes its values.

Dates and times are parsed in the same way on every Python version. Before Python 3.11,
`datetime.fromisoformat` rejects `Z` and some lengths of a fraction. Later versions also accept
forms that RFC 3339 does not allow.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from localproviders.errors import ConfigurationError

#: A function that makes a Python value from a JSON value and its path. The JSON value must fit the
#: schema.
Make = Callable[[Any, str], Any]


class Kind(NamedTuple):
    """A type in JSON: its JSON Schema, and the function that makes its values.

    Attributes:
        schema: The JSON Schema. Only the schema of a pydantic model or a schema that a user
            passed may have references, if they are recursive.
        make: A function of a JSON value, which must fit the schema, and its path, for error
            messages. It returns the Python value, or raises a ValueError.
        hashable: Whether a set may contain values of this type.
    """

    schema: Dict[str, Any]
    make: Make
    hashable: bool = True

    def with_description(self, description: Optional[str]) -> Kind:
        """Return this kind with a description for the model; None or "" changes nothing."""
        if not description:
            return self
        return self._replace(schema={**self.schema, "description": description})


class Place(NamedTuple):
    """The place of an annotation, for error messages.

    Attributes:
        description: Description of the place, such as ``weather(): parameter 'city'``.
        classes: The classes that contain the annotation, the outermost first. They are needed to
            detect a class that contains itself.
    """

    description: str
    classes: Tuple[type, ...] = ()

    def enter(self, cls: type) -> Place:
        """Return the place inside a class.

        Raises:
            ConfigurationError: The class contains itself.
        """
        if cls in self.classes:
            chain = " -> ".join(each.__name__ for each in (*self.classes, cls))
            raise self.error(
                f"{cls.__name__} contains itself ({chain}), and references are inlined",
                "use a separate type for each nested level, or pass a JSON Schema",
            )
        return self._replace(classes=(*self.classes, cls))

    def within(self, description: str) -> Place:
        """Return a place inside this place, such as a parameter of a function."""
        return self._replace(description=f"{self.description}: {description}")

    def error(self, why: str, hint: str) -> ConfigurationError:
        """Return an error that names this place, the reason, and what to do."""
        return ConfigurationError(f"{self.description}: {why}", hint=hint)


def name_of(annotation: Any) -> str:
    """Return a type as it is written in an annotation, without ``typing.``."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    return repr(annotation).replace("typing.", "")


def _integer(value: Any, path: str) -> int:
    return int(value)


def _float(value: Any, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{path}: is a number too large for a float") from None


def keep_unchanged(value: Any, path: str) -> Any:
    """Return the JSON value itself."""
    return value


#: The kinds of types without parts.
PLAIN: Dict[Any, Kind] = {
    str: Kind({"type": "string"}, keep_unchanged),
    int: Kind({"type": "integer"}, _integer),
    float: Kind({"type": "number"}, _float),
    bool: Kind({"type": "boolean"}, keep_unchanged),
    type(None): Kind({"type": "null"}, keep_unchanged),
    None: Kind({"type": "null"}, keep_unchanged),
    Any: Kind({}, keep_unchanged, hashable=False),
    object: Kind({}, keep_unchanged, hashable=False),
}


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


def _date(value: str, path: str) -> date:
    try:
        if _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass  # for example, the 30th of February
    raise ValueError(f"{path}: is not a date; write it like 2026-01-31")


def _datetime(value: str, path: str) -> datetime:
    found = _DATETIME.fullmatch(value)
    try:
        if found:
            day, time, fraction, zone = found.groups()
            part = f"{fraction:0<7.7}" if fraction else ""  # a point and six digits
            zone = "+00:00" if zone in ("Z", "z") else zone or ""
            return datetime.fromisoformat(f"{day}T{time}{part}{zone}")
    except ValueError:
        pass  # for example, hour 25
    raise ValueError(f"{path}: is not a date with time; write it like 2026-01-31T12:00:00Z")


#: The kinds of dates. A check against the schema ignores ``format``, so `make` checks the text.
DATES: Dict[type, Kind] = {
    datetime: Kind({"type": "string", "format": "date-time"}, _datetime),
    date: Kind({"type": "string", "format": "date"}, _date),
}
