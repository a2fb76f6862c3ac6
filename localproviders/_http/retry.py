"""Whether a failed request is sent again, and how long to wait before that."""

from __future__ import annotations

import random
from typing import Callable, Optional

from localproviders._http.deadline import Call, rest
from localproviders.errors import (
    BusyError,
    LimitError,
    ProviderError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.types.limits import describe
from localproviders.types.retry import RetryPolicy

# A server that is loading its model is asked neither more nor less often than so.
_LOADING_WAITS_S = (0.05, 2.0)

# A kept connection that the server had closed breaks at once. One that breaks later may
# have been used for work.
_AT_ONCE_S = 1.0


class Attempts:
    """The sendings of one request.

    Args:
        policy: What is repeated, and how often.
        call: The call that they all belong to.
        rand: Gives the jitter, from 0 up to 1; tests pass their own.
    """

    def __init__(
        self, policy: RetryPolicy, call: Call, rand: Callable[[], float] = random.random
    ) -> None:
        self._policy = policy
        self._call = call
        self._rand = rand
        self._loading_since: Optional[float] = None
        self._polls = 0
        #: How often the request has been sent, the running attempt included.
        self.number = 1

    def wait_before_next(self, error: ProviderError) -> Optional[float]:
        """Give the seconds to wait before the next attempt; None if there is to be none.

        Raises:
            LimitError: The server has been loading its model for `load_s`.
        """
        if self._policy.attempts == 1 or isinstance(error, LimitError):
            return None
        if isinstance(error, BusyError) and error.loading:
            self._polls += 1
            return self._fitting(self._loading_wait_s(error))
        if self.number - self._polls >= self._policy.attempts:
            return None
        if isinstance(error, StreamInterruptedError):
            return 0.0 if self._met_the_closing() else None
        if isinstance(error, UnreachableError):
            return self._fitting(self._backoff_s())
        if isinstance(error, BusyError):
            return self._fitting(self._busy_s(error))
        return None

    def pause(self, seconds: float, error: ProviderError) -> None:
        """Wait, tell whoever listens, and count the next attempt.

        Raises:
            CancelledError: The call was cancelled meanwhile.
            LimitError: The total ran out.
        """
        call = self._call
        if call.on_retry is not None:
            call.on_retry(error, self.number, seconds)
        self.number += 1
        rest(call, seconds)

    def _met_the_closing(self) -> bool:
        """Whether the server had closed this kept connection before the request came."""
        call = self._call
        late = call.sent_at is not None and call.clock() - call.sent_at > _AT_ONCE_S
        return call.reused and not call.got_bytes and not late

    def _backoff_s(self) -> float:
        return backoff_s(self._policy, self.number, self._rand)

    def _busy_s(self, error: BusyError) -> float:
        if error.retry_after_s is None:
            return self._backoff_s()
        # Not earlier than asked for, and not all callers at the same moment.
        return error.retry_after_s * (1 + self._rand() / 10)

    def _loading_wait_s(self, error: BusyError) -> float:
        call = self._call
        now = call.clock()
        if self._loading_since is None:
            self._loading_since = now
        load_s = call.limits.load_s
        if now - self._loading_since >= load_s:
            raise LimitError(
                f"the server was still loading its model after {describe(load_s)}",
                hint="raise it with timeout=Limits(load_s=...)",
                limit="load_s",
                limit_s=load_s,
                elapsed_s=call.elapsed_s,
                server_message=error.server_message,
            )
        least_s, most_s = _LOADING_WAITS_S
        return max(least_s, min(self._busy_s(error), most_s))

    def _fitting(self, seconds: float) -> Optional[float]:
        left = self._call.limits.total_s - self._call.elapsed_s
        # The jitter on top of a server's wish may pass the longest wait.
        return seconds if seconds <= self._policy.longest_wait_s * 1.1 and seconds < left else None


def backoff_s(policy: RetryPolicy, number: int, rand: Callable[[], float] = random.random) -> float:
    """Give the seconds to wait behind the attempt of this number, from 1."""
    # The exponent is bounded because a loading server may be asked very often.
    longest_s = policy.first_wait_s * 2.0 ** min(number - 1, 30)
    return min(longest_s, policy.longest_wait_s) * (1 - rand() / 2)
