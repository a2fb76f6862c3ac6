"""Frozen values: the one decorator and base class behind the public dataclasses.

Python 3.8 has no keyword-only dataclasses, and every public value needs the same four
promises: keywords only (so that fields can be added), a repr without content, plain
dictionaries in and out, and pickles without the server's raw record. They stand here once.
"""

from __future__ import annotations

import base64
from array import array
from datetime import date, time
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, List, Mapping, Type, TypeVar

from localproviders._fields import Field, fields_of, make

if TYPE_CHECKING:
    import dataclasses
    from dataclasses import field as field

    from typing_extensions import Self, dataclass_transform
else:
    field = Field

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """Stand in for the typing helper, which only checkers need."""
        return lambda decorator: decorator


T = TypeVar("T")

#: A field that holds what a person or a model said: its repr tells the size only.
CONTENT: Mapping[str, Any] = {"content": True}

#: The server's own record: absent from repr, equality, dictionaries and pickles.
RAW: Mapping[str, Any] = {"raw": True}


# At Python's own limit the finalizers of whatever is forgotten there fail, too.
_DEEPEST = 300


def loads(load: Callable[[Any], Any], **more: Any) -> Mapping[str, Any]:
    """Give field metadata: how `from_dict` turns a plain value back into this field's."""
    return {"load": load, **more}


def loads_each(load: Callable[[Any], Any], **more: Any) -> Mapping[str, Any]:
    """Give field metadata for a tuple: `load` is applied to each item."""
    return {"load": lambda items: tuple(load(item) for item in items), **more}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: Type[T]) -> Type[T]:
    """Make a class a frozen dataclass that takes keywords only, on every Python.

    Nobody can tell it from one that `dataclasses` made, which is asked only for what needs it.
    """
    make(cls)
    return cls


class Record:
    """Base of the public values: repr, dictionaries, copies and pickles."""

    if TYPE_CHECKING:
        # Every subclass is a dataclass; checkers cannot see that from here.
        __dataclass_fields__: ClassVar[Dict[str, dataclasses.Field[Any]]]

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={_shown(field, value)}"
            for field in fields_of(type(self)).values()
            for value in (getattr(self, field.name),)
            if "raw" not in field.metadata and value != field.value()
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def to_dict(self) -> Dict[str, Any]:
        """Give this value as plain JSON types; fields at their default are left out.

        Bytes become base64 text, dates ISO 8601. The server's raw record is not included.
        `from_dict` takes the result back.
        """
        return {
            field.name: plain(value)
            for field in fields_of(type(self)).values()
            for value in (getattr(self, field.name),)
            if "raw" not in field.metadata and value != field.value()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build the value from what `to_dict` gave.

        Raises:
            ValueError: A key is not a field of this class, or a required one is missing.
        """
        fields = fields_of(cls)
        for key in data:
            if key not in fields or "raw" in fields[key].metadata:
                raise ValueError(
                    f"{cls.__name__} has no field {key!r}{did_you_mean(key, list(fields))}"
                )
        loaded = {key: _loaded(fields[key], value) for key, value in data.items()}
        try:
            return cls(**loaded)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from None

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed; the constructor's checks run again."""
        fields = fields_of(type(self)).values()
        now = {each.name: getattr(self, each.name) for each in fields if each.init}
        return type(self)(**{**now, **changes})

    __replace__ = replace

    def __getstate__(self) -> Dict[str, Any]:
        raw = {f.name for f in fields_of(type(self)).values() if "raw" in f.metadata}
        return {name: value for name, value in self.__dict__.items() if name not in raw}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)


def did_you_mean(word: str, known: List[str]) -> str:
    """Give "; did you mean 'x'?" for the nearest of the known words, or nothing."""
    import difflib  # seldom needed, and slower to load than this module

    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def plain(value: Any, depth: int = 0) -> Any:
    """Turn a value into JSON types: records, dataclasses, containers, enums, dates, bytes.

    Bytes become base64 text, dates ISO 8601, paths text, named tuples objects. What has no
    such form stays as it is.

    Raises:
        ValueError: It is nested more than 300 levels deep, or contains itself.
    """
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply, or contains itself")
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Enum):
        return plain(value.value)
    value, depth = _by_name(value), depth + 1
    if isinstance(value, Mapping):
        return {str(plain(key, depth)): plain(item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, array)):
        return [plain(item, depth) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "__fspath__"):
        return str(value)
    return value.isoformat() if isinstance(value, (date, time)) else value


def _by_name(value: Any) -> Any:
    """Give the fields of a value that has some, by name."""
    if hasattr(value, "model_dump"):  # pydantic's models
        return value.model_dump(mode="json")
    if hasattr(value, "_asdict"):  # named tuples
        return value._asdict()
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: getattr(value, name) for name in fields_of(type(value))}
    return value


def size_of(value: Any) -> str:
    """Say how much content there is, without saying what."""
    if value is None:
        return "None"
    units: Mapping[type, str] = {str: "characters", bytes: "bytes"}
    unit = units.get(type(value), "items")
    return f"<{len(value)} {unit}>" if hasattr(value, "__len__") else "<hidden>"


def _shown(field: Field, value: Any) -> str:
    return size_of(value) if "content" in field.metadata else repr(value)


def _loaded(field: Field, value: Any) -> Any:
    load = field.metadata.get("load")
    return value if load is None or value is None else load(value)
