"""Decide whether a failed request is sent again, and how long to wait before that."""

from __future__ import annotations

import random
from typing import Callable, Optional

from localproviders._http.deadline import Call, sleep
from localproviders.errors import (
    LimitError,
    ProviderError,
    ServerBusyError,
    StreamInterruptedError,
    UnreachableError,
)
from localproviders.types.limits import RetryPolicy, describe

# Shortest and longest wait, in seconds, between two requests to a server that is loading its model.
_LOADING_WAITS_S = (0.05, 2.0)

# If the server closed a pooled connection before the request was sent, the connection breaks within
# this time after sending. If it breaks later, the server may have worked on the request, so the
# request must not be sent again.
_BREAKS_WITHIN_S = 1.0


class Attempts:
    """The attempts to send one request.

    Args:
        policy: The retry policy.
        call: The call to which all attempts belong.
        rand: Returns a random number from 0 up to 1, for the jitter. Tests pass their own function.
    """

    def __init__(
        self, policy: RetryPolicy, call: Call, rand: Callable[[], float] = random.random
    ) -> None:
        self._policy = policy
        self._call = call
        self._rand = rand
        self._loading_since: Optional[float] = None
        #: Number of attempts that do not count against the policy.
        self._uncounted = 0
        #: Number of the current attempt, from 1.
        self.number: int = 1

    def wait_before_next(self, error: ProviderError) -> Optional[float]:
        """Return the seconds to wait before the next attempt; None if there must not be one.

        Raises:
            LimitError: The server has been loading its model for `load_s`.
        """
        if self._policy.attempts == 1 or isinstance(error, LimitError):
            return None
        # A server that reports that it is loading its model is polled until `load_s` expires.
        # Polls are not failures, so they do not count against the number of attempts.
        if isinstance(error, ServerBusyError) and error.loading:
            self._uncounted += 1
            return self._limit_wait(self._loading_wait_s(error))
        if self.number - self._uncounted >= self._policy.attempts:
            return None
        if isinstance(error, StreamInterruptedError):
            return 0.0 if self._was_closed_before() else None
        if isinstance(error, UnreachableError):
            return self._limit_wait(self._backoff_s())
        # A service can say by a header that the same request will fail again.
        if isinstance(error, ServerBusyError) and error.retryable:
            return self._limit_wait(self._busy_wait_s(error))
        return None

    def pause(self, seconds: float, error: ProviderError) -> None:
        """Report the failed attempt to the listener, wait, and count the next attempt.

        Raises:
            CancelledError: The call was cancelled during the wait.
            LimitError: `total_s` expired during the wait.
        """
        call = self._call
        if call.on_retry is not None:
            call.on_retry(error, self.number, seconds)
        self.number += 1
        sleep(call, seconds)

    def repeat(self, error: Optional[ProviderError] = None) -> None:
        """Count another attempt, before the caller sends a changed request without waiting.

        The attempt does not count against the policy, because it does not repeat the request that
        failed.

        Args:
            error: The error of the failed attempt, for the listener. None if the failed attempt
                has been reported.

        Raises:
            CancelledError: The call was cancelled.
            LimitError: `total_s` expired.
        """
        self._uncounted += 1
        if error is None:
            self.number += 1
        else:
            self.pause(0.0, error)

    def _was_closed_before(self) -> bool:
        """Return whether the server seems to have closed the connection before it got the request.

        Only then is it safe to send the request again, because the server has not worked on it.
        """
        call = self._call
        late = call.sent_at is not None and call.clock() - call.sent_at > _BREAKS_WITHIN_S
        return call.reused and not call.got_bytes and not late

    def _backoff_s(self) -> float:
        return backoff_s(self._policy, self.number, self._rand)

    def _busy_wait_s(self, error: ServerBusyError) -> float:
        if error.retry_after_s is None:
            return self._backoff_s()
        # The jitter only lengthens the wait, because a client must not try again before the time
        # that the server named. The jitter keeps several clients from trying again at one moment.
        return error.retry_after_s * (1 + self._rand() / 10)

    def _loading_wait_s(self, error: ServerBusyError) -> float:
        call = self._call
        now = call.clock()
        if self._loading_since is None:
            self._loading_since = now
        load_s = call.limits.load_s
        if now - self._loading_since >= load_s:
            raise LimitError(
                f"the server was still loading its model after {describe(load_s)}",
                hint="to allow more time, pass timeout=Limits(load_s=...)",
                limit="load_s",
                limit_s=load_s,
                elapsed_s=call.elapsed_s,
                server_message=error.server_message,
            )
        least_s, most_s = _LOADING_WAITS_S
        return max(least_s, min(self._busy_wait_s(error), most_s))

    def _limit_wait(self, seconds: float) -> Optional[float]:
        """Return the wait; None if it exceeds the rest of the total, or `longest_wait_s`."""
        left = self._call.limits.total_s - self._call.elapsed_s
        # `_busy_wait_s` adds a jitter of up to 10 %. So that a `Retry-After` of `longest_wait_s` is
        # still accepted in spite of its jitter, the limit is 10 % higher.
        return seconds if seconds <= self._policy.longest_wait_s * 1.1 and seconds < left else None


def backoff_s(policy: RetryPolicy, number: int, rand: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after an attempt.

    The wait doubles with each attempt. A random part of the wait, up to one half, is subtracted.

    Args:
        policy: The retry policy.
        number: Number of the failed attempt, from 1.
        rand: Returns a random number from 0 up to 1.
    """
    # The exponent is limited, because `number` also counts the polls of a server that is loading
    # its model. There may be many of them.
    longest_s = policy.first_wait_s * 2.0 ** min(number - 1, 30)
    return min(longest_s, policy.longest_wait_s) * (1 - rand() / 2)


def cut_off(message: str, hint: Optional[str] = None) -> StreamInterruptedError:
    """Return the error for a response that was cut off; it is retryable.

    The same call may succeed later. But `Attempts` does not send the request again if the server
    may have worked on it.
    """
    hint = hint or "the server may have been stopped or restarted: check it, and call again"
    return StreamInterruptedError(message, hint=hint, retryable=True)
