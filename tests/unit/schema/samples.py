"""Samples of every supported annotation, with JSON values that fit and that do not."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime, timedelta, timezone
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    NewType,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from typing_extensions import Annotated, Literal, NotRequired, Required, TypedDict

Number = NewType("Number", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    YES = True
    ONE = 1
    NONE = None
    HALF = 0.5


@dataclasses.dataclass(frozen=True)
class Point:
    """A place.

    Attributes:
        x: To the right.
    """

    x: float
    y: Annotated[float, "Upwards."] = 0.0


@dataclasses.dataclass
class Shape:
    corners: List[Point]
    color: Color = Color.RED
    name: Optional[str] = None
    tags: Set[str] = dataclasses.field(default_factory=set)
    area: float = dataclasses.field(init=False, default=0.0)


class Partial(TypedDict, total=False):
    must: Required[int]
    can: str


class Whole(TypedDict):
    must: int
    can: NotRequired[Color]


class Pair(NamedTuple):
    first: int
    second: str = "b"


class Sample(NamedTuple):
    """An annotation, JSON values that fit with their Python values, and JSON values that do not."""

    annotation: Any
    good: List[Tuple[Any, Any]]
    bad: List[Any]


def same(*values: Any) -> List[Tuple[Any, Any]]:
    return [(value, value) for value in values]


_NOON = datetime(2026, 1, 31, 12)
_UTC = _NOON.replace(tzinfo=timezone.utc)

SAMPLES: List[Sample] = [
    Sample(str, same("", "x"), [1, None, True, [], {}]),
    Sample(int, [*same(0, -1, 10**30), (1.0, 1)], ["1", 1.5, None, True, []]),
    Sample(float, [(1, 1.0), (1.5, 1.5), (-0.5, -0.5)], ["1", None, False, []]),
    Sample(bool, same(True, False), [0, 1, "true", None]),
    Sample(None, same(None), [0, False, "", "null"]),
    Sample(Any, same(None, 1, "x", [1], {"a": None}), []),
    Sample(object, same(None, [1]), []),
    Sample(Number, same(3), ["3", 0.5]),
    Sample(Annotated[int, "A number."], same(3), ["3"]),
    Sample(Literal["C", "F"], same("C", "F"), ["K", "c", 1, None]),
    Sample(Literal[1, "1", None], [*same(1, "1", None), (1.0, 1)], [2, True, "2", False]),
    Sample(Literal[Color.RED], [("red", Color.RED)], ["blue", "RED"]),
    Sample(Color, [("red", Color.RED), ("blue", Color.BLUE)], ["RED", "Color.RED", None, 0]),
    Sample(Level, [(1, Level.LOW), (2.0, Level.HIGH)], [0, True, "1"]),
    Sample(
        Mixed,
        [(True, Mixed.YES), (0.5, Mixed.HALF), (None, Mixed.NONE)],
        [0, False, "1", 2],
    ),
    Sample(Optional[str], same("x", None), [1, [], False]),
    Sample(Optional[Color], [("red", Color.RED), (None, None)], ["green", 0]),
    Sample(Union[int, str], [*same(1, "a"), (2.0, 2)], [None, 1.5, True]),
    Sample(Union[int, float], same(1, 1.5), ["1", None]),
    Sample(Union[date, str], [("2026-01-31", date(2026, 1, 31)), ("soon", "soon")], [1]),
    Sample(
        Union[Point, Pair, List[int]],
        [({"x": 1}, Point(1.0)), ({"first": 1}, Pair(1)), ([1], [1])],
        [{"x": "1"}, {"first": 1, "x": 1}, ["a"], 1],
    ),
    Sample(Optional[Any], same(None, 1, [2]), []),
    Sample(List[int], same([], [1, 2]), [["1"], {}, "12", None, [None]]),
    Sample(List, same([], [1, "a"]), [{}, "ab"]),
    Sample(Sequence[Color], [(["red"], [Color.RED])], [["green"], "red"]),
    Sample(Iterable[Optional[bool]], same([True, None]), [[0], [1]]),
    Sample(Tuple[int, str], [([1, "a"], (1, "a"))], [[1], [1, "a", 2], ["a", 1], [], "1a"]),
    Sample(Tuple[int, ...], [([], ()), ([1, 2], (1, 2))], [["a"], {}, 1]),
    Sample(Set[str], [(["a", "b"], {"a", "b"}), ([], set())], [["a", "a"], [1], "a"]),
    Sample(FrozenSet[int], [([1, 2], frozenset({1, 2}))], [[1, 1.0], [True], [None]]),
    Sample(Set[Point], [([{"x": 1}], {Point(1.0)})], [[{}], [{"x": 1}, {"x": 1.0}]]),
    Sample(Set[Tuple[int, int]], [([[1, 2]], {(1, 2)})], [[[1, 2], [1, 2]], [[1]]]),
    Sample(Dict[str, int], same({}, {"a": 1}), [{"a": "1"}, [], [["a", 1]], None]),
    Sample(Dict, same({}, {"a": [1]}), [[], "a"]),
    Sample(Mapping[str, Any], same({"a": None}), [[1]]),
    Sample(Dict[Color, bool], [({"red": True}, {Color.RED: True})], [{"green": True}, {"red": 1}]),
    Sample(Dict[Literal["a"], int], same({"a": 1}), [{"b": 1}]),
    Sample(Dict[str, List[Dict[str, int]]], same({"a": [{"b": 1}]}), [{"a": [{"b": "1"}]}]),
    Sample(Partial, same({"must": 1}, {"must": 1, "can": "x"}), [{}, {"can": "x"}, {"must": "1"}]),
    Sample(
        Whole,
        [({"must": 1, "can": "red"}, {"must": 1, "can": Color.RED}), ({"must": 1}, {"must": 1})],
        [{}, {"must": 1, "other": 2}, {"must": 1, "can": None}, [], None],
    ),
    Sample(
        Point,
        [({"x": 1}, Point(1.0, 0.0)), ({"x": 1.5, "y": 2}, Point(1.5, 2.0))],
        [{}, {"y": 1}, {"x": "1"}, {"x": 1, "z": 2}, {"x": None}, [1, 2], "x"],
    ),
    Sample(
        Shape,
        [
            ({"corners": []}, Shape([])),
            (
                {"corners": [{"x": 1, "y": 2}], "color": "blue", "name": None, "tags": ["a"]},
                Shape([Point(1.0, 2.0)], Color.BLUE, None, {"a"}),
            ),
        ],
        [{}, {"corners": [{}]}, {"corners": [], "area": 1}, {"corners": [], "color": "green"}],
    ),
    Sample(
        Pair,
        [({"first": 1}, Pair(1)), ({"first": 1, "second": "x"}, Pair(1, "x"))],
        [{}, [1, "x"], {"first": "1"}, {"first": 1, "third": 1}],
    ),
    Sample(date, [("2026-01-31", date(2026, 1, 31))], [20260131, None]),
    Sample(
        datetime,
        [
            ("2026-01-31T12:00:00", _NOON),
            ("2026-01-31 12:00", _NOON),
            ("2026-01-31T12:00:00Z", _UTC),
            ("2026-01-31t12:00:00z", _UTC),
            ("2026-01-31T12:00:00.5+00:00", _UTC.replace(microsecond=500_000)),
            ("2026-01-31T12:00:00.123456789Z", _UTC.replace(microsecond=123_456)),
            (
                "2026-01-31T12:00:00-01:30",
                _NOON.replace(tzinfo=timezone(-timedelta(hours=1, minutes=30))),
            ),
        ],
        [1769860800, None],
    ),
]

#: Texts that fit the schema, because `format` is not checked, but not the Python type.
MISDATED: List[Tuple[Any, str]] = [
    (date, "2026-02-30"),
    (date, "31.1.2026"),
    (date, "2026-01-31T12:00:00"),
    (date, "20260131"),
    (date, "\u0662026-01-31"),
    (datetime, "2026-01-31"),
    (datetime, "2026-01-31T25:00:00"),
    (datetime, "noon"),
    (datetime, "2026-01-31T12:00:00 Z"),
]
