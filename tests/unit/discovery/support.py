"""Servers at the IPv6 loopback address, closed ports, and searches at given addresses."""

from __future__ import annotations

import socket
import time
from typing import Any, List, Tuple

import pytest

from localproviders import Discovery, FoundServer, discover
from localproviders.testing import FakeLMStudio, FakeOllama
from tests.support.timing import GRACE_S


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


class _OnIPv6:
    """Makes a scripted server listen at ::1 instead of 127.0.0.1."""

    def _listen(self: Any, port: int) -> None:
        super()._listen(0)  # type: ignore[misc]  # the other base class has it
        self._listener.close()
        self._listener = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=128)
        self.port = self._listener.getsockname()[1]


class OllamaOnIPv6(_OnIPv6, FakeOllama):
    """A fake Ollama at ::1."""


class LMStudioOnIPv6(_OnIPv6, FakeLMStudio):
    """A fake LM Studio at ::1."""


#: Bound sockets, so that no other process can listen at their ports during a test.
_reserved: List[socket.socket] = []


def closed_port() -> int:
    """Return a port that is closed on both loopback addresses until the test ends."""
    four = socket.socket()
    _reserved.append(four)
    four.bind(("127.0.0.1", 0))
    port = int(four.getsockname()[1])
    if has_ipv6():
        six = socket.socket(socket.AF_INET6)
        _reserved.append(six)
        six.bind(("::1", port))
    return port


def release_ports() -> None:
    """Release the ports that `closed_port` has reserved."""
    while _reserved:
        _reserved.pop().close()


def find_server(url: str, timeout_s: float = 30.0, **options: Any) -> FoundServer:
    """Search at one address and return the server that was found there."""
    found, _ = timed_search(url, timeout_s=timeout_s, **options)
    (server,) = found.servers
    return server


def timed_search(*urls: str, timeout_s: float, **options: Any) -> Tuple[Discovery, float]:
    """Return the result of a search and its duration; check that it ended within its limit."""
    started = time.monotonic()
    found = discover(list(urls), timeout_s=timeout_s, **options)
    took_s = time.monotonic() - started
    assert took_s <= timeout_s + GRACE_S
    return found, took_s
