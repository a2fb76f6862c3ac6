"""The strict form of a schema: recognized, and made for Python types where it means the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Dict, List, Literal, Mapping, NamedTuple, Optional, TypedDict, Union

import pytest

from localproviders.schema import check, schema_of
from localproviders.schema.strict import closed, is_strict

_TEXT: Mapping[str, Any] = {"type": "string"}


def _object(**properties: Any) -> Dict[str, Any]:
    """Return the schema of an object in the strict form."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


STRICT = {
    "no property": _object(),
    "text": _object(a=_TEXT),
    "nested": _object(a=_object(b=_TEXT)),
    "list": _object(a={"type": "array", "items": _object(b=_TEXT)}),
    "text or null": _object(a={"type": ["string", "null"]}),
    "union": _object(a={"anyOf": [_TEXT, _object(b=_TEXT)]}),
    "choice": _object(a={"type": "string", "enum": ["x", "y"]}),
    "constant": _object(a={"type": "string", "const": "x"}),
    "annotations": _object(a={"type": "string", "title": "A", "description": "The letter."}),
    "reference": {**_object(a={"$ref": "#/$defs/A"}), "$defs": {"A": _object(b=_TEXT)}},
    "reference to the root": _object(a={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
}
OTHER = {
    "nothing": {},
    "any object": {"type": "object"},
    "open": {"type": "object", "properties": {"a": _TEXT}, "required": ["a"]},
    "open inside": _object(a={"type": "object", "properties": {}}),
    "open in a list": _object(a={"type": "array", "items": {"type": "object"}}),
    "open in a definition": {**_object(), "$defs": {"A": {"type": "object"}}},
    "open in a union": _object(a={"anyOf": [{"type": "null"}, {"type": "object"}]}),
    "open or null": _object(a={"type": ["object", "null"], "properties": {}}),
    "other properties of a type": _object(
        a={"type": "object", "properties": {}, "additionalProperties": _TEXT}
    ),
    "a property that is not required": {**_object(a=_TEXT), "required": []},
    "a required name without a property": {**_object(), "required": ["a"]},
    "root is a list": {"type": "array", "items": _TEXT},
    "root is a union": {"anyOf": [_object()]},
    "root is an object and a union": {**_object(), "anyOf": [_object()]},
    "root is an object or null": {**_object(), "type": ["object", "null"]},
    "no type": _object(a={}),
    "true": _object(a=True),
    "choice without a type": _object(a={"enum": ["x"]}),
    "list without items": _object(a={"type": "array"}),
    "reference with a description": _object(a={"$ref": "#", "description": "The same."}),
    **{
        name: _object(a={**_TEXT, name: value})
        for name, value in {
            "minimum": 0,
            "pattern": "x",
            "minLength": 1,
            "minItems": 1,
            "uniqueItems": True,
            "format": "date",
            "default": "x",
            "allOf": [_TEXT],
            "oneOf": [_TEXT],
            "not": _TEXT,
            "if": _TEXT,
            "prefixItems": [_TEXT],
            "patternProperties": {"x": _TEXT},
            "propertyNames": _TEXT,
            "unknown": 1,
        }.items()
    },
}


@pytest.mark.parametrize("name", STRICT)
def test_the_strict_form_is_recognized(name: str) -> None:
    assert is_strict(STRICT[name])


@pytest.mark.parametrize("name", OTHER)
def test_any_other_form_is_recognized(name: str) -> None:
    assert not is_strict(OTHER[name])


def test_a_deep_schema_is_no_problem() -> None:
    schema: Dict[str, Any] = _object(a=_TEXT)
    for _ in range(5_000):
        schema = _object(a=schema)
    assert is_strict(schema)


# --- closing ----------------------------------------------------------------------------------


@dataclass
class Inner:
    x: int


@dataclass
class Plain:
    """All fields are required."""

    inner: Inner
    several: List[Inner]
    mood: Literal["glad", "sad"]


@dataclass
class WithNull:
    name: str
    note: Optional[str] = None
    inner: Optional[Inner] = None


@dataclass
class WithDefault:
    name: str = "x"


@dataclass
class WithFactory:
    names: List[str] = field(default_factory=list)


class Partial(TypedDict, total=False):
    name: str


class Pair(NamedTuple):
    one: Union[int, str]
    other: Optional[Inner]


@dataclass
class Limited:
    day: date


@dataclass
class Open:
    counts: Dict[str, int]


@dataclass
class Anything:
    value: Any


class LooksLikePydantic:
    """A class with the methods of a pydantic model. Its objects say nothing about other keys."""

    @classmethod
    def model_json_schema(cls) -> Dict[str, Any]:
        inner = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        return {
            "title": "City",
            "type": "object",
            "properties": {
                "name": {"title": "Name", "type": "string"},
                "inner": {"$ref": "#/$defs/Inner"},
                "note": {"anyOf": [_TEXT, {"type": "null"}], "default": None},
            },
            "required": ["name", "inner"],
            "$defs": {"Inner": inner},
        }

    @classmethod
    def model_validate(cls, value: Any) -> LooksLikePydantic:
        return cls()


@pytest.mark.parametrize("made", [Plain, WithNull, Pair, LooksLikePydantic])
def test_the_schema_of_a_type_is_closed(made: Any) -> None:
    schema = schema_of(made)
    sent = closed(schema)

    assert is_strict(sent)
    assert "default" not in str(sent)
    assert schema == schema_of(made), "the schema of the type is not changed"


@pytest.mark.parametrize("made", [WithDefault, WithFactory, Partial, Limited, Open, Anything])
def test_a_schema_whose_meaning_would_change_is_not_closed(made: Any) -> None:
    schema = schema_of(made)
    assert closed(schema) is schema


def test_a_null_for_a_missing_property_fits_the_type() -> None:
    schema = schema_of(WithNull)
    value = {"name": "Ada", "note": None, "inner": None}

    assert check(value, closed(schema)) == check(value, schema) == []


def test_a_default_of_null_that_the_type_does_not_allow_stays_optional() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": None}}}
    assert closed(schema) is schema


def test_the_properties_stay_in_their_order() -> None:
    assert closed(schema_of(WithNull))["required"] == ["name", "note", "inner"]
    assert list(closed(schema_of(WithNull))["properties"]) == ["name", "note", "inner"]


def test_a_closed_object_that_allows_other_keys_stays_open() -> None:
    schema = {"type": "object", "properties": {"a": _TEXT}, "additionalProperties": True}
    assert closed(schema) is schema
