"""The number of requests in flight: a window for each host, which finds its size by itself.

This module has no clock and sends nothing. It is told when requests start and end.

The window of a host grows while more requests in flight deliver more: first by doubling, and later
by careful trials. It is halved if the host is busy, if a limit expires, or if the first token takes
much longer than before. The measure of a size is the tokens of an answer for each second of its
request, times the size. It needs no long time to be exact, because each request counts by itself.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

#: Reports about the end of a request.
DELIVERED, BUSY, LOST, OTHER = "delivered", "busy", "lost", "other"

# A first size, if the server does not report its slots; and the largest size.
_FIRST, _MOST = 4, 256
# A doubled window must deliver this much more, and a smaller trial this much.
_DOUBLING_GAIN, _TRIAL_GAIN = 1.15, 1.04
# A smaller window is kept if it delivers at least this part.
_KEPT = 0.98
# Sizes are measured with at least so many requests.
_FEWEST = 3
# So many measures between two trials of another size; the pause grows with each useless trial.
_PAUSE, _LONGEST_PAUSE = 4, 64
# The first token may take so many times as long as before.
_SLOWER, _SLOWER_S = 2.5, 0.25


class Ended(NamedTuple):
    """The end of a request.

    Attributes:
        number: The number that `Window.start` returned.
        outcome: ``delivered``, ``busy``, ``lost`` (no connection, or it broke) or ``other``.
        elapsed_s: Seconds of the request.
        tokens: Tokens of the answer; 1 if they are not known.
        first_token_s: Seconds until the first token; None if it is not known.
    """

    number: int
    outcome: str
    elapsed_s: float
    tokens: int = 1
    first_token_s: Optional[float] = None


class Window:
    """The window of one host.

    Args:
        slots: Number of requests that the server works on at once; None if it does not report it.

    Attributes:
        size: How many requests may be in flight.
    """

    def __init__(self, slots: Optional[int] = None) -> None:
        self.size: int = min(slots or _FIRST, _MOST)
        self._rates: Dict[int, float] = {}
        self._best = 0
        self._is_growing = True
        self._pause = self._rest = _PAUSE
        self._trial_up = True
        self._started = 0
        self._first_of_size = 0
        self._usual_first_s: Optional[float] = None
        self._clear()

    def _clear(self) -> None:
        """Begin a new measure, with the requests that start from now on."""
        self._first_of_size = self._started
        self._tokens = self._seconds = 0.0
        self._count = 0
        self._firsts: List[float] = []

    def start(self) -> int:
        """Note the start of a request, and return its number."""
        self._started += 1
        return self._started - 1

    def end(self, ended: Ended) -> None:
        """Note the end of a request."""
        if ended.number < self._first_of_size:
            return  # it began with another size
        if ended.outcome in (BUSY, LOST):
            self._halve()
        elif ended.outcome == DELIVERED:
            self._count += 1
            self._tokens += ended.tokens
            self._seconds += max(ended.elapsed_s, 1e-9)
            if ended.first_token_s is not None:
                self._firsts.append(ended.first_token_s)
            if self._count >= max(_FEWEST, self.size):
                self._measure()

    def _halve(self) -> None:
        self._best = 0
        self._rates.clear()
        self._is_growing = False
        self._usual_first_s = None
        self._pause = self._rest = _PAUSE
        self._resize(max(1, self.size // 2))

    def _resize(self, size: int) -> None:
        self.size = min(max(1, size), _MOST)
        self._clear()

    # --- measures -----------------------------------------------------------------------------

    def _measure(self) -> None:
        """Compare the present size with the best one, and choose the next size."""
        rate = self.size * self._tokens / self._seconds
        if self._is_slow():
            self._halve()
            return
        known = self._rates.get(self.size)
        self._rates[self.size] = rate if known is None else (known + rate) / 2
        if not self._best:
            self._best = self.size
        if self._is_growing:
            self._grow(rate)
        elif self.size != self._best:
            self._judge_trial(rate)
        else:
            self._rest_or_try()

    def _is_slow(self) -> bool:
        """Return whether the first token takes much longer than it did with this size before."""
        if not self._firsts or self._is_growing or self.size != self._best:
            return False
        first = sum(self._firsts) / len(self._firsts)
        usual = self._usual_first_s
        self._usual_first_s = first if usual is None else usual * 0.9 + first * 0.1
        return usual is not None and self.size > 1 and first > usual * _SLOWER + _SLOWER_S

    def _grow(self, rate: float) -> None:
        if self.size == self._best or rate > self._rates[self._best] * _DOUBLING_GAIN:
            self._best = self.size
            self._resize(self.size * 2)
            if self.size == self._best:  # the largest size
                self._is_growing = False
        else:
            self._is_growing = False
            self._resize(self._best)

    def _judge_trial(self, rate: float) -> None:
        gain = _TRIAL_GAIN if self.size > self._best else _KEPT
        is_better = rate > self._rates[self._best] * gain
        if is_better:
            self._best, self._pause = self.size, _PAUSE
            self._usual_first_s = None
        else:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._rest = self._pause
        self._resize(self._best)

    def _rest_or_try(self) -> None:
        self._rest -= 1
        if self._rest > 0:
            self._clear()
            return
        self._trial_up = not self._trial_up
        step = max(1, self.size // 4)
        trial = self.size + step if self._trial_up or self.size == 1 else self.size - step
        self._resize(trial)


class Windows:
    """The windows of all hosts, or one fixed number for all of them together.

    Args:
        fixed: The fixed number; None finds the sizes automatically.
        slots: Slots of the hosts that are known, by their addresses.
    """

    def __init__(self, fixed: Optional[int], slots: Dict[str, Optional[int]]) -> None:
        self._fixed = fixed
        self._hosts: Dict[str, Window] = {host: Window(slots[host]) for host in slots}
        self._first = Window()

    @property
    def size(self) -> int:
        """How many requests may be in flight."""
        if self._fixed is not None:
            return self._fixed
        hosts = list(self._hosts.values())
        return sum(window.size for window in hosts) if hosts else self._first.size

    def start(self) -> Dict[str, int]:
        """Note the start of a request; return its number for each host that may get it."""
        return {host: window.start() for host, window in self._hosts.items()}

    def end(self, host: Optional[str], numbers: Dict[str, int], ended: Ended) -> None:
        """Note the end of a request.

        Args:
            host: The host that answered or failed; None if it is not known.
            numbers: The result of `start`.
            ended: The end; its number is not used.
        """
        if self._fixed is not None:
            return
        if host is None:
            host = next(iter(self._hosts), None) if len(self._hosts) == 1 else None
        if host is None:
            return
        if host not in self._hosts:
            self._hosts[host] = self._first if not self._hosts else Window()
        window = self._hosts[host]
        number = numbers.get(host)
        window.end(ended._replace(number=window.start() if number is None else number))
