"""Ending a call from outside."""

from __future__ import annotations

from typing import Callable, Set


class CancelToken:
    """A switch that ends every call it was given to; usable from any thread.

    One token may go to many calls. Once thrown it stays so: later calls with it fail at
    once. A signal handler may throw it.
    """

    def __init__(self) -> None:
        # No lock, because a signal handler or a fork can come while it is held. It goes
        # without: whoever subscribes looks at the mark afterwards, and whoever throws looks
        # at the listeners afterwards, so that one of the two sees the other.
        self._cancelled = False
        self._listeners: Set[Callable[[], None]] = set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the calls: each raises `CancelledError` with its text so far."""
        self._cancelled = True
        for listener in list(self._listeners):
            listener()

    def _subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.add(listener)
        if self._cancelled:
            listener()

    def _unsubscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.discard(listener)
