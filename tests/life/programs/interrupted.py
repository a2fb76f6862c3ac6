"""Waits in one phase of a call until an interrupt comes, and tells what came of it."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
from typing import Any, Callable, Dict, Optional

from localproviders import OllamaProvider, OpenAICompatibleProvider
from tests.life.programs.report import say, wait

_FDS = "/proc/self/fd"


def _asks(url: str) -> None:
    OpenAICompatibleProvider(url, model="m").chat("Hi")


def _embeds(url: str) -> None:
    OllamaProvider(url, model="m").embed("Hi")


def _sends(url: str) -> None:
    OpenAICompatibleProvider(url, model="m").chat("x" * 50_000_000)


def _streams(url: str) -> None:
    for _ in OpenAICompatibleProvider(url, model="m").stream("Hi"):
        say("waiting")


def _connects(url: str) -> None:
    class Waiting(selectors.DefaultSelector):
        def select(self, timeout: Optional[float] = None) -> Any:
            say("waiting")
            return super().select(timeout)

    selectors.DefaultSelector = Waiting  # type: ignore[misc]  # nobody else looks
    _asks(url)


def _resolves(url: str) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        say("waiting")
        os.read(never, 1)

    never, _unused = os.pipe()
    socket.getaddrinfo = resolve
    _asks(url.replace("127.0.0.1", "a-name"))


def _shakes_hands(url: str) -> None:
    _asks(url.replace("http:", "https:"))


PHASES: Dict[str, Callable[[str], None]] = {
    "connecting": _connects,
    "resolving": _resolves,
    "agreeing on TLS": _shakes_hands,
    "sending": _sends,
    "waiting for the head": _asks,
    "waiting for vectors": _embeds,
    "in mid-stream": _streams,
}


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir(_FDS)) if os.path.isdir(_FDS) else 0


def main(url: str, phase: str, caught: str) -> None:
    # Where tests run in the background, a shell may have told its children to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if caught == "uncaught":
        PHASES[phase](url)
    before = _descriptors()
    try:
        PHASES[phase](url)
    except KeyboardInterrupt:
        say("interrupted")
    pipe_of_the_resolver = 2 if phase == "resolving" else 0
    wait()
    say(_descriptors() - before - pipe_of_the_resolver)
    wait()
