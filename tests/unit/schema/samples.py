"""Samples of every supported annotation, with JSON values that fit and that do not."""

from __future__ import annotations

import dataclasses
import enum
import os
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PurePosixPath
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
from uuid import UUID

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
_KEY = "12345678-1234-5678-1234-56781234abcd"
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
    Sample(
        time,
        [
            ("12:30", time(12, 30)),
            ("12:30:05.25", time(12, 30, 5, 250_000)),
            ("12:00:00Z", time(12, tzinfo=timezone.utc)),
        ],
        [12, None],
    ),
    Sample(
        timedelta,
        [
            ("P1DT2H", timedelta(days=1, hours=2)),
            ("PT90S", timedelta(seconds=90)),
            ("-PT0.5S", timedelta(seconds=-0.5)),
            ("P2W", timedelta(weeks=2)),
        ],
        [90, None],
    ),
    Sample(UUID, [(_KEY, UUID(_KEY)), (_KEY.upper(), UUID(_KEY))], [1, None, ["a"]]),
    Sample(Path, [("a/b", Path("a/b")), ("", Path())], [1, None]),
    Sample(PurePosixPath, [("a", PurePosixPath("a"))], [0]),
    Sample(os.PathLike, [("a", Path("a"))], [0]),
    Sample(
        Decimal,
        [
            ("9.50", Decimal("9.50")),
            ("-.5", Decimal("-0.5")),
            ("+7", Decimal(7)),
            (9, Decimal(9)),
            (9.5, Decimal("9.5")),
            (0.1, Decimal("0.1")),
            (10**30, Decimal(10**30)),
            (1e-7, Decimal("0.0000001")),
        ],
        ["", "9,50", "NaN", "Infinity", "1e5", " 9", None, True],
    ),
    Sample(IPv4Address, [("192.0.2.1", IPv4Address("192.0.2.1"))], [3221225985, None]),
    Sample(IPv6Network, [("2001:db8::/32", IPv6Network("2001:db8::/32"))], [0]),
    Sample(Optional[UUID], [(_KEY, UUID(_KEY)), (None, None)], [1]),
    Sample(Union[UUID, str], [(_KEY, UUID(_KEY)), ("key", "key")], [1]),
    Sample(Union[Decimal, bool], [("1", Decimal(1)), (True, True)], ["x", None]),
    Sample(Dict[UUID, Decimal], [({_KEY: "1.0"}, {UUID(_KEY): Decimal("1.0")})], [{_KEY: "x"}]),
    Sample(Dict[Path, time], [({"a": "12:00"}, {Path("a"): time(12)})], [{"a": 12}]),
    Sample(FrozenSet[UUID], [([_KEY], frozenset({UUID(_KEY)}))], [[_KEY, _KEY]]),
    Sample(Tuple[Decimal, ...], [(["1", 2], (Decimal(1), Decimal(2)))], [["x"]]),
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

#: JSON values that fit the schema, but not the Python type, and why.
REFUSED_BY_TYPES: List[Tuple[Any, Any, str]] = [
    (time, "25:00", "is not a time"),
    (time, "noon", "is not a time"),
    (time, "12:00:00 Z", "is not a time"),
    (timedelta, "P", "is not a duration"),
    (timedelta, "PT", "is not a duration"),
    (timedelta, "P1DT", "is not a duration"),
    (timedelta, "P1Y", "is not a duration"),
    (timedelta, "1:30", "is not a duration"),
    (timedelta, "P999999999W", "is not a duration"),
    (timedelta, "P\u0662D", "is not a duration"),
    (UUID, "key", "is not a UUID; write it like 12345678-1234"),
    (IPv4Address, "192.0.2.256", "is not an IPv4 address"),
    (IPv6Network, "x", "is not an IPv6 network"),
    (Decimal, 0.1 + 0.2, "has more than 15 digits, which a number in JSON may lose"),
    (Dict[UUID, int], {"x": 1}, 'the key "x": is not a UUID'),
    (Set[UUID], [_KEY, _KEY.upper()], "has equal items"),
]
