"""The checker agrees with the reference validator on random schemas and values."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.schema import check, schema_of

_NAMES = st.sampled_from(["a", "b", "c", "ab"])
# Only halves, because rounding decides whether a number is a multiple of 0.1.
_NUMBERS = st.integers(-3, 5) | st.integers(-6, 8).map(lambda each: each / 2)
_SCALARS = st.none() | st.booleans() | _NUMBERS | st.sampled_from(["", "a", "ab", "abc", "é😀"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)
_COUNTS = st.integers(0, 3)
_TYPES = st.sampled_from(["string", "number", "integer", "object", "array", "boolean", "null"])
_LEAVES = {
    "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
    "enum": st.lists(_VALUES, min_size=1, max_size=3),
    "const": _VALUES,
    "required": st.lists(_NAMES, max_size=2, unique=True),
    "minProperties": _COUNTS,
    "maxProperties": _COUNTS,
    "dependentRequired": st.dictionaries(
        _NAMES, st.lists(_NAMES, max_size=2, unique=True), max_size=2
    ),
    "minItems": _COUNTS,
    "maxItems": _COUNTS,
    "uniqueItems": st.booleans(),
    "minimum": _NUMBERS,
    "maximum": _NUMBERS,
    "exclusiveMinimum": _NUMBERS,
    "exclusiveMaximum": _NUMBERS,
    "multipleOf": st.sampled_from([1, 2, 0.5, 1.5]),
    "minLength": _COUNTS,
    "maxLength": _COUNTS,
    "pattern": st.sampled_from(["a", "^a", "b$", "^.b", ""]),
    "$ref": st.sampled_from(["#/$defs/leaf", "#/$defs/tree"]),
}


def _with(inner: Any) -> Any:
    one, some = inner, st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(_NAMES, inner, max_size=3)
    nested = {
        "properties": named,
        "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), inner, max_size=2),
        "additionalProperties": one,
        "propertyNames": one,
        "dependentSchemas": named,
        "items": one,
        "prefixItems": some,
        "contains": one,
        "minContains": _COUNTS,
        "maxContains": _COUNTS,
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": one,
        "if": one,
        "then": one,
        "else": one,
    }
    return st.lists(st.sampled_from([*nested, *_LEAVES]), max_size=4, unique=True).flatmap(
        lambda words: st.fixed_dictionaries({word: {**nested, **_LEAVES}[word] for word in words})
    )


_SCHEMAS = st.recursive(st.booleans() | _with(st.booleans()), _with, max_leaves=6)
_DEFINITIONS = {
    "leaf": {"type": ["string", "array"], "minLength": 1},
    "tree": {"items": {"$ref": "#/$defs/tree"}, "properties": {"a": {"$ref": "#/$defs/leaf"}}},
}


def _whole(schema: Any) -> Any:
    return {"allOf": [schema], "$defs": _DEFINITIONS}


@pytest.mark.sample(0)
@given(_SCHEMAS, _VALUES)
def test_both_say_the_same(schema: Any, value: Any) -> None:
    whole = _whole(schema)
    jsonschema.Draft202012Validator.check_schema(whole)
    expected = jsonschema.Draft202012Validator(whole).is_valid(value)
    assert (check(value, whole) == []) == expected


@given(_SCHEMAS, _VALUES)
def test_a_schema_means_the_same_when_its_references_are_inlined(schema: Any, value: Any) -> None:
    whole = _whole(schema)
    inlined = schema_of(whole)
    assert "#/$defs/leaf" not in str(inlined)
    assert (check(value, inlined) == []) == (check(value, whole) == [])


@given(_SCHEMAS, _VALUES)
def test_every_reason_is_one_short_line_that_starts_with_a_path(schema: Any, value: Any) -> None:
    for reason in check(value, _whole(schema)):
        assert reason.startswith("answer")
        assert "\n" not in reason
        assert len(reason) < 500
