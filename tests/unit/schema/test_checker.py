"""The schema checker: its reasons, the schemas that it refuses, and its bounds."""

from __future__ import annotations

import inspect
import sys
from types import MappingProxyType
from typing import Any, Dict, List

import pytest

from localproviders.errors import ConfigurationError
from localproviders.schema import check, schema_of

_ITEMS = {
    "type": "object",
    "properties": {"items": {"items": {"properties": {"price": {"type": "number"}}}}},
}
_LONG = "x" * 500

# A value, a schema, and the reasons.
REASONS: List[Any] = [
    ({"items": [{}, {}, {"price": "x"}]}, _ITEMS, ['.items[2].price: is "x", and must be a number']),
    (None, {"type": "string"}, [": is null, and must be a string"]),
    (True, {"type": ["number", "null"]}, [": is true, and must be a number or null"]),
    (1.5, {"type": ["integer", "string", "null"]}, [": is 1.5, and must be an integer, a string or null"]),
    ([1, 2], {"type": "object"}, [": is an array of 2 items, and must be an object"]),
    ({"a": 1}, {"type": "array"}, [": is an object with 1 key, and must be an array"]),
    (float("nan"), {"type": "number"}, [": is nan, and must be a number"]),
    (float("inf"), {"type": "number"}, [": is inf, and must be a number"]),
    ((1,), {"type": "array"}, [": is (1,), and must be an array"]),
    (_LONG, {"type": "null"}, [f': is "{"x" * 57}...", and must be null']),
    ("K", {"enum": ["C", "F", None]}, [': is "K", and must be one of "C", "F", null']),
    (99, {"enum": list(range(15))}, [": is 99, and must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 5 more"]),
    (True, {"const": 1}, [": is true, and must be 1"]),
    ({}, {"required": ["a", "two words"]}, [".a: is missing", '["two words"]: is missing']),
    ({_LONG: 1}, {"additionalProperties": {"type": "null"}}, [f'["{"x" * 57}..."]: is 1, and must be null']),
    ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": False}, ['.b: is not allowed; the keys are "a"']),
    ({"b": 1}, {"additionalProperties": False}, [".b: is not allowed; the keys are none"]),
    ({"a": 1}, {"patternProperties": {"^a": False}}, [".a: is 1, and no value is allowed here"]),
    ({"a": 1}, {"propertyNames": {"minLength": 2}}, [': the key "a": has 1 character, and must have at least 2']),
    ({"a": 1}, {"dependentRequired": {"a": ["b"]}}, ['.b: is missing, and "a" needs it']),
    ({"a": 1}, {"dependentSchemas": {"a": {"required": ["c"]}}}, [".c: is missing"]),
    ({}, {"minProperties": 1}, [": has 0 keys, and must have at least 1"]),
    ({"a": 1, "b": 2}, {"maxProperties": 1}, [": has 2 keys, and must have at most 1"]),
    ([1, "a"], {"prefixItems": [{}, {"type": "null"}]}, ['[1]: is "a", and must be null']),
    ([1, "a"], {"prefixItems": [{}], "items": {"type": "null"}}, ['[1]: is "a", and must be null']),
    ([1], {"contains": {"type": "null"}}, [": has 0 items that 'contains' describes, and must have at least 1"]),
    ([1], {"contains": {}, "maxContains": 0}, [": has 1 item that 'contains' describes, and must have at most 0"]),
    ([], {"minItems": 1}, [": has 0 items, and must have at least 1"]),
    ([1, 2], {"maxItems": 1}, [": has 2 items, and must have at most 1"]),
    ([1, {"a": [1]}, {"a": [1.0]}], {"uniqueItems": True}, ["[2]: is equal to [1], and must differ"]),
    (1, {"minimum": 2}, [": is 1, and must be at least 2"]),
    (3, {"maximum": 2.5}, [": is 3, and must be at most 2.5"]),
    (2, {"exclusiveMinimum": 2}, [": is 2, and must be more than 2"]),
    (2, {"exclusiveMaximum": 2}, [": is 2, and must be less than 2"]),
    (0.35, {"multipleOf": 0.1}, [": is 0.35, and must be a multiple of 0.1"]),
    ("a", {"minLength": 2}, [": has 1 character, and must have at least 2"]),
    ("abc", {"maxLength": 2}, [": has 3 characters, and must have at most 2"]),
    ("a", {"pattern": r"^\d$"}, [r': is "a", and must match "^\\d$"']),
    (1, {"allOf": [{"minimum": 2}, {"maximum": 0}]}, [": is 1, and must be at least 2", ": is 1, and must be at most 0"]),
    ({"a": 1}, {"anyOf": [{"type": "string"}, {"required": ["b"]}]}, [".b: is missing"]),
    (1, {"anyOf": [{"minimum": 2}]}, [": is 1, and must be at least 2"]),
    (
        1,
        {"anyOf": [{"type": "string"}, {"enum": ["a", "b"]}, {"const": 5}, {"title": "Big", "minimum": 9}]},
        [': is 1, and must be a string as alternative 1 describes it, one of "a", "b", 5 or "Big"'],
    ),
    (1, {"oneOf": [False, {"minimum": 2}]}, [": is 1, and must be alternative 1 or alternative 2"]),
    (1, {"oneOf": [{}, {}, False]}, [": is 1, and fits 2 alternatives where one is allowed"]),
    (1, {"not": {"const": 1}}, [": is 1, and must not be 1"]),
    (1, {"not": {}}, [": is 1, and must not be what 'not' describes"]),
    (1, {"if": {"const": 1}, "then": {"type": "null"}}, [": is 1, and must be null"]),
    (2, {"if": {"const": 1}, "else": {"type": "null"}}, [": is 2, and must be null"]),
    (2, {"$ref": "#/$defs/a%20b~1c~0d", "$defs": {"a b/c~d": {"type": "null"}}}, [": is 2, and must be null"]),
    (1, False, [": is 1, and no value is allowed here"]),
]  # fmt: skip

# Schemas that cannot be used, and words of the refusal.
REFUSED: List[Any] = [
    ("x", "the schema is str, and must be a dictionary"),
    ({"type": "strin"}, "at # has 'type' with an invalid value; it must be one of string, number"),
    ({"type": []}, "or a list of them"),
    ({"properties": []}, "'properties' with an invalid value; it must be an object of schemas"),
    ({"properties": {"a": {"minimum": "1"}}}, "at #/properties/a has 'minimum'"),
    ({"items": [{}]}, "a list of schemas is written prefixItems since draft 2020-12"),
    ({"exclusiveMinimum": True}, "it must be a number"),
    ({"minLength": -1}, "it must be a whole number of at least 0"),
    ({"minLength": 1.5}, "it must be a whole number of at least 0"),
    ({"multipleOf": 0}, "it must be a number above 0"),
    ({"required": True}, "it must be a list of names"),
    ({"enum": "ab"}, "it must be a list"),
    ({"uniqueItems": 1}, "it must be true or false"),
    ({"anyOf": []}, "it must be a list of at least one schema"),
    ({"not": 1}, "it must be a schema: an object, true or false"),
    ({"pattern": "("}, "it must be a pattern of Python's re"),
    ({"pattern": 1}, "it must be a pattern of Python's re"),
    ({"patternProperties": {"(": {}}}, "whose keys are patterns of Python's re"),
    ({"dependentRequired": {"a": "b"}}, "it must be an object of lists of names"),
    ({"$schema": "https://example.com/mine"}, "it must be a draft's address at json-schema.org"),
    ({"$ref": 1}, "it must be a string"),
    ({1: {}}, "has the key 1, and keys must be strings"),
    ({"unevaluatedProperties": False}, "uses 'unevaluatedProperties', which is not supported (hint: list"),
    ({"allOf": [{"$dynamicRef": "#a"}]}, "at #/allOf/0 uses '$dynamicRef'"),
    ({"nullable": "yes"}, "has 'nullable' with an invalid value; it must be true or false"),
    ({"items": {"$id": "x"}}, "at #/items has an '$id', which"),
    ({"$ref": "https://example.com/x"}, 'refers to "https://example.com/x", which is an anchor or outside'),
    ({"$ref": "#anchor"}, 'refers to "#anchor", which is an anchor or outside the schema'),
    ({"$ref": "#/$defs/A"}, 'refers to "#/$defs/A", which does not exist'),
    ({"$ref": "#/enum/9", "enum": [1]}, 'refers to "#/enum/9", which does not exist'),
    ({"$ref": "#/title/a", "title": "x"}, 'refers to "#/title/a", which does not exist'),
    ({"$ref": "#/title", "title": "x"}, "refers to #/title, which is not a schema"),
    ({"$ref": "#/x", "x": {"type": "strin"}}, "at #/x has 'type'"),
    ({"$ref": "#"}, 'the schema\'s "#" leads back to itself'),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "leads back to itself"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "schema", "reasons"), REASONS, ids=lambda each: f"{each!r:.40}")
def test_a_reason_says_where_what_and_what_must_be(value: Any, schema: Any, reasons: Any) -> None:
    assert check(value, schema, name="") == reasons


def test_half_a_character_of_a_value_is_not_passed_on() -> None:
    (reason,) = check({"\ud800": "a\udfff"}, {"additionalProperties": {"type": "null"}})
    assert reason == 'answer["?"]: is "a?", and must be null'


def test_a_number_that_python_does_not_write_down_is_described() -> None:
    assert check(10**5000, {"type": "string"}) == [
        "answer: is a number of very many digits, and must be a string"
    ]


@pytest.mark.parametrize(("schema", "words"), REFUSED)
def test_a_schema_that_cannot_be_used_is_an_error_that_names_the_place(
    schema: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check({"a": 1}, schema)
    assert words in str(caught.value)


def test_words_that_assert_nothing_are_passed_over() -> None:
    schema = {"title": 1, "default": "x", "format": "date", "x-mine": {"type": 5}, "$comment": ""}
    assert check("no date", schema) == []


def test_a_word_of_json_schema_may_be_the_name_of_a_property() -> None:
    schema = {"properties": {"$ref": {"type": "string"}, "unevaluatedItems": {}, "$id": {}}}
    assert check({"$ref": 1}, schema) == ['answer["$ref"]: is 1, and must be a string']


def test_the_paths_start_with_the_name_given() -> None:
    assert check({"a": 1}, {"properties": {"a": False}}, name="arguments") == [
        "arguments.a: is 1, and no value is allowed here"
    ]


def test_no_more_than_twenty_reasons_are_listed() -> None:
    reasons = check([1] * 50, {"items": {"type": "null"}})
    assert len(reasons) == 21
    assert reasons[-1] == "answer: 30 more reasons"
    assert check([1] * 21, {"items": {"type": "null"}})[-1] == "answer: 1 more reason"


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"$ref": "#"}},
        {"items": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
        {"uniqueItems": True},
        {"const": 1},
        {"not": {"enum": [[]]}},
    ],
)
def test_a_value_nested_without_measure_does_not_fit(schema: Dict[str, Any]) -> None:
    assert check(_nested(2000), schema) == [
        "answer: is nested too deeply, or too large, to be checked"
    ]


def test_a_check_ends_well_where_the_stack_is_almost_full() -> None:
    def deeper(frames: int) -> List[str]:
        return deeper(frames - 1) if frames else check(_nested(150), {"items": {"$ref": "#"}})

    room = sys.getrecursionlimit() - len(inspect.stack(0))
    assert deeper(room - 200) == ["answer: is nested too deeply, or too large, to be checked"]


def test_a_schema_may_be_any_mapping() -> None:
    schema = MappingProxyType(
        {"properties": MappingProxyType({"a": MappingProxyType({"type": "null"})})}
    )
    assert check({"a": 1}, schema) == ["answer.a: is 1, and must be null"]
    assert schema_of(schema) == {"properties": {"a": {"type": "null"}}}


def test_a_check_of_too_many_values_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localproviders.schema.checker._MOST_STEPS", 20_000)
    reasons = check([1] * 30_000, {"items": {"type": "integer"}})
    assert reasons == ["answer: is nested too deeply, or too large, to be checked"]


@pytest.mark.parametrize("keyword", ["allOf", "anyOf"])
def test_references_that_double_at_each_level_are_followed_once(
    keyword: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localproviders.schema.checker._MOST_STEPS", 20_000)
    twice = {"type": "array", keyword: [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}
    assert check(_nested(40), twice) == []
    wrong: Any = 1
    for _ in range(40):
        wrong = [wrong]
    assert 1 <= len(check(wrong, twice)) <= 21


def test_a_tree_is_followed_as_deep_as_servers_answers_go() -> None:
    schema = {"anyOf": [{"type": "array", "items": {"$ref": "#"}}]}
    assert check(_nested(60), schema) == []


def test_a_schema_of_too_many_parts_is_refused() -> None:
    schema = {"properties": {str(number): {} for number in range(10_001)}}
    with pytest.raises(ConfigurationError, match="more than 10,000 parts"):
        check({}, schema)


# Only the depth is bounded; a value may have any number of items and fields.
WIDE: List[Any] = [
    ([{"a": 1}] * 300, {"type": "array", "items": {"type": "object"}}),
    ([[1]] * 300, {"items": {"items": {"type": "integer"}}}),
    ({str(n): {"a": n} for n in range(300)}, {"additionalProperties": {"type": "object"}}),
    ([{"a": 1}] * 300, {"items": {"$ref": "#/$defs/one"}, "$defs": {"one": {"type": "object"}}}),
    ([1] * 300, {"items": {"allOf": [{"anyOf": [{"type": "null"}, {"minimum": 0}]}, {}]}}),
    ([[n] for n in range(300)], {"uniqueItems": True}),
    ([[n] for n in range(300)], {"const": [[n] for n in range(300)]}),
    (7, {"allOf": [{"type": "integer"}] * 300}),
]


@pytest.mark.parametrize(("value", "schema"), WIDE)
def test_a_value_that_is_wide_and_not_deep_is_checked_to_its_end(value: Any, schema: Any) -> None:
    assert check(value, schema) == []


def test_the_last_of_many_items_is_checked_like_the_first() -> None:
    reasons = check(
        [{"a": 1}] * 300 + [{"a": "x"}], {"items": {"properties": {"a": {"type": "number"}}}}
    )
    assert reasons == ['answer[300].a: is "x", and must be a number']


_TOO_DEEP = ["answer: is nested too deeply, or too large, to be checked"]


def _in_objects(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("nested", [_nested, _in_objects])
@pytest.mark.parametrize("word", ["const", "enum", "uniqueItems"])
def test_values_are_compared_as_deep_as_the_bound_and_no_deeper(word: str, nested: Any) -> None:
    def reasons(depth: int) -> List[str]:
        value = nested(depth)
        if word == "uniqueItems":
            return check([value], {word: True})
        return check(value, {word: value if word == "const" else [value]})

    assert reasons(190) == []
    assert reasons(210) == _TOO_DEEP
