"""Stops another thread at each line of a call, forks there, and lets the child ask."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections import deque
from types import FrameType
from typing import Any, Callable, Deque, List, NoReturn, Optional, Set, Tuple

from localproviders import CancelToken, OpenAICompatibleProvider
from tests.life.programs.report import say
from tests.life.serving import reply

# Where a lock could be: what only works on values is left out.
_FILES = (
    os.path.join("localproviders", "_http", ""),
    os.path.join("localproviders", "types", "cancel.py"),
    os.path.join("urllib3", "connectionpool.py"),
    os.path.join("urllib3", "poolmanager.py"),
    os.path.join("urllib3", "_collections.py"),
    "queue.py",
    "threading.py",
)
_LONGEST_S = 5
_ENOUGH = 3

Place = Tuple[str, int]


class _Stopping:
    """Runs something in a thread that stops at each line that it has not seen."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._places: queue.Queue[Optional[Place]] = queue.Queue()
        self._go_on = threading.Semaphore(0)
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
            self._go_on.acquire()
        return self._trace

    def at_each(self, act: Callable[[Place], None]) -> int:
        """Give the number of lines."""
        self._thread.start()
        for place in iter(self._places.get, None):
            act(place)
            self._go_on.release()
        self._thread.join()
        return len(self._seen)


class _Children:
    """Forks children that ask, a few at a time, and notes those that did not end well."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._alive: Deque[Tuple[int, Place]] = deque()
        self.bad: List[Place] = []

    def fork(self, place: Place) -> None:
        if len(self.bad) >= _ENOUGH:
            return
        child = os.fork()
        if child == 0:
            self._be_the_child()
        self._alive.append((child, place))
        self.wait_for_all_but(_ENOUGH)

    def _be_the_child(self) -> NoReturn:
        signal.alarm(_LONGEST_S)  # a lock that nobody gives back ends the child
        try:
            right = self._ask()
        except BaseException:
            right = False
        os._exit(0 if right else 1)

    def wait_for_all_but(self, number: int) -> None:
        while len(self._alive) > number:
            child, place = self._alive.popleft()
            if os.waitpid(child, 0)[1] != 0:
                self.bad.append(place)


def main(url: str) -> None:
    provider = OpenAICompatibleProvider(url, model="m")
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
    lines = _Stopping(work).at_each(children.fork)
    children.wait_for_all_but(0)
    say([lines, children.bad])
