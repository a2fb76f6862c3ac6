"""Schemas of types and values parsed from JSON, beyond the table of samples."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, Dict, List, Optional

import pydantic
import pytest
from typing_extensions import Annotated

from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, build, check, schema_of, tool_from

_ADDRESS = {"type": "object", "properties": {"zip": {"$ref": "#/definitions/zip"}}}
_WITH_REFERENCES = {
    "type": "object",
    "properties": {
        "home": {"$ref": "#/$defs/address", "description": "Where."},
        "work": {"$ref": "#/$defs/address", "minProperties": 1},
        "both": {"allOf": [{"type": "object"}], "$ref": "#/$defs/address"},
        "no": {"$ref": "#/$defs/no", "title": "No"},
        "$ref": {"enum": [{"$ref": "#/$defs/address"}]},
    },
    "$defs": {"address": _ADDRESS, "no": False},
    "definitions": {"zip": {"type": "string"}},
}


def test_references_are_put_in_place() -> None:
    address = {"type": "object", "properties": {"zip": {"type": "string"}}}
    assert schema_of(_WITH_REFERENCES) == {
        "type": "object",
        "properties": {
            "home": {**address, "description": "Where."},
            "work": {"allOf": [address], "minProperties": 1},
            "both": {"allOf": [address, {"allOf": [{"type": "object"}]}]},
            "no": {"allOf": [False], "title": "No"},
            "$ref": {"enum": [{"$ref": "#/$defs/address"}]},
        },
    }


def test_a_schema_that_was_passed_in_is_left_alone() -> None:
    before = json.dumps(_WITH_REFERENCES)
    schema_of(_WITH_REFERENCES)
    assert json.dumps(_WITH_REFERENCES) == before


def test_what_refers_to_itself_stays_a_reference_with_its_definition() -> None:
    tree: Dict[str, Any] = {
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        "required": ["name"],
    }
    name = {"properties": {"name": {"$ref": "#/$defs/name"}}}
    whole = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {**tree, "allOf": [name, {"$ref": "#/$defs/leaf"}]},
            "name": {"type": "string"},
            "leaf": {},
        },
    }
    schema = schema_of(whole)
    assert schema["required"] == ["name"]
    assert list(schema["$defs"]) == ["tree"]
    good = {"name": "a", "children": [{"name": "b"}]}
    bad = {"name": "a", "children": [{"name": 1}]}
    assert build(whole, good) is good
    assert check(bad, schema) == ["answer.children[0].name: is 1, and must be a string"]


def test_a_root_may_refer_to_itself() -> None:
    schema = {"properties": {"next": {"$ref": "#"}}, "required": ["x"]}
    assert schema_of(schema) == schema
    assert check({"x": 1, "next": {}}, schema_of(schema)) == ["answer.next.x: is missing"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}}, "refers to '#/properties/a' from inside"),
        ({"unevaluatedItems": False}, "uses 'unevaluatedItems'"),
        ({"type": "strin"}, "it must be one of string"),
        ("object", "the type 'object': 'object' has no form in JSON that is supported"),
        (5, "the type 5: 5 has no form in JSON"),
        (["yes", "no"], "write Literal['yes', 'no'] for one of several texts"),
        ([int], "List[City] for a list"),
        ('{"type": "object"}', "pass json.loads(text)"),
        (f'{{"type": "object", "title": "{"x" * 200}"}}', "xxx...'"),
        (List["Unknown"], "has no form in JSON"),  # type: ignore[name-defined]  # noqa: F821  # the mistake under test
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_asked_for_is_refused(schema: Any, words: str) -> None:
    for ask in (lambda: schema_of(schema), lambda: build(schema, {})):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert words in str(caught.value)


def test_a_schema_that_inlining_would_multiply_without_measure_is_refused() -> None:
    definitions = {
        f"d{number}": {"prefixItems": [{"$ref": f"#/$defs/d{number + 1}"}] * 3}
        for number in range(12)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, "d12": {}}}
    with pytest.raises(ConfigurationError, match="more than 10,000 parts after"):
        schema_of(schema)


# --- building ------------------------------------------------------------------------------


@dataclasses.dataclass
class Price:
    amount: float

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise KeyError("negative")


@dataclasses.dataclass
class Order:
    prices: Dict[str, List[Price]]


def test_an_error_of_the_types_own_code_names_the_type_and_the_place() -> None:
    with pytest.raises(ValueError) as caught:
        build(Order, {"prices": {"a": [{"amount": 1}, {"amount": -1}]}})
    assert str(caught.value) == "answer.prices.a[1]: Price refused the value: KeyError: 'negative'"
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_number_too_large_for_a_float_is_a_reason() -> None:
    assert check(10**400, schema_of(float)) == []
    with pytest.raises(ValueError, match="answer: is a number too large for a float"):
        build(float, 10**400)


def test_items_that_become_equal_are_not_lost() -> None:
    from typing import Set, Union

    with pytest.raises(ValueError, match="answer: has equal items"):
        build(Set[Union[bool, int]], [True, 1])


def test_every_reason_of_a_value_is_told() -> None:
    with pytest.raises(ValueError) as caught:
        build(Order, {"prices": {"a": [{"amount": "1"}, {}]}})
    assert str(caught.value).splitlines() == [
        'answer.prices.a[0].amount: is "1", and must be a number',
        "answer.prices.a[1].amount: is missing",
    ]


# --- pydantic ------------------------------------------------------------------------------


class Inner(pydantic.BaseModel):
    number: int


class Model(pydantic.BaseModel):
    inner: Inner
    even: Optional[int] = None

    @pydantic.field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Tree(pydantic.BaseModel):
    children: List[Tree] = []


class Strange(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: Order
    what: type(sys)  # type: ignore[valid-type]  # a module has no schema


def test_a_model_gives_its_schema_and_its_instance() -> None:
    schema = schema_of(Model)
    assert "$ref" not in str(schema)
    assert build(Model, {"inner": {"number": 1}}) == Model(inner=Inner(number=1))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"inner": {}}, "answer.inner.number: is missing"),
        ({"inner": {"number": 1}, "even": 3}, "answer.even: Value error, must be even"),
    ],
)
def test_what_a_model_refuses_is_a_reason_with_its_path(value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        build(Model, value)
    assert str(caught.value) == words


def test_a_model_that_contains_itself_may_be_part_of_another_type() -> None:
    value = {"children": [{"children": []}]}
    assert build(Tree, value) == Tree(children=[Tree()])
    assert build(List[Tree], [value]) == [Tree(children=[Tree()])]
    assert list(schema_of(List[Tree])["$defs"]) == ["Tree"]


def test_a_model_without_a_schema_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Strange has no JSON Schema: Pydantic"):
        schema_of(Strange)


def test_a_model_can_be_a_parameter() -> None:
    def save(model: Model) -> None:
        """Save."""

    save.__annotations__ = {"model": Annotated[Model, "What."]}
    assert tool_from(save).parameters["properties"]["model"]["description"] == "What."
    given = {"model": {"inner": {"number": 1}}}
    assert arguments_for(save, given) == {"model": Model(inner=Inner(number=1))}


class OldModel:
    """A model as version 1 of pydantic looks."""

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def schema(cls) -> Dict[str, Any]:
        number = {"$ref": "#/definitions/N"}
        definitions = {"N": {"type": "integer"}}
        return {"type": "object", "properties": {"number": number}, "definitions": definitions}

    @classmethod
    def parse_obj(cls, value: Any) -> OldModel:
        if value["number"] < 0:
            raise ValueError("negative")
        return cls(value["number"])


def test_a_model_of_version_1_is_known_by_its_looks() -> None:
    assert schema_of(OldModel) == {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
    }
    assert build(OldModel, {"number": 3}).number == 3
    with pytest.raises(ValueError, match="answer: negative"):
        build(OldModel, {"number": -1})
