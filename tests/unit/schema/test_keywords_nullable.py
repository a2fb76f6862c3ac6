"""`nullable` of OpenAPI 3.0: it allows null, and servers get the form of JSON Schema."""

from __future__ import annotations

import copy
from typing import Any, Dict

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.schema import build, check, schema_of

_PET = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def _in_array(schema: Any) -> Any:
    return {"type": "array", "items": schema}


def _in_object(schema: Any) -> Any:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "same"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "minLength": 1, "description": "d", "nullable": True},
            {"type": ["string", "null"], "minLength": 1, "description": "d"},
        ),
        (
            {"type": "string", "enum": ["a"], "description": "d", "nullable": True},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}], "description": "d"},
        ),
        ({"nullable": True, "title": "Any"}, {"title": "Any"}),
        (
            {"allOf": [{"type": "string"}, {"maxLength": 3}], "nullable": True},
            {"anyOf": [{"allOf": [{"type": "string"}, {"maxLength": 3}]}, {"type": "null"}]},
        ),
        ({"properties": {"nullable": {"type": "null"}}}, {"properties": {"nullable": {"type": "null"}}}),
        ({"enum": [{"nullable": True}]}, {"enum": [{"nullable": True}]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outside", [lambda schema: schema, _in_array, _in_object])
def test_servers_get_the_form_of_json_schema(
    schema: Dict[str, Any], same: Dict[str, Any], outside: Any
) -> None:
    before = copy.deepcopy(schema)
    assert schema_of(outside(schema)) == outside(same)
    assert schema == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "nullable": True},
        {"type": "integer", "minimum": 1, "nullable": True},
        {"type": "string", "enum": ["a"], "nullable": True},
        {"const": "a", "nullable": True},
        {**_PET, "nullable": True},
        {"allOf": [_PET], "nullable": True},
        {"oneOf": [_PET, {"type": "integer"}], "nullable": True},
        {"not": {"type": ["null", "array"]}, "nullable": True},
        {"$ref": "#/$defs/pet", "nullable": True, "$defs": {"pet": _PET}},
        {"$ref": "#/$defs/pet", "$defs": {"pet": {**_PET, "nullable": True}}},
        {"allOf": [{"$ref": "#/$defs/pet"}], "nullable": True, "$defs": {"pet": _PET}},
        {"$ref": "#/$defs/no", "nullable": True, "$defs": {"no": False}},
    ],
)
def test_null_fits_and_is_built(schema: Dict[str, Any]) -> None:
    for form in (schema, schema_of(schema)):
        assert check(None, form) == []
        assert check([1], form) != []
    assert build(schema, None) is None
    assert "nullable" not in str(schema_of(schema))


def test_a_definition_that_refers_to_itself_may_be_nullable() -> None:
    tree = {
        "type": "object",
        "properties": {"next": {"allOf": [{"$ref": "#/$defs/tree"}], "nullable": True}},
        "required": ["next"],
    }
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": tree}}
    value = {"next": {"next": None}}
    assert build(schema, value) == value
    assert check({"next": {"next": 1}}, schema_of(schema)) != []
    assert "nullable" not in str(schema_of(schema))


_LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 2},
        {"type": "string", "enum": ["a", "b"]},
        {"const": 3},
        {"type": ["integer", "string"]},
        {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
        {"$ref": "#/$defs/leaf"},
        True,
        {},
    ]
)
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.builds(
        lambda kind, schema: {"array": _in_array, "object": _in_object}[kind](schema),
        st.sampled_from(["array", "object"]),
        st.builds(
            lambda schema, null: {**schema, "nullable": null} if schema is not True else schema,
            inner,
            st.booleans(),
        ),
    ),
    max_leaves=4,
)
_VALUES = st.recursive(
    st.sampled_from([None, "a", "c", 1, 3, True]),
    lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({"a": inner}),
    max_leaves=4,
)


@given(_SCHEMAS, _VALUES)
def test_both_forms_mean_the_same_and_other_validators_agree(schema: Any, value: Any) -> None:
    whole = {"anyOf": [schema], "$defs": {"leaf": {"type": "integer", "nullable": True}}}
    converted = schema_of(whole)
    assert (check(value, whole) == []) is (check(value, converted) == [])
    reference = jsonschema.Draft202012Validator(converted)
    assert reference.is_valid(value) is (check(value, converted) == [])
