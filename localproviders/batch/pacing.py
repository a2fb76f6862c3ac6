"""Limits and measurements of a run, without I/O: its rate, its failures, and its waits."""

from __future__ import annotations

import contextlib
import re
from typing import Callable, Dict, Iterable, Iterator, Optional, TypeVar, Union

from localproviders.errors import ConfigurationError

T = TypeVar("T")

#: Highest number of failed rows: a number, or a percentage of all rows such as ``5%``.
MaxFailures = Union[int, str, None]


class Rate:
    """A limit for the number of requests per second.

    Args:
        per_s: The limit; None is no limit.
        clock: Returns the time in seconds.
    """

    def __init__(self, per_s: Optional[float], clock: Callable[[], float]) -> None:
        self._pause_s = 0.0 if per_s is None else 1.0 / per_s
        self._clock = clock
        self._next = clock()

    @property
    def wait_s(self) -> float:
        """Seconds until the next request may start; 0 if it may start now."""
        return max(0.0, self._next - self._clock()) if self._pause_s else 0.0

    def start(self) -> None:
        """Note the start of a request. A pause does not allow more requests afterwards."""
        self._next = max(self._next, self._clock()) + self._pause_s


class Clockwork:
    """A measurement of what takes the time of a run: the servers, the source, or its own work.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._spent: Dict[str, float] = {"server": 0.0, "source": 0.0}

    @contextlib.contextmanager
    def waiting(self, part: str) -> Iterator[None]:
        """Count the time of a ``with`` block for ``server`` or ``source``."""
        started = self._clock()
        try:
            yield
        finally:
            self._spent[part] += self._clock() - started

    def timed(self, items: Iterable[T], part: str) -> Iterator[T]:
        """Yield items, and count the time that it takes to get them."""
        spent, clock = self._spent, self._clock
        started = clock()
        for item in items:
            spent[part] += clock() - started
            yield item
            started = clock()
        spent[part] += clock() - started

    @property
    def bound_by(self) -> str:
        """The part that took most of the time; all other time is ``preparation``."""
        rest = self._clock() - self._started - sum(self._spent.values())
        parts = {**self._spent, "preparation": rest}
        return max(parts, key=lambda part: parts[part])


def most_failures(given: MaxFailures, rows: int) -> Optional[float]:
    """Return how many rows may fail; None is no limit.

    Args:
        given: The argument of the caller.
        rows: Number of all rows.

    Raises:
        ConfigurationError: The argument is neither a number nor a text such as ``5%``.
    """
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", given.strip()) if isinstance(given, str) else None
    if match is None or float(match.group(1)) > 100:  # per cent
        raise ConfigurationError(
            f"max_failures is {given!r}, and must be a number of rows, or a percentage such as '5%'"
        )
    return rows * float(match.group(1)) / 100


def check_positive(name: str, value: Optional[float], *, zero: bool = False) -> None:
    """Check that an argument is a number above zero, or None.

    Args:
        name: Name of the argument.
        value: The value to check.
        zero: Whether zero is allowed, too.

    Raises:
        ConfigurationError: The value is neither.
    """
    if value is None:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not (value > 0 or (zero and value == 0)):
        least = "0 or more" if zero else "above 0"
        raise ConfigurationError(f"{name} is {value!r}, and must be a number {least}")
