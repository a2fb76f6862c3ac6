"""Ends many streams in the same way, and measures open descriptors, threads and memory."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from typing import Any, Callable, Dict, List

from localproviders import OpenAICompatibleProvider, StreamInterruptedError
from localproviders._http.stream import Stream
from tests.promises.life.programs.report import send_result, wait_for_test

_FDS = "/proc/self/fd"


def _abandoned(stream: Stream) -> None:
    next(stream)


def _abandoned_in_a_circle(stream: Stream) -> None:
    next(stream)
    circle: List[Any] = [stream]
    circle.append(circle)


def _closed_early(stream: Stream) -> None:
    with stream:
        next(stream)


def _cut(stream: Stream) -> None:
    try:
        stream.result()
    except StreamInterruptedError as error:
        if error.partial == "Hi":
            return
    raise SystemExit("the cut was not noticed")


def _ended(stream: Stream) -> None:
    if stream.result().text != "Hi there":
        raise SystemExit("the text is not complete")


ENDINGS: Dict[str, Callable[[Stream], None]] = {
    "abandoned": _abandoned,
    "abandoned in a circle": _abandoned_in_a_circle,
    "closed early": _closed_early,
    "cut": _cut,
    "ended": _ended,
}


def _measure() -> Dict[str, Any]:
    gc.collect()
    return {
        "descriptors": len(os.listdir(_FDS)) if os.path.isdir(_FDS) else None,
        "threads": threading.active_count(),
        "bytes": tracemalloc.get_traced_memory()[0],
    }


def main(url: str, ending: str, count: str) -> None:
    end = ENDINGS[ending]
    tracemalloc.start()
    provider = OpenAICompatibleProvider(url, model="m")

    def run_streams(number: int) -> None:
        for index in range(number):
            end(provider.stream("Hi"))
            if index % 250 == 249:
                gc.collect()

    run_streams(50)
    measured = [_measure()]
    for _ in range(4):
        run_streams(int(count) // 4)
        measured.append(_measure())
    send_result(measured)
    wait_for_test()
    provider.close()
    send_result(_measure())
    wait_for_test()
