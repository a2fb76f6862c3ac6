"""Interrupts calls at each line of the HTTP code, and checks the next call after each interrupt."""

from __future__ import annotations

import gc
import os
import sys
from types import FrameType
from typing import Any, Callable, List, Set, Tuple

import localproviders
from localproviders import OpenAICompatibleProvider
from localproviders._http.socket import BoundedSocket
from tests.promises.life.programs.report import send_result, wait_for_test
from tests.promises.life.serving import reply
from tests.support.secrets import first_line, leaks
from tests.support.walking import KEY

_HTTP_FOLDER = os.path.join(os.path.dirname(localproviders.__file__), "_http", "")
_FDS = "/proc/self/fd"

# The response to this question fits into no buffer: unread bytes stay in the connection.
_LONG = "interrupted" + 50_000 * "x"

Place = Tuple[str, int]

# http.client passes the request with the key to this function. Until its first line has run, its
# frame holds the request.
_SENDALL = BoundedSocket.sendall.__code__
_PASSED: Place = (_SENDALL.co_filename, first_line(_SENDALL))


class InterruptedRuns:
    """Runs a function repeatedly and interrupts each run at a line that was not reached before."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._seen: Set[Place] = set()
        self.place: Place = ("", 0)
        #: The places where a frame of this package showed the key.
        self.leaks: Set[str] = set()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        # Python swallows an exception in a __del__.
        if not place[0].startswith(_HTTP_FOLDER) or frame.f_code.co_name == "__del__":
            return None
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            self.place = place
            sys.settrace(None)
            raise KeyboardInterrupt
        return self._trace

    def run(self) -> bool:
        """Run the function once; return False if it reached no new line."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            self._work()
        except KeyboardInterrupt as error:
            if self.place != _PASSED:
                self.leaks.update(leaks(error, words=False))
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
    provider = OpenAICompatibleProvider(url, model="m", api_key=KEY)

    def work() -> None:
        with provider.stream(_LONG) as stream:
            next(stream)
        provider.chat(_LONG)
        provider.chat(_LONG)

    work()
    provider.close()
    before = _descriptors()
    # A collection inside a run would call the finalizers of earlier pools, and Python prints and
    # swallows an exception in a finalizer.
    gc.disable()
    runs = InterruptedRuns(work)
    wrong: List[Any] = []
    while runs.run():
        if provider.chat("after").text != reply("after"):
            wrong.append(runs.place)
        if runs.lines % 2:  # so that only every second run has a kept connection
            provider.close()
    provider.close()
    send_result([runs.lines, wrong, _descriptors() - before, sorted(runs.leaks)])
    wait_for_test()
