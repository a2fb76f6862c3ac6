"""The rate, the limits of failures, and the measure of what a run waits for."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import ConfigurationError
from localproviders.batch.pacing import Clockwork, Rate, check_positive, most_failures


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_starts_of_requests_are_spread_evenly() -> None:
    clock = _Clock()
    rate = Rate(4, clock)
    waits = []
    for _ in range(5):
        waits.append(rate.wait_s)
        clock.now += rate.wait_s
        rate.start()
    assert waits == [0, 0.25, 0.25, 0.25, 0.25]
    clock.now += 100  # a pause is not made up for
    rate.start()
    assert rate.wait_s == 0.25


def test_without_a_rate_nothing_waits() -> None:
    rate = Rate(None, _Clock())
    rate.start()
    assert rate.wait_s == 0


@pytest.mark.parametrize(
    ("given", "most"), [(None, None), (0, 0), (7, 7), ("5%", 10), ("0.5%", 1), (" 100% ", 200)]
)
def test_the_highest_number_of_failures(given: Any, most: Any) -> None:
    assert most_failures(given, 200) == most


@pytest.mark.parametrize("given", [-1, True, 1.5, "5", "101%", "%", "x%"])
def test_other_limits_are_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_failures is"):
        most_failures(given, 200)


@pytest.mark.parametrize("value", [0, -1, True, "5", float("nan")])
def test_numbers_must_be_positive(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"deadline_s is .*, and must be a number above 0"):
        check_positive("deadline_s", value)
    check_positive("deadline_s", None)
    check_positive("grace_s", 0, zero=True)


@pytest.mark.parametrize(
    ("server", "source", "own", "bound"),
    [(3, 1, 1, "server"), (1, 3, 1, "source"), (1, 1, 3, "preparation")],
)
def test_the_part_that_took_most_of_the_time(
    server: float, source: float, own: float, bound: str
) -> None:
    clock = _Clock()
    clockwork = Clockwork(clock)
    with clockwork.waiting("server"):
        clock.now += server

    def items() -> Any:
        clock.now += source
        yield 1

    for _ in clockwork.timed(items(), "source"):
        clock.now += own
    assert clockwork.bound_by == bound
