"""Waits in one phase of a call for an interrupt, and reports how the call ended."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
from typing import Any, Callable, Dict, List, Optional

from localproviders import OllamaProvider, OpenAICompatibleProvider
from localproviders._http.deadline import Call
from tests.promises.life.programs.report import send_result, wait_for_test

_FDS = "/proc/self/fd"


def _chat(url: str) -> None:
    OpenAICompatibleProvider(url, model="m").chat("Hi")


def _embed(url: str) -> None:
    OllamaProvider(url, model="m").embed("Hi")


def _send_large_prompt(url: str) -> None:
    OpenAICompatibleProvider(url, model="m").chat("x" * 50_000_000)


def _stream(url: str) -> None:
    for _ in OpenAICompatibleProvider(url, model="m").stream("Hi"):
        send_result("waiting")


def _connect(url: str) -> None:
    class Waiting(selectors.DefaultSelector):
        def select(self, timeout: Optional[float] = None) -> Any:
            send_result("waiting")
            return super().select(timeout)

    selectors.DefaultSelector = Waiting  # type: ignore[misc]  # only this process uses it
    _chat(url)


def _connect_to_socket(url: str) -> None:
    wait = Call.wait_for

    def wait_for(call: Call, *args: Any) -> bool:
        if not waited:
            waited.append(True)
            send_result("waiting")
        return wait(call, *args)

    waited: List[bool] = []
    Call.wait_for = wait_for  # type: ignore[method-assign]  # only this process uses it
    _chat(url)


def _resolve(url: str) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        send_result("waiting")
        os.read(never, 1)

    never, _unused = os.pipe()
    socket.getaddrinfo = resolve
    _chat(url.replace("127.0.0.1", "a-name"))


def _shake_hands(url: str) -> None:
    _chat(url.replace("http:", "https:"))


PHASES: Dict[str, Callable[[str], None]] = {
    "connecting": _connect,
    "resolving": _resolve,
    "agreeing on TLS": _shake_hands,
    "sending": _send_large_prompt,
    "waiting for the head": _chat,
    "waiting for vectors": _embed,
    "in mid-stream": _stream,
    "connecting to a UNIX socket": _connect_to_socket,
    "in mid-stream over a UNIX socket": _stream,
}


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir(_FDS)) if os.path.isdir(_FDS) else 0


def main(url: str, phase: str, caught: str) -> None:
    # If the tests run in the background, this process may have inherited SIGINT as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if caught == "uncaught":
        PHASES[phase](url)
    before = _descriptors()
    try:
        PHASES[phase](url)
    except KeyboardInterrupt:
        send_result("interrupted")
    pipe_of_the_resolver = 2 if phase == "resolving" else 0
    wait_for_test()
    send_result(_descriptors() - before - pipe_of_the_resolver)
    wait_for_test()
