"""Limits for the number of requests in flight: one window for each host, with an adaptive size.

The size of a window is the number of requests that may be in flight to the host. This module has
no clock and sends nothing. The caller reports the start and the end of each request.

The window of a host grows while a larger size gives a higher throughput: first by doubling, and
later by small trials. It is halved if the host is busy, if a request gets no connection or loses
it, if a time limit expires, or if the first token takes much longer than before. The throughput of
a size is the mean number of tokens per second of a single request, times the size. A few requests
are enough for this estimate, because each request is measured by itself.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

#: The outcomes of a request.
DELIVERED, BUSY, LOST, OTHER = "delivered", "busy", "lost", "other"

# The first size, if the server does not report how many slots it has; and the largest size.
_FIRST, _MOST = 4, 256
# A doubled size is kept if its throughput is more than this many times that of the best size. A
# trial of a size that is a little larger needs less: the second factor.
_DOUBLING_GAIN, _TRIAL_GAIN = 1.15, 1.04
# A smaller size is kept if it has more than this share of the throughput of the best size.
_KEPT = 0.98
# A size is measured with at least this many requests.
_FEWEST = 3
# Number of measurements between two trials of another size. This number is doubled after each trial
# that brought no gain, up to the second number.
_PAUSE, _LONGEST_PAUSE = 4, 64
# The first token is slow if it takes more than this many times as long as before, plus this many
# seconds.
_SLOWER, _SLOWER_S = 2.5, 0.25


class Ended(NamedTuple):
    """The end of a request.

    Attributes:
        number: The number that `Window.start` returned.
        outcome: ``delivered``, ``busy`` (or a time limit expired), ``lost`` (the connection failed
            or broke) or ``other``.
        elapsed_s: Duration of the request in seconds.
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
        slots: Number of requests that the server works on at the same time; None if the server does
            not report this number.

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
        """Begin a new measurement. Only requests that start from now on count."""
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
            return  # the request began while the window had another size
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

    # --- measurements -----------------------------------------------------------------------------

    def _measure(self) -> None:
        """Compare the throughput of the present size and the best size; choose the next size."""
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
        """Return whether the first token takes much longer than before with the same size."""
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
        slots: Number of slots of each known host, by its address; None if the host does not
            report it.
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
        """Note the start of a request; return its number in the window of each known host."""
        return {host: window.start() for host, window in self._hosts.items()}

    def end(self, host: Optional[str], numbers: Dict[str, int], ended: Ended) -> None:
        """Note the end of a request.

        Args:
            host: The host that answered or failed; None if it is not known.
            numbers: The result of `start`.
            ended: The end of the request. The value of its attribute `number` is ignored.
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
