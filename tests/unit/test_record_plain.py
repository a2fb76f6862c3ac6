"""Python values as JSON: numbers of numpy, `Decimal`, dataclasses, and the containers of both."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import json
from array import array
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath
from typing import Any, ClassVar, Dict, List, Optional
from uuid import UUID

import attr
import pydantic
import pytest

from localproviders._record import plain


@dataclasses.dataclass
class Data:
    value: Any
    count: ClassVar[int] = 4
    seed: dataclasses.InitVar[int] = 5
    hidden: int = dataclasses.field(default=1, repr=False, init=False)


@dataclasses.dataclass
class Seeded:
    seed: dataclasses.InitVar[int]
    value: Any = 1


@dataclasses.dataclass
class Empty:
    pass


@attr.define
class Attrs:
    value: Any


class Model(pydantic.BaseModel):
    value: Any


class Custom:
    """A class of a program with a method of its own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def to_dict(self) -> Dict[str, Any]:
        return {"value": self.value}


class _Type:
    def __init__(self, kind: str, itemsize: int = 8) -> None:
        self.kind = kind
        self.itemsize = itemsize
        self.names: Optional[List[str]] = None


class Number:
    """A number that looks like one of numpy, which the tests need not have."""

    shape = ()

    def __init__(self, value: Any, kind: str, text: str = "") -> None:
        self._value = value
        self._text = text
        self.dtype = _Type(kind, 4)

    def __str__(self) -> str:
        return self._text

    def item(self) -> Any:
        return self._value

    tolist = item


class Array:
    """An array that looks like one of numpy."""

    def __init__(self, items: List[Any], kind: str, itemsize: int = 8) -> None:
        self._items = items
        self.dtype = _Type(kind, itemsize)
        self.shape = (len(items),)

    def __iter__(self) -> Any:
        return iter(self._items)

    def tolist(self) -> List[Any]:
        return [each.item() if isinstance(each, Number) else each for each in self._items]


_SHORT = Number(0.10000000149011612, "f", "0.1")
_DAY = Number(1767225600000000000, "M", "2026-01-01T00:00:00.000000000")
_KEY = UUID("12345678-1234-5678-1234-56781234abcd")

VALUES = [
    (Number(3, "i"), 3),
    (Number(True, "b"), True),
    (_SHORT, 0.1),
    (_DAY, "2026-01-01T00:00:00.000000000"),
    (Array([1, 2], "i"), [1, 2]),
    (Array([_SHORT], "f", 4), [0.1]),
    (Array([_DAY], "M"), ["2026-01-01T00:00:00.000000000"]),
    (Array([{"a": Decimal(1)}], "O"), [{"a": "1"}]),
    (Decimal("9.50"), "9.50"),
    (Fraction(1, 3), "1/3"),
    (_KEY, str(_KEY)),
    (ip_address("192.0.2.1"), "192.0.2.1"),
    (ip_network("2001:db8::/32"), "2001:db8::/32"),
    (ip_interface("192.0.2.1/24"), "192.0.2.1/24"),
    (PurePosixPath("a/b"), "a/b"),
    (datetime.time(12, 30), "12:30:00"),
    (datetime.timedelta(days=1, hours=2, seconds=1.5), "P1DT2H1.5S"),
    (datetime.timedelta(minutes=-90), "-PT1H30M"),
    (datetime.timedelta(), "PT0S"),
    (Data(1), {"value": 1, "hidden": 1}),
    (Data(Data(Decimal("1.0"))), {"value": {"value": "1.0", "hidden": 1}, "hidden": 1}),
    (Seeded(3), {"value": 1}),
    (Empty(), {}),
    (Attrs(Number(1, "i")), {"value": 1}),
    (Model(value=Decimal("1.0")), {"value": "1.0"}),
    (Custom(Decimal("1.0")), {"value": "1.0"}),
    (range(3), [0, 1, 2]),
    (collections.deque([_KEY]), [str(_KEY)]),
    ({"a": 1}.keys(), ["a"]),
    ({"a": Decimal(1)}.values(), ["1"]),
    ({"a": 1}.items(), [["a", 1]]),
    (collections.Counter("aa"), {"a": 2}),
    (array("i", [1, 2]), [1, 2]),
    (memoryview(b"\x00\x01"), "AAE="),
    ({Decimal("1.5"): 1, _KEY: 2, Number(3, "i"): 3}, {"1.5": 1, str(_KEY): 2, "3": 3}),
]


@pytest.mark.sample(63)
@pytest.mark.parametrize(("value", "made"), VALUES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("outside", [lambda v: v, lambda v: [v], lambda v: {"a": (v,)}, Data])
def test_a_value_becomes_json_at_each_level(value: Any, made: Any, outside: Any) -> None:
    got = plain(outside(value))
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got == plain(outside(made))


@pytest.mark.parametrize(
    "value",
    [1j, object(), Decimal("NaN"), Decimal("Infinity"), Data, Number, {"a": [object()]}, len],
)
def test_a_value_without_a_form_in_json_is_left_to_json(value: Any) -> None:
    with pytest.raises(TypeError):
        json.dumps(plain(value), allow_nan=False)


def test_real_numbers_of_numpy() -> None:
    numpy: Any = pytest.importorskip("numpy")
    for value, made in [
        (numpy.int64(3), 3),
        (numpy.float32(0.1), 0.1),
        (numpy.bool_(True), True),
        (numpy.longdouble(1.5), 1.5),
        (numpy.array([[1, 2]]), [[1, 2]]),
        (numpy.array(5), 5),
        (numpy.array(None, dtype=object), None),
        (numpy.array([0.1], dtype="f4"), [0.1]),
        (numpy.datetime64("2026-01-31"), "2026-01-31"),
        (numpy.array(["2026-01-31"], dtype="M8[D]"), ["2026-01-31"]),
        ({numpy.int64(3): [Data(numpy.float16(0.5))]}, {"3": [{"value": 0.5, "hidden": 1}]}),
    ]:
        assert plain(value) == made
        assert "numpy" not in type(plain(value)).__module__
