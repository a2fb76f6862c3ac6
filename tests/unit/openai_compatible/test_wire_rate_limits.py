"""The waits in the headers of services."""

from __future__ import annotations

from typing import Any, Mapping

import pytest

from localproviders.openai_compatible.wire.rate_limits import wait_by_durations, wait_by_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1s", 1.0), ("6m0s", 360.0), ("12ms", 0.012), ("7.66s", 7.66), ("1h2m3s", 3723.0)),
        *(("2d", 172800.0), ("", None), ("6", None), ("soon", None), ("-1s", None), ("1s!", None)),
    ],
)
def test_a_duration_is_read(text: str, seconds: Any) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": text}
    assert wait_by_durations(headers) == seconds


def test_only_a_limit_that_is_used_up_counts() -> None:
    headers: Mapping[str, str] = {
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-reset-requests": "1d",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "3s",
    }
    assert wait_by_durations(headers) == 3.0
    assert wait_by_durations({**headers, "x-ratelimit-remaining-requests": "0"}) == 86400.0
    # Azure also sends -1, which says nothing.
    assert wait_by_durations({**headers, "x-ratelimit-remaining-tokens": "-1"}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1741305600000", 600.0), ("1741304000000", None), ("1741305600", None), ("x", None)],
)
def test_a_time_in_milliseconds_is_read(text: str, seconds: Any) -> None:
    headers = {"X-RateLimit-Reset": text}
    assert wait_by_time(headers, now=lambda: 1741305000.0) == seconds
    assert wait_by_time({}) is None
