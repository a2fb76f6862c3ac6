"""Ending a call from outside."""

from __future__ import annotations

import threading
from typing import Callable, Set


class CancelToken:
    """A switch that ends every call it was given to; usable from any thread.

    One token may go to many calls. Once thrown it stays so: later calls with it fail at
    once. A signal handler may throw it.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler can interrupt a thread that holds the lock.
        self._lock = threading.RLock()
        self._cancelled = False
        self._listeners: Set[Callable[[], None]] = set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the calls: each raises `CancelledError` with its text so far."""
        with self._lock:
            self._cancelled = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def _subscribe(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.add(listener)
            cancelled = self._cancelled
        if cancelled:
            listener()

    def _unsubscribe(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.discard(listener)
