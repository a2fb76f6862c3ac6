"""Waiting for work that the server does in the background: the client asks again and again."""

from __future__ import annotations

from typing import Callable, Iterator, Optional, TypeVar

from localproviders._http.deadline import ANSWERING, AWAITING, TRANSFERRING, Call, Phase, sleep
from localproviders._http.retry import backoff_s
from localproviders.errors import LimitError, StreamInterruptedError, UnreachableError
from localproviders.types.limits import RetryPolicy, describe
from localproviders.types.models import DownloadJob

T = TypeVar("T")

_STILL_RUNNING = "the server continues the download by itself; call pull again to follow it"


def growing_waits(first_s: float, longest_s: float) -> Iterator[float]:
    """Yield the seconds to wait before each further request, without end.

    Each wait is one and a half times as long as the wait before it, up to `longest_s`.
    """
    wait_s = first_s
    while True:
        yield wait_s
        wait_s = min(wait_s * 1.5, longest_s)


def ask_again(ask: Callable[[], T], policy: RetryPolicy, call: Call) -> T:
    """Return the result of `ask`; call it again if the connection fails.

    A failed request for the status does not end the work of the server. So it must not end the call
    that waits for this work.

    Raises:
        ProviderError: `ask` raised another error, or all attempts of the policy have failed.
    """
    number = 1
    while True:
        try:
            return ask()
        except (StreamInterruptedError, UnreachableError) as error:
            if number >= policy.attempts:
                raise
            wait_s = backoff_s(policy, number)
            if call.on_retry is not None:
                call.on_retry(error, number, wait_s)
        sleep(call, wait_s)
        number += 1


class PollingCall(Call):
    """A call that sends status requests repeatedly, perhaps for hours.

    None of its requests loads a model, so none needs the long limit `load_s`. Each response must
    be complete within `idle_s`; the bytes of a slow response do not restart this limit.
    """

    def enter(self, phase: Phase) -> None:
        # In the phase ANSWERING, each read may take `idle_s`. So this phase is never entered, and
        # the limit of TRANSFERRING keeps running until the response is complete.
        if phase is not ANSWERING:
            super().enter(phase)
        if phase is AWAITING:
            super().enter(TRANSFERRING)


class StallDetector:
    """Detector for a download whose byte count no longer changes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._bytes: Optional[int] = None
        self._since = call.clock()

    def exclude(self, seconds: float) -> None:
        """Exclude the time that the caller's progress callback took."""
        self._since += seconds

    def check(self, job: DownloadJob) -> float:
        """Return the seconds for which the byte count may stay unchanged from now on.

        Raises:
            LimitError: The count has not changed for `idle_s`; or for `load_s` if all bytes
                have arrived and the server is still processing them.
        """
        now, limits = self._call.clock(), self._call.limits
        if job.completed_bytes != self._bytes:
            self._bytes, self._since = job.completed_bytes, now
        has_all = self._bytes is not None and self._bytes == job.total_bytes
        limit, limit_s = ("load_s", limits.load_s) if has_all else ("idle_s", limits.idle_s)
        left_s = self._since + limit_s - now
        if left_s > 0:
            return left_s
        count = "an unknown number of" if self._bytes is None else f"{self._bytes:,}"
        raise LimitError(
            f"the download has status {job.status!r}, and stayed at {count} bytes for "
            f"{describe(limit_s)}",
            hint=f"{_STILL_RUNNING}; raise the limit with timeout=Limits({limit}=...)",
            limit=limit,
            limit_s=limit_s,
            elapsed_s=self._call.elapsed_s,
        )
