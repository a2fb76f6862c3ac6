"""A server that keeps failing is left alone for a while."""

from __future__ import annotations

import time
from typing import Callable

#: So many failures in a row open a breaker.
FAILURES = 3
#: So many seconds it then stays open.
PAUSE_S = 30.0

Clock = Callable[[], float]


class Breaker:
    """The memory of one server's failures.

    Closed, it lets every call through. After `failures` in a row it opens: others are asked
    first. Behind the pause one call at a time may try again; its success closes the breaker,
    its failure opens it anew. It has no lock, because a fork can come while one is held: two
    threads at the same moment may both try, which does no harm.

    Args:
        failures: How many in a row open it.
        pause_s: Seconds that it stays open.
        clock: Seconds that never run backwards; tests pass their own.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause_s: float = PAUSE_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server is to be left alone now."""
        return self._in_a_row >= self._failures and self._clock() < self._try_at

    def trying(self) -> None:
        """Say that a call begins: behind a pause, others wait for what becomes of it."""
        if self._in_a_row >= self._failures:
            self._try_at = self._clock() + self._pause_s

    def undecided(self) -> None:
        """Say that the call ended without a word about the server: the next one may try."""
        self._try_at = self._clock()

    def failed(self, times: int = 1) -> None:
        """Say that the server failed, so many times."""
        self._in_a_row += times
        self.trying()

    def succeeded(self) -> None:
        """Say that the server did what was asked."""
        self._in_a_row = 0
