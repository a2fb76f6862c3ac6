"""Types that contain themselves: their schema has definitions, and their values are built."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple, Union

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Annotated, TypeAliasType, TypedDict

from localproviders import Tool
from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, build, check, schema_of, tool_from


@dataclasses.dataclass
class Node:
    """A tree.

    Attributes:
        value: A number.
        children: Smaller trees.
    """

    value: int
    children: List[Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Left:
    right: Optional[Right] = None


@dataclasses.dataclass
class Right:
    left: Left
    more: Dict[str, Right] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Frozen:
    parts: FrozenSet[Frozen] = frozenset()


class Keys(TypedDict, total=False):
    kids: List[Keys]
    value: int


class Link(NamedTuple):
    value: int
    next: Optional[Link] = None


class Tree(pydantic.BaseModel):
    children: List[Tree] = []


class Holder(pydantic.BaseModel):
    node: Optional[Holder] = None
    tree: Tree


@dataclasses.dataclass
class Mixed:
    tree: Tree
    again: Optional[Mixed] = None


Json = Union[Dict[str, "Json"], List["Json"], str, int, None]
Late = TypeAliasType("Late", "Union[Dict[str, Late], List[Late], date]")  # type: ignore[misc]  # a string

CASES: List[Tuple[Any, Any, Any]] = [
    (Node, {"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)])),
    (List[Node], [{"value": 1}], [Node(1)]),
    (Dict[str, Node], {"a": {"value": 1}}, {"a": Node(1)}),
    (Optional[Node], {"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)])),
    (Tuple[Node, Link], [{"value": 1}, {"value": 2}], (Node(1), Link(2))),
    (Annotated[Node, "Words."], {"value": 1}, Node(1)),
    (Left, {"right": {"left": {"right": {"left": {}}}}}, Left(Right(Left(Right(Left()))))),
    (Right, {"left": {}, "more": {"a": {"left": {}}}}, Right(Left(), {"a": Right(Left())})),
    (Union[Right, Left], {"right": {"left": {}}}, Left(Right(Left()))),
    (Frozen, {"parts": [{}]}, Frozen(frozenset({Frozen()}))),
    (Set[Frozen], [{"parts": [{}]}, {}], {Frozen(frozenset({Frozen()})), Frozen()}),
    (Keys, {"kids": [{"kids": []}, {"value": 1}]}, {"kids": [{"kids": []}, {"value": 1}]}),
    (Link, {"value": 1, "next": {"value": 2, "next": None}}, Link(1, Link(2))),
    (Tree, {"children": [{"children": []}]}, Tree(children=[Tree()])),
    (List[Tree], [{"children": [{}]}], [Tree(children=[Tree()])]),
    (Holder, {"node": {"tree": {}}, "tree": {}}, Holder(node=Holder(tree=Tree()), tree=Tree())),
    (Mixed, {"tree": {}, "again": {"tree": {"children": [{}]}}},
     Mixed(Tree(), Mixed(Tree(children=[Tree()])))),
    (Json, {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    (Late, {"a": [{"b": "2026-01-31"}]}, {"a": [{"b": date(2026, 1, 31)}]}),
    (List["Node"], [{"value": 1}], [Node(1)]),
]  # fmt: skip


@pytest.mark.sample(6)
@pytest.mark.parametrize(("annotation", "value", "made"), CASES)
def test_a_type_that_contains_itself_is_described_and_built(
    annotation: Any, value: Any, made: Any
) -> None:
    schema = schema_of(annotation)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(value)
    assert check(value, schema) == []
    assert build(annotation, value) == made
    assert schema_of(schema) == schema
    assert "$defs" in schema
    assert schema.get("$ref") is None


@pytest.mark.sample(3)
@pytest.mark.parametrize(("annotation", "value", "made"), CASES)
def test_a_parameter_may_contain_itself(annotation: Any, value: Any, made: Any) -> None:
    def function(x: Any, y: Any) -> None:
        """Do nothing."""

    function.__annotations__ = {"x": annotation, "y": Node}
    if annotation == List["Node"]:
        function.__annotations__["x"] = List[Node]
    tool = tool_from(function)
    jsonschema.Draft202012Validator.check_schema(tool.parameters)
    given = {"x": value, "y": {"value": 1, "children": [{"value": 2}]}}
    for made_from in (
        tool,
        function,
        Tool(name="t", parameters=tool.parameters, function=function),
    ):
        assert arguments_for(made_from, given) == {"x": made, "y": Node(1, [Node(2)])}
    with pytest.raises(ValueError, match=r"arguments\.y\.children\[0\]\.value: is missing"):
        arguments_for(tool, {**given, "y": {"value": 1, "children": [{}]}})


def test_the_outermost_schema_stands_in_its_place_and_refers_to_the_definition() -> None:
    inner = schema_of(Node)
    definitions = inner.pop("$defs")
    assert definitions == {"Node": inner}
    assert inner == {
        "type": "object",
        "description": "A tree.",
        "properties": {
            "value": {"type": "integer", "description": "A number."},
            "children": {
                "type": "array",
                "items": {"$ref": "#/$defs/Node"},
                "description": "Smaller trees.",
            },
        },
        "required": ["value"],
        "additionalProperties": False,
    }


def test_a_type_that_does_not_contain_itself_has_no_definition() -> None:
    assert "$" not in json.dumps(schema_of(Dict[str, List[Tuple[int, date]]]))


def test_two_types_of_one_name_have_two_definitions() -> None:
    def make() -> Any:
        @dataclasses.dataclass
        class Node:
            kids: List[Node]

        return Node

    one, two = make(), make()
    schema = schema_of(Tuple[one, two, Node])
    assert sorted(schema["$defs"]) == ["Node", "Node_2", "Node_3"]
    made = build(Tuple[one, two], [{"kids": []}, {"kids": [{"kids": []}]}])
    assert (type(made[0]), type(made[1]), type(made[1].kids[0])) == (one, two, two)


# --- types without values, and limits ------------------------------------------------------------


@dataclasses.dataclass
class Endless:
    next: Endless


@dataclasses.dataclass
class EndlessPair:
    pair: Tuple[int, EndlessLink]


class EndlessLink(NamedTuple):
    one: Union[EndlessPair, EndlessLink]


@pytest.mark.parametrize("cls", [Endless, EndlessPair, EndlessLink, List[Endless]])
def test_a_type_without_an_end_is_refused(cls: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        schema_of(cls)
    assert "contains itself, and every value would contain another one" in str(caught.value)
    assert "such as Optional[...]" in str(caught.value)


@dataclasses.dataclass
class First:
    on: date
    kids: List[Union[First, Second]]


@dataclasses.dataclass
class Second:
    on: date
    kids: List[Union[First, Second]]


def _nested(levels: int, innermost: str) -> Any:
    value: Any = {"on": innermost, "kids": []}
    for _ in range(levels):
        value = {"on": "2026-01-31", "kids": [value]}
    return value


def test_alternatives_that_all_fit_do_not_multiply_the_work() -> None:
    assert isinstance(build(First, _nested(20, "2026-01-31")), First)
    with pytest.raises(ValueError, match="is refused by too many alternatives"):
        build(First, _nested(20, "no date"))
    with pytest.raises(ValueError, match=r"must be|is not a date"):
        build(First, _nested(3, "no date"))


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: Dict[str, Any] = {"value": 1}
    for _ in range(500):
        value = {"value": 1, "children": [value]}
    with pytest.raises(ValueError, match="nested too deeply"):
        build(Node, value)


_TREES = st.recursive(
    st.builds(lambda value: {"value": value}, st.integers()),
    lambda inner: st.builds(
        lambda value, children: {"value": value, "children": children},
        st.integers(),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@given(_TREES)
def test_every_tree_comes_back_as_it_was(tree: Any) -> None:
    made = build(Node, tree)
    filled = json.loads(json.dumps(dataclasses.asdict(made)))
    assert build(Node, filled) == made
    assert made.value == tree["value"]
    assert len(made.children) == len(tree.get("children", []))
