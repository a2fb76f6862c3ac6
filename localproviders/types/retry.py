"""How often a request is sent again where nothing can have happened twice."""

from __future__ import annotations

import math

from localproviders._record import Record, record


@record
class RetryPolicy(Record):
    """When a failed request is sent again, inside the call's `total_s`.

    Only these are repeated: nobody accepted the connection; a kept connection broke within a
    second, before the first byte of an answer; status 408, 429, 502, 503 and 504, Ollama's
    full queue among them (ollama-api §5.2). After the first byte of an answer, after a limit
    and after a refusal nothing is repeated: dropping a connection aborts the load that it
    waited for (ollama-api §3.8), so a timed-out load would never succeed.

    The waits double from `first_wait_s`, each shortened by up to half at random, so that
    many callers do not come back at once. A server's ``Retry-After`` counts instead where
    it gives one. A wait that does not fit into what is left of `total_s` is not begun: the
    server's error is raised at once.

    A download or upload of a model that the server makes for itself (`pull`, `push` on Ollama)
    is asked for again after it broke off or stood still, because it goes on where it stopped.
    There `attempts` counts those in a row that brought no byte more than any before.

    A server that says that it is loading its model is asked until `load_s` is over,
    however often that is.

    Attributes:
        attempts: How often a request is sent at most; 1 repeats nothing at all.
        first_wait_s: Seconds before the second attempt.
        longest_wait_s: Longest wait; a server that asks for more is not waited for.

    Raises:
        ValueError: `attempts` is below one, or a wait is no number of seconds.
    """

    attempts: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise ValueError(f"attempts is {self.attempts!r}, and must be a whole number")
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}, and must be at least 1")
        for name in ("first_wait_s", "longest_wait_s"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}, and must be a number of seconds")
