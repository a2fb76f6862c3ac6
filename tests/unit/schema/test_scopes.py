"""Names of types inside functions and classes, with postponed annotations as in this module."""

from __future__ import annotations

import dataclasses
import enum
import functools
import gc
import weakref
from datetime import date
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest
from typing_extensions import TypedDict

from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, build, tool_from
from localproviders.types import Tool


class Point:
    """A type of the module, which the functions below hide with their own."""


def _local_types() -> List[Tuple[Any, Any, Any]]:
    """Return types of this call, each with a JSON value and the value built inside the call."""

    @dataclasses.dataclass
    class Point:
        x: int

    @dataclasses.dataclass
    class Line:
        ends: Tuple[Point, Point]
        inner: Optional[Point] = None

    class Keys(TypedDict):
        at: Point

    class Link(NamedTuple):
        at: Point
        next: Optional[Link] = None

    @dataclasses.dataclass
    class Longer(Line):
        more: Dict[str, Point] = dataclasses.field(default_factory=dict)

    cases = [
        (Line, {"ends": [{"x": 1}, {"x": 2}]}, Line((Point(1), Point(2)))),
        (Keys, {"at": {"x": 1}}, {"at": Point(1)}),
        (Link, {"at": {"x": 1}, "next": {"at": {"x": 2}}}, Link(Point(1), Link(Point(2)))),
        (Longer, {"ends": [{"x": 1}, {"x": 2}], "more": {"a": {"x": 3}}},
         Longer((Point(1), Point(2)), None, {"a": Point(3)})),
        (List["Line"], [{"ends": [{"x": 1}, {"x": 2}]}], [Line((Point(1), Point(2)))]),
    ]  # fmt: skip
    return [(value, made, build(annotation, value)) for annotation, value, made in cases]


def test_types_of_a_function_are_found_in_its_call() -> None:
    for _, made, built in _local_types():
        assert built == made


def _local_tools(use: Callable[[Any], Any]) -> List[Tuple[Any, Any, Any]]:
    """Return tools of this call, each with arguments and the expected ones."""

    @dataclasses.dataclass
    class Point:
        x: int

    class Unit(enum.Enum):
        C = "c"

    def show(at: Point, unit: Unit = Unit.C) -> int:
        """Show."""
        return at.x

    async def wait(at: Point) -> Point:
        """Show."""
        return at

    class Api:
        class Mode(enum.Enum):
            A = "a"

        def method(self, at: Point, mode: Mode) -> None:
            """Show."""

        def __call__(self, at: Point) -> None:
            """Show."""

    return [
        (use(show), {"at": {"x": 1}, "unit": "c"}, {"at": Point(1), "unit": Unit.C}),
        (use(wait), {"at": {"x": 1}}, {"at": Point(1)}),
        (use(functools.partial(show, unit=Unit.C)), {"at": {"x": 1}}, {"at": Point(1)}),
        (use(Api().method), {"at": {"x": 1}, "mode": "a"}, {"at": Point(1), "mode": Api.Mode.A}),
        (use(Api()), {"at": {"x": 1}}, {"at": Point(1)}),
    ]


@pytest.mark.parametrize(
    "change",
    [lambda tool: tool, lambda tool: tool.replace(name="other"), lambda tool: tool.function],
)
def test_a_tool_still_knows_its_types_when_the_call_has_ended(
    change: Callable[[Tool], Any],
) -> None:
    for tool, given, made in _local_tools(tool_from):
        assert arguments_for(change(tool), given) == made


def test_types_of_a_call_are_not_kept_alive() -> None:
    cases = _local_tools(tool_from)
    alive = weakref.ref(type(cases[0][2]["at"]))
    del cases
    gc.collect()
    assert alive() is None


def test_a_function_that_calls_itself_has_types_for_each_call() -> None:
    found: List[bool] = []

    def call(rest: int, made: List[Tuple[Any, Any]]) -> None:
        @dataclasses.dataclass
        class Point:
            x: int

        def show(at: Point) -> None:
            """Show."""

        made.append((show, Point))
        if rest:
            call(rest - 1, made)
        else:
            for function, cls in made:
                found.append(type(arguments_for(function, {"at": {"x": 1}})["at"]) is cls)

    call(3, [])
    assert found == [True] * 4


def _returns_a_function(uses_the_type: bool) -> Any:
    @dataclasses.dataclass
    class Only:
        x: int

    def without(at: Only) -> int:
        """Show."""
        return at.x

    def closure(at: Only) -> Any:
        """Show."""
        return Only(at.x)

    return closure if uses_the_type else without


def test_the_closure_has_the_type_when_the_call_has_ended() -> None:
    function = _returns_a_function(uses_the_type=True)
    assert function(**arguments_for(function, {"at": {"x": 1}})).x == 1


def test_a_type_that_is_gone_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as caught:
        tool_from(_returns_a_function(uses_the_type=False))
    assert "name 'Only' is not defined" in str(caught.value)
    assert "make the tool inside the function that defines them" in str(caught.value)


def _returns_a_node() -> Any:
    @dataclasses.dataclass
    class Node:
        kids: List[Node]

        def count(self) -> int:
            return len(self.kids)

    return Node


def test_a_class_knows_its_own_name() -> None:
    cls = _returns_a_node()
    assert build(cls, {"kids": [{"kids": []}]}) == cls([cls([])])


class Api:
    class Mode(enum.Enum):
        A = "a"

    Alias = Dict[str, int]
    date = "a value with the name of a type"

    def method(self, mode: Mode, counts: Alias, day: date) -> None:
        """Do nothing."""

    @classmethod
    def of_class(cls, mode: Mode) -> None:
        """Do nothing."""

    @staticmethod
    def static(mode: Mode) -> None:
        """Do nothing."""

    def list(self, items: list) -> None:  # type: ignore[type-arg]  # as people write it
        """Do nothing."""


class Child(Api):
    """Inherits the methods."""


@pytest.mark.parametrize("owner", [Api(), Child()])
def test_types_inside_a_class_are_found_for_its_methods(owner: Any) -> None:
    given = {"mode": "a", "counts": {"x": 1}, "day": "2026-01-31"}
    assert arguments_for(owner.method, given) == {
        "mode": Api.Mode.A,
        "counts": {"x": 1},
        "day": date(2026, 1, 31),
    }
    for method in (owner.of_class, owner.static):
        assert arguments_for(method, {"mode": "a"}) == {"mode": Api.Mode.A}
    assert arguments_for(owner.list, {"items": [1]}) == {"items": [1]}


@dataclasses.dataclass
class Event:
    date: Optional[date] = None
    until: Optional[date] = None


def test_a_field_may_have_the_name_of_its_type() -> None:
    assert build(Event, {"until": "2026-01-31"}) == Event(None, date(2026, 1, 31))
