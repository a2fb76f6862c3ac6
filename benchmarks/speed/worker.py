"""Runs in the environment of a client, and measures it: one JSON object a line, in and out.

It says what came as well, so that a wrong answer is found, and judges nothing.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, List

from benchmarks.speed.cold import peak_kib

Order = Dict[str, Any]
Found = Dict[str, Any]


def _fresh_peak() -> int:
    """Forget the greatest memory so far, where the system can; give what is held now."""
    gc.collect()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as switch:
        switch.write("5")
    return peak_kib()


def _timed(work: Callable[[], Any]) -> Any:
    gc.collect()
    started = time.process_time()
    came = work()
    return time.process_time() - started, came


def calls(module: Any, client: Any, order: Order) -> Found:
    """Collected chats, one after the other: CPU seconds for each."""
    prompt, repeat = "x" * order["prompt"], order["repeat"]

    def work() -> str:
        for _ in range(repeat):
            text: str = module.chat(client, prompt)
        return text

    cpu_s, text = _timed(work)
    return {"cpu_s": cpu_s / repeat, "size": len(text)}


def stream(module: Any, client: Any, order: Order) -> Found:
    """Streams whose text is thrown away: CPU seconds for each event, and the peak."""
    repeat, count = order["repeat"], order["count"]

    def work() -> int:
        size = 0
        for _ in range(repeat):
            for text in module.stream(client, "Hi"):
                size += len(text)
        return size

    before = _fresh_peak()
    cpu_s, size = _timed(work)
    return {
        "cpu_s": cpu_s / repeat / count,
        "size": size // repeat,
        "grown_kib": peak_kib() - before,
    }


def delays(module: Any, client: Any, order: Order) -> Found:
    """Stamped streams: how long after it was sent each event is in the caller's hands."""
    first: List[float] = []
    later: List[float] = []

    def work() -> None:
        for _ in range(order["repeat"]):
            row = []
            for text in module.stream(client, "Hi"):
                if text:
                    row.append(time.monotonic() - float(text))
            first.append(row[0])
            later.extend(row[1:])

    cpu_s, _ = _timed(work)
    return {"first_s": first, "later_s": later, "cpu_s": cpu_s / (len(first) + len(later))}


def embed(module: Any, client: Any, order: Order) -> Found:
    """Vectors for many texts: CPU seconds for a call, and the peak."""
    texts = [f"text {index}" for index in range(order["count"])]

    def work() -> Any:
        for _ in range(order["repeat"]):
            vectors: Any = None  # the last ones are let go of first, as a caller would
            vectors = module.embed(client, texts, order["packed"])
        return len(vectors), len(vectors[-1]), float(vectors[-1][-1])

    before = _fresh_peak()
    cpu_s, shape = _timed(work)
    return {
        "cpu_s": cpu_s / order["repeat"],
        "size": shape[0] * shape[1],
        "last": shape[2],
        "grown_kib": peak_kib() - before,
    }


def threads(module: Any, client: Any, order: Order) -> Found:
    """Many threads with one client, a new one: CPU seconds for a call."""
    client = module.connect(order["url"], order["dialect"])
    sizes: List[int] = []

    def work() -> None:
        gate = threading.Barrier(order["threads"])

        def talk() -> None:
            gate.wait()
            for _ in range(order["repeat"]):
                sizes.append(len(module.chat(client, "Hi")))

        crowd = [threading.Thread(target=talk) for _ in range(order["threads"])]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()

    cpu_s, _ = _timed(work)
    if len(sizes) != order["threads"] * order["repeat"]:
        raise RuntimeError("a thread has failed")
    return {"cpu_s": cpu_s / len(sizes), "size": sizes[0] if len(set(sizes)) == 1 else -1}


MEASURES: Dict[str, Callable[[Any, Any, Order], Found]] = {
    function.__name__: function for function in (calls, stream, delays, embed, threads)
}


def about(module: Any) -> Found:
    """Say which versions run here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in module.PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "localproviders" in module.PACKAGES:
        found["localproviders"] = sys.modules["localproviders"].__version__
    return found


def obey(module: Any, clients: Dict[str, Any], order: Order) -> Found:
    """Measure, with the one client of this address; or say what went wrong."""
    key = order["dialect"] + order["url"]
    try:
        if key not in clients:
            clients[key] = module.connect(order["url"], order["dialect"])
        return MEASURES[order["measure"]](module, clients[key], order)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Obey orders until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a client prints is no answer
    module = importlib.import_module(f"benchmarks.speed.adapters.{sys.argv[1]}")
    clients: Dict[str, Any] = {}
    out.write(json.dumps(about(module)) + "\n")
    out.flush()
    for line in sys.stdin:
        order = json.loads(line)
        out.write(json.dumps(obey(module, clients, order)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
