"""Addresses that the caller did not name: servers are listed, everything else is in `tried`."""

from __future__ import annotations

from typing import Any, Callable, Iterator

import pytest

from localproviders import CancelToken, Limits
from localproviders._address import parse_endpoint
from localproviders.discovery.candidates import Candidate
from localproviders.discovery.probe import ProbeResult, prepare, probe_address
from localproviders.testing import FakeOllama, ScriptedServer
from tests.support.locality import SilentListener
from tests.unit.discovery.support import closed_port, release_ports

#: Limits the response but not the connecting, because a slow machine needs time for that.
QUICK = Limits(load_s=0, first_token_s=0.3, idle_s=0.3)


@pytest.fixture(autouse=True)
def _ports() -> Iterator[None]:
    yield
    release_ports()


def _look(url: str, named: bool, limits: Limits = QUICK) -> ProbeResult:
    candidate = Candidate(parse_endpoint(url, default_port=80), "a usual port", is_named=named)
    return probe_address(candidate, limits, None, CancelToken(), prepare(candidate))


def _silent_after_the_head(exchange: Any) -> Any:
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", lambda _: exchange.hold()]


_SILENT = {
    "a port that accepts": SilentListener,
    "a head": lambda: ScriptedServer(_silent_after_the_head),
    "no word": lambda: ScriptedServer(lambda exchange: [lambda _: exchange.hold()]),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("how", _SILENT)
def test_a_server_that_accepts_and_stays_silent_is_no_empty_port(how: str, named: bool) -> None:
    make: Callable[[], Any] = _SILENT[how]
    with make() as server:
        seen = _look(server.url, named)
    assert seen.outcome == "unavailable"
    assert (seen.server is not None) is named


@pytest.mark.parametrize("named", [True, False])
def test_an_empty_port_is_listed_only_where_somebody_named_it(named: bool) -> None:
    seen = _look(f"http://127.0.0.1:{closed_port()}", named)
    assert seen.outcome == "nothing"
    assert (seen.server is not None) is named
    assert seen.latency_s is None


@pytest.mark.parametrize("named", [True, False])
def test_a_server_is_found_whether_named_or_not(named: bool) -> None:
    with FakeOllama(["m"]) as server:
        seen = _look(server.url, named, Limits())
    assert seen.outcome == "available"
    assert seen.server is not None and seen.server.kind == "ollama"
    assert seen.latency_s is not None
