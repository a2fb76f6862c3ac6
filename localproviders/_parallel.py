"""A runner of functions in threads. The threads end with the public call that started them."""

from __future__ import annotations

import contextvars
import threading
from typing import Callable, Dict, Generic, Sequence, TypeVar

from localproviders._interrupts import is_callers

T = TypeVar("T")


class ParallelWork(Generic[T]):
    """A runner of functions in threads.

    The functions are started in order, and at most `most` of them run at the same time. Each
    function sees the context variables of the thread that made this object. The threads are
    daemons, so a function that never returns does not keep the program from ending.

    Args:
        functions: The functions.
        most: The maximum number of functions that run at the same time.
    """

    def __init__(self, functions: Sequence[Callable[[], T]], most: int) -> None:
        self._functions = functions
        self._contexts = [contextvars.copy_context() for _ in functions]
        self._ended = [threading.Event() for _ in functions]
        self._results: Dict[int, T] = {}
        self._errors: Dict[int, BaseException] = {}
        self._begun = self._given = 0
        self._stopped = False
        # Only the worker threads take the lock. `stop` must not wait for it, because a signal
        # handler may call `stop`.
        self._lock = threading.Lock()
        self._threads = [self._thread() for _ in range(min(most, len(functions)))]

    def _thread(self) -> threading.Thread:
        return threading.Thread(target=self._work, name="localproviders-tool", daemon=True)

    def start(self) -> None:
        """Start the threads. If none can be started, `take` runs the functions."""
        # This is not done by the constructor: after an interrupt, the caller must be able to stop
        # the threads that have started.
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:  # too many threads: the started ones do the work
            if is_callers(error):
                raise
            if not any(thread.is_alive() for thread in self._threads):
                self._threads = []

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run the next function; return whether there was one."""
        with self._lock:
            number = self._begun
            if self._stopped or number == len(self._functions):
                return False
            self._begun += 1
        try:
            self._results[number] = self._contexts[number].run(self._functions[number])
        except BaseException as error:  # raised by `take`, in the thread of the caller
            self._errors[number] = error
        finally:
            self._ended[number].set()
        return True

    @property
    def has_more(self) -> bool:
        """Whether `take` has not yet returned the results of all functions that have started.

        Some of these functions may still be running.
        """
        return self._given < self._begun

    def take(self, wait: Callable[[threading.Event], object]) -> T:
        """Return the result of the next function, in the order of the functions.

        Args:
            wait: A function that waits for an event, and raises an error if the public call ends
                before the event.

        Raises:
            BaseException: The function, or `wait`, raised this exception.
        """
        if not self._threads:
            self._run_next()
        wait(self._ended[self._given])
        number, self._given = self._given, self._given + 1
        if number in self._errors:
            raise self._errors.pop(number)
        return self._results.pop(number)

    def stop(self) -> None:
        """Start no further function, and wait until the running ones have ended.

        If one of the functions calls this method, the method does not wait. After an interrupt of
        the wait, later calls do not wait either.
        """
        self._stopped = True
        if threading.current_thread() in self._threads:
            return
        try:
            for thread in self._threads:
                if thread.is_alive():
                    thread.join()
        except BaseException:  # an interrupt: the caller does not want to wait any longer
            self._threads = []
            raise
