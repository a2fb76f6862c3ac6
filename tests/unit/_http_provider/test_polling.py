"""A download that no longer makes progress."""

from __future__ import annotations

from localproviders import Limits
from localproviders._http_provider import polling
from localproviders.types import DownloadJob


def test_the_time_of_the_callers_own_code_is_not_a_stall() -> None:
    clock = [0.0]
    call = polling.PollingCall(Limits(idle_s=1), clock=lambda: clock[0])
    stall = polling.StallDetector(call)
    clock[0] = 5.0
    stall.exclude(5.0)
    assert stall.check(DownloadJob(status="downloading")) == 1.0


def test_the_waits_grow_up_to_the_longest() -> None:
    waits = polling.growing_waits(1.0, 2.0)
    assert [next(waits) for _ in range(4)] == [1.0, 1.5, 2.0, 2.0]
