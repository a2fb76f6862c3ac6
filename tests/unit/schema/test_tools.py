"""Functions as tools: their schemas, refused functions, and their calls."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pickle
from datetime import date
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

import pytest
from typing_extensions import Annotated, Literal

from localproviders.errors import ConfigurationError
from localproviders.schema import arguments_for, as_tools, tool_from
from localproviders.types import Tool
from tests.unit.schema.samples import Color, Pair, Point, Shape, Whole

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]  # there is none, on purpose


def weather(
    city: str,
    *,
    unit: Literal["C", "F"] = "C",
    day: Annotated[Optional[date], "Today", "if left out."] = None,
    at: Point = Point(1.0),  # noqa: B008  # a frozen value
) -> Unknown:
    """Get the weather.

    Args:
        city: Where.
        day: Not this.
    """
    return (city, unit, day, at)


def test_a_tool_is_what_the_function_says() -> None:
    tool = tool_from(weather)
    assert (tool.name, tool.description) == ("weather", "Get the weather.")
    assert tool.function is weather
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where."},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "day": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "description": "Today if left out.",
                "default": None,
            },
            "at": {
                "type": "object",
                "description": "A place.",
                "properties": {
                    "x": {"type": "number", "description": "To the right."},
                    "y": {"type": "number", "description": "Upwards.", "default": 0.0},
                },
                "required": ["x"],
                "additionalProperties": False,
            },
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters_is_an_empty_object() -> None:
    def now() -> str:
        return "now"

    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool_from(now) == Tool(name="now", parameters=schema)
    assert arguments_for(now, {}) == {}


def _defaults(
    nothing: str = None,  # type: ignore[assignment]  # noqa: RUF013  # as people write it
    color: Color = Color.RED,
    pair: Tuple[int, str] = (1, "a"),
    day: date = date(2026, 1, 31),  # a frozen value
    names: Dict[str, List[float]] = {"a": [0.5]},  # noqa: B006  # as people write it
    infinite: float = float("inf"),
    some: FrozenSet[int] = frozenset([1]),
    point: Pair = Pair(1),  # noqa: B008  # a frozen value
    mixed: List[Any] = [object()],  # noqa: B006, B008  # as people write it
) -> None:
    """Do nothing."""


def test_a_default_is_told_where_json_has_a_form_for_it() -> None:
    schema = tool_from(_defaults).parameters
    assert "required" not in schema
    told = {
        name: each["default"] for name, each in schema["properties"].items() if "default" in each
    }
    assert told == {
        "nothing": None,
        "color": "red",
        "pair": [1, "a"],
        "day": "2026-01-31",
        "names": {"a": [0.5]},
    }


def test_a_default_of_none_allows_none() -> None:
    assert tool_from(_defaults).parameters["properties"]["nothing"]["type"] == ["string", "null"]


class _Thing:
    def method(self, x: int) -> int:
        """Add."""
        return x + 1

    @classmethod
    def of_class(cls, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x

    def __call__(self, x: int) -> int:
        return x


@functools.wraps(_Thing.static)
def _wrapper(*args: Any, **more: Any) -> Any:
    return _Thing.static(*args, **more)


@pytest.mark.parametrize(
    "function", [_Thing().method, _Thing.of_class, _Thing.static, _Thing().static, _wrapper]
)
def test_methods_lose_their_first_parameter_and_wrappers_are_looked_through(
    function: Callable[..., Any],
) -> None:
    assert tool_from(function).parameters["properties"] == {"x": {"type": "integer"}}
    assert arguments_for(function, {"x": 1.0}) == {"x": 1}


@dataclasses.dataclass
class Node:
    child: Node


@dataclasses.dataclass
class Left:
    right: Right


@dataclasses.dataclass
class Right:
    left: Tuple[int, Left]


@dataclasses.dataclass
class Initial:
    seed: dataclasses.InitVar[int]


class Listed(NamedTuple):
    all: List[int]


Untyped = collections.namedtuple("Untyped", "a b")  # the mistake under test


@dataclasses.dataclass
class Unresolved:
    what: Unknown


def _unreadable() -> Any:
    def function(x: int) -> None:
        """Nothing."""

    function.__signature__ = "x"  # type: ignore[attr-defined]  # the mistake under test
    return function


class Nothing(enum.Enum):
    pass


class Bare:
    pass


def _positional(x: int, y: int) -> None:
    """Python 3.8 writes positional-only parameters with a slash."""


_space: Dict[str, Any] = {}
exec("def slash(x: int, /): ...", _space)


def bare(x) -> None: ...  # type: ignore[no-untyped-def]  # the mistake under test


def many(*x: int) -> None: ...


def any_name(**x: int) -> None: ...


def unknown(x: Unknown) -> None: ...


def of_bytes(x: List[bytes]) -> None: ...


def of_class(x: Bare) -> None: ...


def of_keys(x: Dict[int, str]) -> None: ...


def of_set(x: Set[List[int]]) -> None: ...


def of_data_set(x: Set[Shape]) -> None: ...


def of_dict_set(x: Set[Whole]) -> None: ...


def of_pair_set(x: Set[Listed]) -> None: ...


def of_any_set(x: set) -> None: ...  # type: ignore[type-arg]  # the mistake under test


def of_tuple(x: tuple) -> None: ...  # type: ignore[type-arg]  # the mistake under test


def of_choice(x: Literal[b"a"]) -> None: ...


def of_untyped(x: Untyped) -> None: ...


def of_unresolved(x: Unresolved) -> None: ...


def of_nothing(x: Nothing) -> None: ...


def of_node(x: Node) -> None: ...


def of_circle(x: Left) -> None: ...


def of_initial(x: Initial) -> None: ...


@pytest.mark.parametrize(
    ("function", "words", "hint"),
    [
        (5, "'int' is not a function, so it cannot be a tool", "pass a function, the method"),
        (Point, "'Point' is not a function", "or Tool(name=..., parameters=...)"),
        (lambda: 1, "this function has no name by which a model could call it", "with def"),
        (functools.partial(lambda x: x, 1), "this partial has no name", "with def"),
        (functools.partial(Point, 1), "'partial' is not a function", "or Tool(name=..."),
        (functools.partial(weather, 1, 2, 3), "weather(): the arguments of the partial function do not fit: "
         "too many positional", "arguments that the function takes"),
        (_space["slash"], "slash(): parameter 'x': is positional-only", "wrap the function"),
        (bare, "bare(): parameter 'x': has no annotation", "annotate it, such as x: str"),
        (_Thing.method, "method(): parameter 'self': has no annotation", "thing.method"),
        (many, "many(): parameter 'x': takes any number of values", "use a List[...]"),
        (any_name, "any_name(): parameter 'x': takes any name", "name the parameters"),
        (unknown, "unknown(): parameter 'x': the annotation cannot be resolved: name 'Unknown'",
         "List[str] before 3.9"),
        (of_bytes, "of_bytes(): parameter 'x': bytes has no form in JSON", "base64 text as a str"),
        (of_class, "of_class(): parameter 'x': Bare has no form in JSON", "use str, int, float"),
        (of_keys, "the keys of a JSON object are strings, and not int", "use Dict[str, ...]"),
        (of_set, "a set needs hashable items", "such as Set[str]"),
        (of_data_set, "a set needs hashable items", "such as Set[str]"),
        (of_dict_set, "a set needs hashable items", "such as Set[str]"),
        (of_pair_set, "a set needs hashable items", "such as Set[str]"),
        (of_any_set, "a set needs hashable items", "such as Set[str]"),
        (of_tuple, "a tuple without types of its items", "Tuple[str, ...]"),
        (of_choice, "the choice b'a' is not a string, a number", "use strings"),
        (of_nothing, "of_nothing(): parameter 'x': Nothing: there is no value to choose", "member"),
        (of_untyped, "field 'a' of Untyped has no annotation", "a typing.NamedTuple"),
        (of_unresolved, "parameter 'x': Unresolved: the annotation cannot be resolved: name 'Unknown'",
         "at the top of the module"),
        (_unreadable(), "function(): Python cannot read its signature", "wrap it"),
        (of_node, "of_node(): Node contains itself, and every value would contain another", "Optional"),
        (of_circle, "of_circle(): Left contains itself, and every value", "or a List"),
        (of_initial, "of_initial(): parameter 'x': the constructor of Initial takes 'seed', which "
         "is not a field (it may be an InitVar, for example)", "make it a field"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_tool_is_refused_with_a_way_out(
    function: Any, words: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tool_from(function)
    assert words in caught.value.message
    assert hint in str(caught.value.hint)


# --- several tools -------------------------------------------------------------------------


def test_functions_become_tools_and_tools_stay() -> None:
    mine = Tool(name="mine")
    assert as_tools([weather, mine]) == (tool_from(weather), mine)
    assert as_tools([]) == as_tools(None) == ()
    assert as_tools(weather) == (tool_from(weather),)
    assert as_tools(mine) == (mine,)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([weather, Tool(name="weather")], "two tools have the name 'weather'"),
        (
            {"w": weather},
            "a dictionary of functions, and must be a list (hint: write tools=[weather])",
        ),
        ([{"name": "a"}, {"name": "a"}], "two tools have the name 'a'"),
        ([3], "'int' is not a function"),
    ],
)
def test_tools_that_cannot_be_told_apart_are_refused(tools: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        as_tools(tools)
    assert words in str(caught.value)


# --- the function of a tool ----------------------------------------------------------------


def test_the_function_stays_out_of_what_travels() -> None:
    tool = tool_from(weather)
    assert "function" not in repr(tool) + str(tool.to_dict())
    assert tool == tool.replace(function=None)
    copy = pickle.loads(pickle.dumps(tool.replace(function=lambda: 1)))
    assert copy == tool
    assert copy.function is None


# --- arguments -----------------------------------------------------------------------------


def test_arguments_become_what_the_function_is_annotated_with() -> None:
    given = {"city": "Oslo", "day": "2026-01-31", "at": {"x": 1}}
    made = arguments_for(tool_from(weather), given)
    assert made == {"city": "Oslo", "day": date(2026, 1, 31), "at": Point(1.0)}
    assert weather(**made) == ("Oslo", "C", date(2026, 1, 31), Point(1.0))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "arguments.city: is missing"),
        ({"city": 1}, "arguments.city: is 1, and must be a string"),
        ({"city": "", "town": ""}, 'arguments.town: is not allowed; the keys are "city", '),
        ({"city": "", "day": "soon"}, "arguments.day: is not a date"),
        (
            {"city": "", "unit": "K", "at": {}},
            'must be one of "C", "F"\narguments.at.x: is missing',
        ),
    ],
)
def test_arguments_that_do_not_fit_are_a_value_error_with_every_reason(
    given: Dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        arguments_for(weather, given)
    assert words in str(caught.value)
    assert not isinstance(caught.value, ConfigurationError)


def test_parameters_written_by_hand_are_checked_beside_the_function() -> None:
    schema = {"type": "object", "properties": {"x": {"minimum": 2}}}
    tool = tool_from(_Thing.static).replace(parameters=schema)
    assert arguments_for(tool, {"x": 2.0}) == {"x": 2}
    for given in ({"x": 1}, {"x": "2"}, {"x": 2, "y": 1}):
        with pytest.raises(ValueError, match=r"^arguments\."):
            arguments_for(tool, given)


def test_a_function_that_cannot_be_described_gets_the_values_as_they_are() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    tool = Tool(name="any_name", parameters=schema, function=any_name)
    assert arguments_for(tool, {"x": 1}) == {"x": 1}
    with pytest.raises(ValueError, match="must be an integer"):
        arguments_for(tool, {"x": "1"})


def test_a_tool_without_a_function_cannot_be_called() -> None:
    with pytest.raises(ConfigurationError, match="the tool 'a' has no function to call"):
        arguments_for(Tool(name="a"), {})


def test_a_shape_left_out_keeps_its_own_default() -> None:
    def paint(shape: Shape, again: Shape = Shape([])) -> None:  # noqa: B008  # as people write it
        """Paint."""

    paint.__annotations__ = {"shape": Shape, "again": Shape}
    assert arguments_for(paint, {"shape": {"corners": []}}) == {"shape": Shape([])}
