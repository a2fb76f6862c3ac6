"""Servers at the other loopback address, and one look at one address."""

from __future__ import annotations

import socket
import time
from typing import Any, List, Tuple

import pytest

from localproviders import Discovery, FoundServer, discover
from localproviders.testing import FakeLMStudio, FakeOllama

GRACE_S = 2.0


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


class _OnSix:
    """Listens at ::1 instead of 127.0.0.1."""

    def _listen(self: Any, port: int) -> None:
        super()._listen(0)  # type: ignore[misc]  # ScriptedServer's, beside this class
        self._listener.close()
        self._listener = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=128)
        self.port = self._listener.getsockname()[1]


class OllamaOnSix(_OnSix, FakeOllama):
    """An Ollama at ::1."""


class LMStudioOnSix(_OnSix, FakeLMStudio):
    """An LM Studio at ::1."""


#: Ports that are taken, so that nobody else can listen there meanwhile.
_taken: List[socket.socket] = []


def closed_port() -> int:
    """Give a port where nobody listens, on either loopback address, until the test ends."""
    four = socket.socket()
    _taken.append(four)
    four.bind(("127.0.0.1", 0))
    port = int(four.getsockname()[1])
    if has_ipv6():
        six = socket.socket(socket.AF_INET6)
        _taken.append(six)
        six.bind(("::1", port))
    return port


def give_ports_back() -> None:
    while _taken:
        _taken.pop().close()


def look_at(url: str, timeout_s: float = 5.0, **options: Any) -> FoundServer:
    """Give what is found at one address; the search ends in its time."""
    found, _ = timed(url, timeout_s=timeout_s, **options)
    (server,) = found.servers
    return server


def timed(*urls: str, timeout_s: float, **options: Any) -> Tuple[Discovery, float]:
    started = time.monotonic()
    found = discover(list(urls), timeout_s=timeout_s, **options)
    took_s = time.monotonic() - started
    assert took_s <= timeout_s + GRACE_S
    return found, took_s
