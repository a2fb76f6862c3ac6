"""Stops a thread at each line of a call, forks there, and lets the child process make a call."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections import deque
from types import FrameType
from typing import Any, Callable, Deque, List, NoReturn, Optional, Set, Tuple

from localproviders import CancelToken, Limits, OpenAICompatibleProvider
from tests.promises.life.programs.report import send_result
from tests.promises.life.serving import reply

# Code that may hold a lock. Modules that only compute values are left out.
_FILES = (
    os.path.join("localproviders", "_http", ""),
    os.path.join("localproviders", "types", "cancel.py"),
    os.path.join("urllib3", "connectionpool.py"),
    os.path.join("urllib3", "poolmanager.py"),
    os.path.join("urllib3", "_collections.py"),
    "queue.py",
    "threading.py",
)
_LONGEST_S = 60
# The number of children that run at the same time, and of failures after which the test stops.
_MOST_CHILDREN = 3

Place = Tuple[str, int]


class _SteppedThread:
    """Runs a function in a thread that stops at each line when it first reaches it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._places: queue.Queue[Optional[Place]] = queue.Queue()
        self._resume = threading.Semaphore(0)
        self._seen: Set[Place] = set()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            self._work()
        finally:
            sys.settrace(before)
            self._places.put(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if not any(part in path for part in _FILES):
            return None
        place = (path, frame.f_lineno)
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            self._places.put(place)
            self._resume.acquire()
        return self._trace

    def for_each_line(self, action: Callable[[Place], None]) -> int:
        """Call a function while the thread is stopped at each line; return the number of lines."""
        self._thread.start()
        for place in iter(self._places.get, None):
            action(place)
            self._resume.release()
        self._thread.join()
        return len(self._seen)


class _Children:
    """Forks children that make a call, and records the lines at which a child failed."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._alive: Deque[Tuple[int, Place]] = deque()
        self.failed: List[Place] = []

    def fork(self, place: Place) -> None:
        if len(self.failed) >= _MOST_CHILDREN:
            return
        child = os.fork()
        if child == 0:
            self._run_child()
        self._alive.append((child, place))
        self.wait_until_left(_MOST_CHILDREN)

    def _run_child(self) -> NoReturn:
        signal.alarm(_LONGEST_S)  # the signal ends a child that waits for ever for a lock
        try:
            right = self._ask()
        except BaseException:
            right = False
        os._exit(0 if right else 1)

    def wait_until_left(self, number: int) -> None:
        while len(self._alive) > number:
            child, place = self._alive.popleft()
            if os.waitpid(child, 0)[1] != 0:
                self.failed.append(place)


def main(url: str) -> None:
    # The thread stands still while it connects, as long as the children run.
    limits = Limits(connect_s=_LONGEST_S)
    provider = OpenAICompatibleProvider(url, model="m", timeout=limits)
    token = CancelToken()

    def work() -> None:
        provider.stream("parent", cancel=token).close()
        provider.chat("parent", cancel=token)
        provider.close()

    def ask() -> bool:
        right = provider.chat("child", cancel=token).text == reply("child")
        provider.close()
        return right

    provider.chat("parent")
    children = _Children(ask)
    lines = _SteppedThread(work).for_each_line(children.fork)
    children.wait_until_left(0)
    send_result([lines, children.failed])
