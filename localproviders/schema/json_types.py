"""Python types in JSON: the schema of a type, and the function that makes its values.

This module parses dates and times in the same way on every Python version. Python's own
`datetime.fromisoformat` differs: before Python 3.11, it rejects `Z` and some numbers of decimal
places. Later versions also accept forms that RFC 3339 does not allow.
"""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, time, timedelta
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Tuple

from localproviders.errors import ConfigurationError

#: A function that makes a Python value from a JSON value and its path. The JSON value must fit the
#: schema.
Make = Callable[[Any, str], Any]


class Kind(NamedTuple):
    """A Python type as JSON: its JSON Schema, and the function that makes its Python values.

    Attributes:
        schema: The JSON Schema. It has references only for types that contain themselves. These
            references refer to the definitions of the `Scope`.
        make: A function that returns the Python value, or raises a ValueError. Its arguments are
            a JSON value, which must fit the schema, and the path of this value for error messages.
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


class Scope:
    """The named types of one schema. Only a type with a name can contain itself.

    The schema of a type that contains itself needs references. At each place where the type occurs
    inside itself, the schema refers to a definition under ``$defs`` of the root.

    Attributes:
        definitions: The schemas under ``$defs``, by name.
        kinds: The kinds of the named types that have been read so far.
        undescribed: Names of the types without a description. They may have lost their docstrings,
            if Python runs with ``-OO``.
        refusals: Number of times that a value fitted the schema of a union member, but the member
            refused the value.
    """

    def __init__(self) -> None:
        self.definitions: Dict[str, Dict[str, Any]] = {}
        self.kinds: Dict[Hashable, Kind] = {}
        self.undescribed: List[str] = []
        self.refusals = 0
        self._names: Dict[Hashable, str] = {}

    def refer(self, key: Hashable, name: str, hashable: bool) -> Kind:
        """Return the kind of a type for a place where the type occurs inside itself.

        The schema is a reference. The complete kind of the type is not known yet, so `make` looks
        it up only when it is called.
        """
        if key not in self._names:
            self._names[key] = self.reserve(name)
        return Kind(
            {"$ref": f"#/$defs/{self._names[key]}"},
            lambda value, path: self.kinds[key].make(value, path),
            hashable,
        )

    def reserve(self, name: str) -> str:
        """Return an unused name for a new definition."""
        plain = found = re.sub(r"[^\w.-]", "_", name)
        number = 1
        while found in self.definitions:
            number += 1
            found = f"{plain}_{number}"
        self.definitions[found] = {}
        return found

    def finish(self, key: Hashable, kind: Kind) -> Kind:
        """Store the kind of a type that has been read completely, and return this kind."""
        self.kinds[key] = kind
        if key in self._names:
            self.definitions[self._names[key]] = kind.schema
        return kind

    def complete(self, schema: Dict[str, Any]) -> Dict[str, Any]:
        """Return a schema with the definitions to which it refers."""
        return {**schema, "$defs": self.definitions} if self.definitions else schema


class Place(NamedTuple):
    """The place of an annotation, for error messages.

    Attributes:
        description: Description of the place, such as ``weather(): parameter 'city'``.
        scope: The named types of the whole schema.
        open: The named types that contain the annotation. With these, a type that contains itself
            is detected.
    """

    description: str
    scope: Scope
    open: Tuple[Hashable, ...] = ()

    def enter(self, key: Hashable) -> Place:
        """Return the place inside a named type."""
        return self._replace(open=(*self.open, key))

    def within(self, description: str) -> Place:
        """Return a place inside this place, such as a parameter of a function."""
        return self._replace(description=f"{self.description}: {description}")

    def error(self, why: str, hint: str) -> ConfigurationError:
        """Return an error that names this place, the reason, and what to do."""
        return ConfigurationError(f"{self.description}: {why}", hint=hint)


# Error messages shorten an annotation that is a text of more characters than this. Such a text is
# not the name of a type, but perhaps a JSON Schema.
_LONGEST_NAME = 80


def name_of(annotation: Any) -> str:
    """Return a type as it is written in an annotation, without ``typing.``."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    if isinstance(annotation, str) and len(annotation) > _LONGEST_NAME:
        annotation = f"{annotation[:_LONGEST_NAME]}..."
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


#: The kinds of the types that have no inner types.
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


_TIME = re.compile(r"(\d\d:\d\d(?::\d\d)?)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_DURATION = re.compile(
    r"([+-]?)P(?=[\dT])(?:(\d{1,9})W)?(?:(\d{1,9})D)?"
    r"(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?)?",
    re.ASCII,
)


def _time(value: str, path: str) -> time:
    found = _TIME.fullmatch(value)
    try:
        if found:
            clock, fraction, zone = found.groups()
            part = f"{fraction:0<7.7}" if fraction else ""  # a point and six digits
            seconds = "" if clock.count(":") == 2 else ":00"
            zone = "+00:00" if zone in ("Z", "z") else zone or ""
            return time.fromisoformat(f"{clock}{seconds}{part}{zone}")
    except ValueError:
        pass  # for example, hour 25
    raise ValueError(f"{path}: is not a time; write it like 12:00:00")


def _duration(value: str, path: str) -> timedelta:
    found = _DURATION.fullmatch(value)
    try:
        if found:
            sign, *numbers, fraction = found.groups()
            weeks, days, hours, minutes, seconds = (int(each or 0) for each in numbers)
            made = timedelta(
                weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds,
                microseconds=int(f"{fraction or '':0<6.6}"),
            )  # fmt: skip
            return -made if sign == "-" else made
    except OverflowError:
        pass
    raise ValueError(f"{path}: is not a duration; write it like P1DT2H30M or PT90S")


#: The kinds of dates, times and durations. A check against the schema ignores ``format``, so `make`
#: checks the text.
DATES: Dict[type, Kind] = {
    datetime: Kind({"type": "string", "format": "date-time"}, _datetime),
    date: Kind({"type": "string", "format": "date"}, _date),
    time: Kind({"type": "string", "format": "time"}, _time),
    timedelta: Kind({"type": "string", "format": "duration"}, _duration),
}


# --- types of modules that are loaded only if a program uses them ----------------------------

_DECIMAL_PATTERN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$"
# A decimal number with at most this many digits is the same after a conversion to float and back.
_EXACT_DIGITS = 15

#: Types whose JSON is a text. For each module and name of a type: the value of ``format``, a
#: description, and an example.
_TEXTS: Dict[Tuple[str, str], Tuple[str, str, str]] = {
    ("uuid", "UUID"): ("uuid", "a UUID", "12345678-1234-5678-1234-567812345678"),
    ("ipaddress", "IPv4Address"): ("ipv4", "an IPv4 address", "192.0.2.1"),
    ("ipaddress", "IPv6Address"): ("ipv6", "an IPv6 address", "2001:db8::1"),
    ("ipaddress", "IPv4Network"): ("ipv4network", "an IPv4 network", "192.0.2.0/24"),
    ("ipaddress", "IPv6Network"): ("ipv6network", "an IPv6 network", "2001:db8::/32"),
    ("ipaddress", "IPv4Interface"): ("ipv4interface", "an IPv4 interface", "192.0.2.1/24"),
    ("ipaddress", "IPv6Interface"): ("ipv6interface", "an IPv6 interface", "2001:db8::1/32"),
}


def kind_of_text(cls: Any) -> Optional[Kind]:
    """Return the kind of a class such as `UUID`, `Path` or `Decimal`; None for other types.

    The classes are recognized by name. To compare the classes themselves, this module would have
    to import their modules, which takes time.
    """
    if not isinstance(cls, type):
        return None
    key = (cls.__module__.partition(".")[0], cls.__qualname__)
    if key in _TEXTS:
        form, words, example = _TEXTS[key]
        return Kind({"type": "string", "format": form}, _make_text(cls, words, example))
    if key == ("decimal", "Decimal"):
        schema = {"type": ["string", "number"], "pattern": _DECIMAL_PATTERN}
        return Kind(schema, _make_decimal(cls))
    paths: Any = getattr(sys.modules.get("pathlib"), "PurePath", ())
    if key == ("os", "PathLike") or issubclass(cls, paths):
        return Kind({"type": "string", "format": "path"}, _make_path(cls))
    return None


def _make_text(cls: Any, words: str, example: str) -> Make:
    def make(value: str, path: str) -> Any:
        try:
            return cls(value)
        except ValueError:
            raise ValueError(f"{path}: is not {words}; write it like {example}") from None

    return make


def _make_path(cls: Any) -> Make:
    def make(value: str, path: str) -> Any:
        from pathlib import Path, PurePath  # rarely used

        return (cls if issubclass(cls, PurePath) else Path)(value)

    return make


def _make_decimal(cls: Any) -> Make:
    def make(value: Any, path: str) -> Any:
        text = repr(value) if isinstance(value, float) else value
        digits = re.sub(r"e.*|[.-]", "", text).strip("0") if isinstance(value, float) else ""
        if len(digits) > _EXACT_DIGITS:
            raise ValueError(
                f"{path}: has more than {_EXACT_DIGITS} digits, which a number in JSON may lose; "
                "write it as a string"
            )
        return cls(text)

    return make
