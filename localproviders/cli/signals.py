"""Ends a run after SIGTERM, when the terminal is closed, or at the deadline."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, Callable, Dict, Optional

from localproviders.cli.usage import CLOSED, INTERRUPTED, LIMIT, TERMINATED, Stopped

# Seconds after which the exception is raised again. The first one can be lost, because Python drops
# an exception that is raised while an object is being removed from memory.
_AGAIN_S = 0.2
_HAS_TIMER = hasattr(signal, "setitimer")


class Signals:
    """Raises `Stopped` in the main thread when the run must end; use it in a ``with`` block.

    The exception ends the call that is running, and the call closes its connection. SIGINT is left
    to Python, which raises `KeyboardInterrupt`. A signal that was ignored before, such as SIGHUP
    under ``nohup``, stays ignored. On systems without interval timers, such as Windows, nothing
    is raised at the deadline: only the limits of each call apply.

    Args:
        deadline_s: Seconds until the run must end; None for no deadline.
    """

    def __init__(self, deadline_s: Optional[float]) -> None:
        self._deadline_s = deadline_s
        self._before: Dict[int, Any] = {}
        self._stopped: Optional[Stopped] = None
        self._started_s = time.monotonic()

    @property
    def left_s(self) -> Optional[float]:
        """Seconds until the deadline, at least a millisecond; None if there is none."""
        if self._deadline_s is None:
            return None
        return max(0.001, self._started_s + self._deadline_s - time.monotonic())

    def hand_over(self, stop: Callable[[Stopped], object]) -> None:
        """Call a function at SIGTERM, SIGHUP and Ctrl-C, instead of raising an exception.

        A second signal ends the process immediately, with the exit code of the second signal. From
        now on, this class does not keep the deadline: the work must keep it.

        Args:
            stop: The function. It is called in a signal handler, so it must not wait.
        """
        if not self._before:
            return  # not the main thread
        if _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for name, code in (
            ("SIGTERM", TERMINATED),
            ("SIGHUP", CLOSED),
            ("SIGINT", INTERRUPTED),
        ):
            self._handle(name, Stopped(code), lambda stopped: self._stop_or_end(stopped, stop))

    def _stop_or_end(self, stopped: Stopped, stop: Callable[[Stopped], object]) -> None:
        if self._stopped is not None:
            os._exit(stopped.exit_code)
        self._stopped = stopped
        stop(stopped)

    def __enter__(self) -> Signals:
        self._started_s = time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may change handlers
        for name, code in (("SIGTERM", TERMINATED), ("SIGHUP", CLOSED)):
            self._handle(name, Stopped(code))
        if self._deadline_s is not None:
            text = f"the deadline of {self._deadline_s:g} s has passed (hint: a longer --deadline)"
            self._handle("SIGALRM", Stopped(LIMIT, text))
            if _HAS_TIMER:
                signal.setitimer(signal.ITIMER_REAL, self._deadline_s, _AGAIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Restore the earlier handlers. From now on, no `Stopped` is raised."""
        if self._before and _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _handle(
        self, name: str, stopped: Stopped, act: Optional[Callable[[Stopped], object]] = None
    ) -> None:
        act = act or self._stop
        number = getattr(signal, name, None)
        is_ignored = number is None or signal.getsignal(number) == signal.SIG_IGN
        if number is not None and (name == "SIGALRM" or not is_ignored):
            before = signal.signal(number, lambda *_: act(stopped))
            self._before.setdefault(number, before)

    def _stop(self, stopped: Stopped) -> None:
        if self._stopped is None:
            self._stopped = stopped
            self._handle("SIGALRM", stopped)
            if _HAS_TIMER:
                signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise self._stopped.with_traceback(None)
