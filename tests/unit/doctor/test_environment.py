"""The hosts that `NO_PROXY` exempts, compared with the package requests."""

from __future__ import annotations

import pytest
from requests.utils import should_bypass_proxies

from localproviders.doctor.environment import is_exempt


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(
    "no_proxy",
    [
        "",
        "127.0.0.1",
        "localhost",
        "localhost,127.0.0.1,::1",
        " localhost , 127.0.0.1 ",
        "127.0.0.0/8",
        "10.0.0.0/8,localhost",
        "127.0.0.0/99",
        "example.com",
        ".example.com,.localhost",
    ],
)
def test_the_answer_is_the_one_of_requests(
    no_proxy: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", no_proxy)
    expected = should_bypass_proxies(f"http://{host}", no_proxy=no_proxy)
    assert is_exempt(no_proxy, host) is bool(expected)


def test_an_asterisk_exempts_every_host() -> None:
    assert is_exempt("*", "127.0.0.1") and is_exempt("*", "localhost")


def test_the_end_of_a_name_exempts_nothing() -> None:
    assert not is_exempt("host", "localhost")
