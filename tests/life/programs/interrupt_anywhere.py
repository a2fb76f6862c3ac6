"""Interrupts calls at each line on their road, and looks at what is left after each."""

from __future__ import annotations

import gc
import os
import sys
from types import FrameType
from typing import Any, Callable, List, Set, Tuple

import localproviders
from localproviders import OpenAICompatibleProvider
from tests.life.programs.report import say, wait
from tests.life.serving import reply

_ROAD = os.path.join(os.path.dirname(localproviders.__file__), "_http", "")
_FDS = "/proc/self/fd"

# Its answer fits into no buffer: what is not read stays in the connection.
_LONG = "interrupted" + 50_000 * "x"

Place = Tuple[str, int]


class Interrupting:
    """Runs something, each time interrupted at the next line that was not reached before."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._seen: Set[Place] = set()
        self.place: Place = ("", 0)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        # Python swallows what is raised in a __del__.
        if not place[0].startswith(_ROAD) or frame.f_code.co_name == "__del__":
            return None
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            self.place = place
            sys.settrace(None)
            raise KeyboardInterrupt
        return self._trace

    def again(self) -> bool:
        """Run once more; False where no line was new."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            self._work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    @property
    def lines(self) -> int:
        return len(self._seen)


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir(_FDS)) if os.path.isdir(_FDS) else 0


def main(url: str) -> None:
    provider = OpenAICompatibleProvider(url, model="m")

    def work() -> None:
        with provider.stream(_LONG) as stream:
            next(stream)
        provider.chat(_LONG)
        provider.chat(_LONG)

    work()
    provider.close()
    before = _descriptors()
    interrupting = Interrupting(work)
    wrong: List[Any] = []
    while interrupting.again():
        if provider.chat("after").text != reply("after"):
            wrong.append(interrupting.place)
        if interrupting.lines % 2:  # so that some meet a kept connection, and some do not
            provider.close()
    provider.close()
    say([interrupting.lines, wrong, _descriptors() - before])
    wait()
