"""Time limits and the cancel token."""

from __future__ import annotations

import math
from typing import Any, List

import pytest

from localproviders.types import CancelToken, Limits
from localproviders.types.limits import describe, resolve

_NAMES = ["connect_s", "load_s", "first_token_s", "idle_s", "total_s"]


def test_the_defaults_are_those_of_the_readme() -> None:
    assert [getattr(Limits(), name) for name in _NAMES] == [3, 600, 300, 120, 1800]


@pytest.mark.parametrize("value", [-1, -math.inf, math.nan, True, None, "5"])
@pytest.mark.parametrize("name", _NAMES)
def test_what_is_no_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize("name", _NAMES)
def test_only_loading_may_take_no_time(name: str) -> None:
    if name == "load_s":
        assert Limits(load_s=0).load_s == 0
        return
    with pytest.raises(ValueError, match="above zero"):
        Limits(**{name: 0})


@pytest.mark.parametrize("value", [0.001, 5, math.inf])
@pytest.mark.parametrize("name", _NAMES)
def test_any_time_above_zero_is_a_limit(name: str, value: float) -> None:
    assert getattr(Limits(**{name: value}), name) == value


_OWN = Limits(idle_s=7, total_s=100)


@pytest.mark.parametrize(
    ("timeout", "kind", "limits"),
    [
        (None, None, _OWN),
        (None, 30, Limits(idle_s=7, total_s=30)),
        (None, 200, _OWN),
        (5, None, Limits(idle_s=7, total_s=5)),
        (5, 30, Limits(idle_s=7, total_s=5)),
        (500, 30, Limits(idle_s=7, total_s=500)),
        (math.inf, 30, Limits(idle_s=7, total_s=math.inf)),
        (Limits(idle_s=1), 30, Limits(idle_s=1)),
    ],
)
def test_a_timeout_is_resolved(timeout: Any, kind: Any, limits: Limits) -> None:
    assert resolve(timeout, _OWN, kind) == limits


@pytest.mark.parametrize("timeout", [0, -1, True, "5", math.nan])
def test_an_impossible_timeout_is_a_value_error(timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"total_s|timeout"):
        resolve(timeout, _OWN)


@pytest.mark.parametrize(
    ("value", "said"), [(3.0, "3 s"), (0.25, "0.25 s"), (math.inf, "no limit"), (1800, "1800 s")]
)
def test_a_time_is_said_short(value: float, said: str) -> None:
    assert describe(value) == said


def test_a_token_tells_each_listener_once_it_is_thrown() -> None:
    token, heard = CancelToken(), []  # type: ignore[var-annotated]
    first: List[int] = heard

    def one() -> None:
        first.append(1)

    def two() -> None:
        first.append(2)

    token._subscribe(one)
    token._subscribe(two)
    token._unsubscribe(two)
    assert not token.cancelled
    token.cancel()
    assert (token.cancelled, heard) == (True, [1])
    token._subscribe(two)
    assert heard == [1, 2]
