"""Metadata in `Annotated` and `Field`: descriptions, limits, defaults, aliases, validators."""

from __future__ import annotations

import dataclasses
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, Union

import annotated_types
import attr
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from typing_extensions import Annotated, TypedDict

from localproviders import Tool
from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, build, check, schema_of, tool_from


def _function(annotation: Any, *default: Any) -> Callable[..., Any]:
    def function(x: Any) -> Any:
        return x

    function.__annotations__ = {"x": annotation}
    function.__defaults__ = default
    return function


def _schema(annotation: Any, *default: Any) -> Dict[str, Any]:
    return dict(tool_from(_function(annotation, *default)).parameters["properties"]["x"])


def _called(annotation: Any, default: Any, **given: Any) -> Any:
    function = _function(annotation, default)
    return function(**arguments_for(function, given))


# --- words and limits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (["The city."], "The city."),
        (["The", "city."], "The city."),
        ([Field(description="The city.")], "The city."),
        ([Field(min_length=1), Field(description="The city.")], "The city."),
        ([Field(description="No."), Field(description="The city.")], "The city."),
        ([Field(description="No."), "Plain.", Field(description="The city.")], "Plain. The city."),
        ([typing_extensions.Doc("The city.")], "The city."),
        ([object(), 5, None, "The city."], "The city."),
    ],
)
def test_the_words_of_a_parameter_come_from_its_annotation(metadata: List[Any], words: str) -> None:
    assert _schema(Annotated[(str, *metadata)])["description"] == words
    assert schema_of(List[Annotated[(str, *metadata)]])["items"]["description"] == words


@pytest.mark.parametrize(
    ("annotation", "more", "good", "bad"),
    [
        (Annotated[int, Field(ge=1, le=10)], {"minimum": 1, "maximum": 10}, [1, 10], [0, 11]),
        (
            Annotated[float, Field(gt=0, lt=1.5)],
            {"exclusiveMinimum": 0, "exclusiveMaximum": 1.5},
            [0.1],
            [0, 1.5],
        ),
        (Annotated[int, Field(multiple_of=5)], {"multipleOf": 5}, [0, 10], [3]),
        (Annotated[float, Field(ge=Decimal("0.5"))], {"minimum": 0.5}, [0.5], [0.25]),
        (pydantic.PositiveInt, {"exclusiveMinimum": 0}, [1], [0]),
        (pydantic.conint(ge=2, multiple_of=2), {"minimum": 2, "multipleOf": 2}, [2], [0, 3]),
        (
            Annotated[int, annotated_types.Interval(ge=1, lt=4)],
            {"minimum": 1, "exclusiveMaximum": 4},
            [1, 3],
            [0, 4],
        ),
        (
            Annotated[str, Field(min_length=1, max_length=3)],
            {"minLength": 1, "maxLength": 3},
            ["a", "abc"],
            ["", "abcd"],
        ),
        (Annotated[str, Field(pattern="^[a-z]+$")], {"pattern": "^[a-z]+$"}, ["a"], ["A", ""]),
        (
            Annotated[str, Field(pattern=re.compile("ab", re.I))],
            {"pattern": "(?i:ab)"},
            ["xAB"],
            ["ba"],
        ),
        (pydantic.constr(max_length=2), {"maxLength": 2}, ["ab"], ["abc"]),
        (
            Annotated[List[int], Field(min_length=1, max_length=2)],
            {"minItems": 1, "maxItems": 2},
            [[1]],
            [[], [1, 2, 3]],
        ),
        (Annotated[Set[int], annotated_types.Len(1)], {"minItems": 1}, [[1]], [[]]),
        (Annotated[Dict[str, int], Field(max_length=1)], {"maxProperties": 1}, [{}], [{"a": 1, "b": 2}]),
        (Annotated[Tuple[int, ...], Field(min_length=1)], {"minItems": 1}, [[1]], [[]]),
        (
            Annotated[Annotated[int, Field(ge=3)], Field(ge=1)],
            {"minimum": 3, "allOf": [{"minimum": 1}]},
            [3],
            [2, 0],
        ),
        (Annotated[Optional[int], Field(ge=1)], {"minimum": 1}, [1, None], [0]),
        (Annotated[Optional[str], Field(min_length=2)], {"minLength": 2}, ["ab", None], ["a"]),
        (Annotated[Union[int, str], Field(ge=1)], {"minimum": 1}, [1, "a"], [0]),
        (Annotated[Any, Field(max_length=1)], {"maxLength": 1, "maxItems": 1}, ["a", [1]], ["ab", [1, 2]]),
        (Annotated[str, Field(json_schema_extra={"enum": ["a"]})], {"enum": ["a"]}, ["a"], ["b"]),
        (
            Annotated[str, Field(json_schema_extra=lambda schema: schema.update(maxLength=1))],
            {"maxLength": 1},
            ["a"],
            ["ab"],
        ),
        (Annotated[date, annotated_types.Ge(date(2026, 1, 1))], {}, ["2026-01-01"], []),
    ],
)  # fmt: skip
def test_limits_stand_in_the_schema_and_hold(
    annotation: Any, more: Dict[str, Any], good: List[Any], bad: List[Any]
) -> None:
    for schema in (_schema(annotation), schema_of(annotation)):
        assert {name: schema[name] for name in more} == more
    for value in good:
        build(annotation, value)
        arguments_for(_function(annotation), {"x": value})
    for value in bad:
        assert check(value, schema_of(annotation)) != []
        with pytest.raises(ValueError, match=r"^answer"):
            build(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (Annotated[date, annotated_types.Ge(date(2026, 1, 1))], "2025-12-31", "at least 2026-01-01"),
        (Annotated[Optional[date], Field(lt=date(2026, 1, 1))], "2026-01-01", "less than 2026"),
        (Annotated[timedelta, Field(le=timedelta(hours=1))], "PT2H", "must be at most 1:00:00"),
        (Annotated[date, Field(ge=timedelta())], "2026-01-01", "cannot be compared with"),
        (Annotated[Decimal, Field(gt=Decimal("0.01"))], "0.01", "must be more than 0.01"),
        (Annotated[Decimal, Field(ge=5)], "4.99", "must be at least 5"),
        (Annotated[Decimal, Field(multiple_of=Decimal("0.05"))], "0.07", "a multiple of 0.05"),
        (Annotated[Decimal, Field(max_digits=3)], "12.34", "must have at most 3 digits"),
        (Annotated[Decimal, Field(max_digits=3)], 1200, "must have at most 3 digits"),
        (Annotated[Decimal, Field(decimal_places=2)], "0.001", "at most 2 decimal places"),
        (Annotated[int, annotated_types.Predicate(lambda v: v % 2 == 0)], 3, "refused by the condition"),
        (List[Annotated[Decimal, Field(ge=0)]], ["1", "-1"], "answer[1]: must be at least 0"),
    ],
)  # fmt: skip
def test_limits_beyond_json_schema_hold_for_the_python_value(
    annotation: Any, value: Any, words: str
) -> None:
    assert check(value, schema_of(annotation)) == []
    with pytest.raises(ValueError) as caught:
        build(annotation, value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[str, Field(ge=1)], "ge=1 does not fit the type"),
        (Annotated[int, Field(max_length=1)], "max_length=1 does not fit the type"),
        (Annotated[bool, Field(pattern="a")], "pattern='a' does not fit the type"),
        (Annotated[date, Field(ge=1)], "ge=1 does not fit the type"),
        (Annotated[str, Field(pattern="(?<n")], "is not a pattern of Python's re"),
    ],
)
def test_a_limit_that_no_value_could_meet_is_refused_at_once(annotation: Any, words: str) -> None:
    for ask in (lambda: schema_of(annotation), lambda: tool_from(_function(annotation))):
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert words in str(caught.value)


@given(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 7), st.integers(-200, 200))
def test_a_limit_means_the_same_as_in_pydantic(low: int, size: int, step: int, value: int) -> None:
    annotation = Annotated[int, Field(ge=low, lt=low + size, multiple_of=step)]
    try:
        pydantic.TypeAdapter(annotation).validate_python(value)
        fits = True
    except pydantic.ValidationError:
        fits = False
    assert (check(value, schema_of(annotation)) == []) is fits


def test_titles_and_examples_are_told_and_foreign_metadata_is_not() -> None:
    field = Field(title="City", examples=["Oslo"], deprecated=True)
    pattern = re.compile("a")
    assert _schema(Annotated[str, field, pattern, {"ge": 1}, attr.Factory(list)]) == {
        "type": "string",
        "title": "City",
        "examples": ["Oslo"],
        "deprecated": True,
    }


# --- a Field as a default ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "default", "value"),
    [
        (int, Field(3), 3),
        (int, Field(default=3, ge=1), 3),
        (Optional[str], Field(None), None),
        (List[int], Field(default_factory=list), []),
        (List[int], Field(default=[1]), [1]),
        (Annotated[int, Field(ge=1)], Field(2), 2),
        (Annotated[int, Field(default=2)], Field(description="No default."), 2),
        (int, dataclasses.field(default=4), 4),
        (List[int], dataclasses.field(default_factory=lambda: [5]), [5]),
        (Annotated[int, Field(default=3)], 6, 6),
    ],
)
def test_the_function_gets_the_default_that_the_field_describes(
    annotation: Any, default: Any, value: Any
) -> None:
    assert "required" not in tool_from(_function(annotation, default)).parameters
    assert (
        _called(annotation, default) in (value, {})
        if default == 6
        else (_called(annotation, default) == value)
    )


def test_the_value_of_the_model_goes_before_the_default_of_a_field() -> None:
    assert _called(int, Field(3), x=4) == 4


@pytest.mark.parametrize(
    "default", [Field(), Field(...), Field(description="The city."), Field(min_length=1)]
)
def test_a_field_without_a_default_is_required(default: Any) -> None:
    function = _function(str, default)
    assert tool_from(function).parameters["required"] == ["x"]
    with pytest.raises(ValueError, match=r"arguments\.x: is missing"):
        arguments_for(function, {})


def test_a_default_is_copied_for_each_call() -> None:
    function = _function(List[int], Field(default=[1]))
    arguments_for(function, {})["x"].append(2)
    assert arguments_for(function, {}) == {"x": [1]}


def test_a_default_in_the_annotation_is_handed_over() -> None:
    function = _function(Annotated[str, Field(default="Oslo", description="The city.")])
    assert tool_from(function).parameters["properties"]["x"]["default"] == "Oslo"
    assert arguments_for(function, {}) == {"x": "Oslo"}


def test_a_factory_may_read_the_other_values() -> None:
    field = Field(default_factory=lambda values: [values["a"]])

    def function(a: int, b: List[int] = field) -> None:
        """Do nothing."""

    assert arguments_for(function, {"a": 3}) == {"a": 3, "b": [3]}


def test_a_field_is_never_handed_to_a_function_that_cannot_be_described() -> None:
    described, bare = Field("C"), Field()

    def function(city, unit=described, day=bare):  # type: ignore[no-untyped-def]  # the mistake under test
        return city, unit, day

    schema = {"type": "object", "properties": {"city": {}, "unit": {}, "day": {}}}
    tool = Tool(name="function", parameters=schema, function=function)
    made = arguments_for(tool, {"city": "Oslo", "day": 1})
    assert function(**made) == ("Oslo", "C", 1)
    with pytest.raises(ValueError, match=r"arguments\.day: is missing"):
        arguments_for(tool, {"city": "Oslo"})


@dataclasses.dataclass
class Data:
    x: int = Field(default=3, ge=1, description="X.")
    many: List[int] = Field(default_factory=lambda: [1])  # noqa: RUF009  # as people write it
    plain: Annotated[int, Field(default=5)] = 6


@dataclasses.dataclass
class Must:
    x: int = Field(ge=1)


class Named(NamedTuple):
    x: int = Field(default=3, ge=1)


@pydantic.dataclasses.dataclass
class Validated:
    x: int = Field(alias="X", ge=1)
    many: List[int] = Field(default_factory=lambda: [1])


class Keys(TypedDict, total=False):
    x: Annotated[int, Field(ge=1, alias="X", default=3)]


@pytest.mark.parametrize(
    ("cls", "given", "made"),
    [
        (Data, {}, Data(3, [1], 6)),
        (Data, {"x": 4}, Data(4, [1], 6)),
        (Must, {"x": 1}, Must(1)),
        (Named, {}, Named(3)),
        (Validated, {"X": 1}, Validated(X=1)),
        (Keys, {"X": 1}, {"x": 1}),
        (Keys, {}, {}),
        (List[Data], [{}], [Data(3, [1], 6)]),
    ],
)
def test_fields_of_classes_follow_the_same_rules(cls: Any, given: Any, made: Any) -> None:
    assert build(cls, given) == made


@pytest.mark.parametrize("cls", [Data, Must, Named, Validated, Keys])
def test_limits_of_the_fields_of_classes_hold(cls: Any) -> None:
    name = next(iter(schema_of(cls)["properties"]))
    with pytest.raises(ValueError, match="must be at least 1"):
        build(cls, {name: 0})


def test_a_required_field_of_a_class_stays_required() -> None:
    assert schema_of(Must)["required"] == ["x"]
    assert schema_of(Data)["properties"]["x"] == {
        "type": "integer",
        "minimum": 1,
        "description": "X.",
        "default": 3,
    }


# --- aliases ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alias",
    [
        Field(alias="City"),
        Field(validation_alias="City"),
        Field(alias="No", validation_alias=pydantic.AliasChoices("City", "Town")),
    ],
)
def test_the_model_sees_the_alias_and_the_function_gets_its_own_name(alias: Any) -> None:
    for function in (_function(Annotated[str, alias]), _function(str, alias)):
        assert tool_from(function).parameters["required"] == ["City"]
        assert arguments_for(function, {"City": "Oslo"}) == {"x": "Oslo"}
        with pytest.raises(ValueError, match=r"arguments\.x: is not allowed"):
            arguments_for(function, {"x": "Oslo", "City": "Oslo"})


def test_two_parameters_of_one_alias_are_refused() -> None:
    def function(a: int = Field(alias="b"), b: int = 1) -> None:
        """Do nothing."""

    with pytest.raises(
        ConfigurationError, match="another parameter or field has the name 'b' in JSON"
    ):
        tool_from(function)


# --- types that only pydantic describes --------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value", "made", "bad"),
    [
        (Annotated[str, pydantic.AfterValidator(str.upper)], "a", "A", 1),
        (Annotated[int, pydantic.AfterValidator(lambda v: v + 1), Field(ge=1)], 1, 2, "x"),
        (Annotated[str, pydantic.StringConstraints(strip_whitespace=True)], " a ", "a", 1),
        (pydantic.UUID4, "9b2c1c1e-7c55-4a0e-8c58-1c1f1a2b3c4d", None, "x"),
        (pydantic.HttpUrl, "http://127.0.0.1/", None, "x"),
        (List[pydantic.HttpUrl], ["http://127.0.0.1/"], None, ["x"]),
        (Optional[pydantic.HttpUrl], None, None, "x"),
    ],
)
def test_pydantic_describes_and_validates_its_own_types(
    annotation: Any, value: Any, made: Any, bad: Any
) -> None:
    built = build(annotation, value)
    assert made is None or built == made
    assert arguments_for(_function(annotation), {"x": value}) == {"x": built}
    with pytest.raises(ValueError, match=r"^answer"):
        build(annotation, bad)


def test_a_description_beside_a_validator_is_kept() -> None:
    annotation = Annotated[str, pydantic.AfterValidator(str.upper), "Words.", Field(title="T")]
    assert _schema(annotation) == {"type": "string", "description": "Words.", "title": "T"}


def test_a_type_that_pydantic_cannot_describe_is_refused() -> None:
    annotation = Annotated[type(re), pydantic.AfterValidator(str)]
    with pytest.raises(ConfigurationError, match="has no JSON Schema"):
        schema_of(annotation)


def test_a_recursive_type_with_a_validator_keeps_its_definition() -> None:
    class Tree(pydantic.BaseModel):
        children: List["Tree"] = []  # noqa: UP037  # a name inside a function

    Tree.model_rebuild()
    annotation = Annotated[Tree, pydantic.AfterValidator(lambda tree: tree)]
    made = build(Tuple[annotation, Tree], [{"children": [{}]}, {}])
    assert made == (Tree(children=[Tree()]), Tree())


# --- other packages ----------------------------------------------------------------------------


def test_the_field_of_pydantic_1_is_read() -> None:
    version_1 = pytest.importorskip("pydantic.v1")
    field = version_1.Field("a", description="X.", max_length=3, regex="^a", example="ab")
    assert _schema(str, field) == {
        "type": "string",
        "description": "X.",
        "maxLength": 3,
        "pattern": "^a",
        "example": "ab",
        "default": "a",
    }
    assert _called(str, field) == "a"
    assert tool_from(_function(int, version_1.Field(..., gt=1))).parameters["required"] == ["x"]
    assert _schema(List[int], version_1.Field([], max_items=2))["maxItems"] == 2


def test_the_metadata_of_msgspec_is_known_by_its_looks() -> None:
    meta = type("Meta", (), {"__module__": "msgspec", "ge": 1, "description": "X.",
                             "extra_json_schema": {"format": "byte"}})()  # fmt: skip
    assert _schema(Annotated[int, meta]) == {
        "type": "integer",
        "minimum": 1,
        "description": "X.",
        "format": "byte",
    }
