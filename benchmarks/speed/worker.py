"""Measure a client, in a process that runs in the client's virtual environment.

The process reads orders from its standard input, and writes a result for each order to its standard
output. Orders and results are lines of JSON. A result also describes the answer that the client
received; the parent process checks whether the answer is complete.
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
Result = Dict[str, Any]


def _fresh_peak() -> int:
    """Reset the peak memory if the system allows it, and return the peak in KiB."""
    gc.collect()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as switch:
        switch.write("5")
    return peak_kib()


def _timed(work: Callable[[], Any]) -> Any:
    gc.collect()
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def calls(module: Any, client: Any, order: Order) -> Result:
    """Measure chats one after the other, each with its complete text: CPU seconds per chat."""
    letters, repeat = order.get("letters", "x"), order["repeat"]
    prompt = letters * max(1, order["prompt"] // len(letters))

    def work() -> str:
        for _ in range(repeat):
            text: str = module.chat(client, prompt)
        return text

    cpu_s, text = _timed(work)
    return {"cpu_s": cpu_s / repeat, "size": len(text)}


def stream(module: Any, client: Any, order: Order) -> Result:
    """Measure streams whose text is discarded: CPU seconds per event, and growth of memory."""
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


def delays(module: Any, client: Any, order: Order) -> Result:
    """Measure streams of time stamps: the time from sending an event until the caller has it."""
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


def embed(module: Any, client: Any, order: Order) -> Result:
    """Measure embeddings of many texts: CPU seconds per call, and growth of memory."""
    texts = [f"text {index}" for index in range(order["count"])]

    def work() -> Any:
        for _ in range(order["repeat"]):
            vectors: Any = None  # frees the vectors of the previous call, as a caller would
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


def decisions(module: Any, client: Any, order: Order) -> Result:
    """Measure decisions about one state after the other: CPU seconds per state."""
    states = [f"{order['state']} {index}" for index in range(order["repeat"])]
    return {"cpu_s": _decide(module.decide, client, order["method"], states) / len(states)}


def many_decisions(module: Any, client: Any, order: Order) -> Result:
    """Measure decisions about many states, with `decide` for each and with `decide_many` for all.

    The two ways take turns, so that other work on the machine slows both of them. The ratio is the
    median of all turns.
    """
    method, repeat, turns = order["method"], order["repeat"], order["turns"]
    seconds: Dict[bool, List[float]] = {False: [], True: []}
    for turn in range(turns):
        states = [f"{order['state']} {turn} {index}" for index in range(repeat // turns)]
        for together in (False, True) if turn % 2 else (True, False):
            call = module.decide_many if together else module.decide
            seconds[together].append(_decide(call, client, method, states, together))
    ratios = sorted(many / single for single, many in zip(seconds[False], seconds[True]))
    return {
        "single_s": sum(seconds[False]) / repeat,
        "many_s": sum(seconds[True]) / repeat,
        "ratio": ratios[len(ratios) // 2],
    }


def _decide(
    decide: Any, client: Any, method: str, states: List[str], together: bool = False
) -> float:
    """Make decisions about states, check the decisions, and return the CPU seconds."""

    def work() -> Any:
        if together:
            return decide(client, method, states)
        return [decide(client, method, state) for state in states]

    cpu_s, found = _timed(work)
    if found != ["billing"] * len(states):
        raise RuntimeError("a decision is not the one that the server sent")
    seconds: float = cpu_s
    return seconds


def threads(module: Any, client: Any, order: Order) -> Result:
    """Measure chats of many threads that share a new client: CPU seconds per call."""
    client = module.connect(order["url"], order["dialect"])
    sizes: List[int] = []

    def work() -> None:
        gate = threading.Barrier(order["threads"])

        def call() -> None:
            gate.wait()
            for _ in range(order["repeat"]):
                sizes.append(len(module.chat(client, "Hi")))

        all_threads = [threading.Thread(target=call) for _ in range(order["threads"])]
        for thread in all_threads:
            thread.start()
        for thread in all_threads:
            thread.join()

    cpu_s, _ = _timed(work)
    if len(sizes) != order["threads"] * order["repeat"]:
        raise RuntimeError("a call failed in one of the threads")
    return {"cpu_s": cpu_s / len(sizes), "size": sizes[0] if len(set(sizes)) == 1 else -1}


MEASURES: Dict[str, Callable[[Any, Any, Order], Result]] = {
    function.__name__: function
    for function in (calls, stream, delays, embed, decisions, many_decisions, threads)
}


def versions(module: Any) -> Result:
    """Return the versions of the client's packages."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {}
    for name in module.PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    if "localproviders" in module.PACKAGES:
        installed["localproviders"] = sys.modules["localproviders"].__version__
    return installed


def run_order(module: Any, clients: Dict[str, Any], order: Order) -> Result:
    """Measure as an order says, with the client object for its address, which is made if needed.

    An exception becomes a result with the key `error`.
    """
    key = order["dialect"] + order["url"]
    try:
        if key not in clients:
            clients[key] = module.connect(order["url"], order["dialect"])
        return MEASURES[order["measure"]](module, clients[key], order)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Read and run orders until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # text that a client prints must not be mixed with the results
    module = importlib.import_module(f"benchmarks.speed.adapters.{sys.argv[1]}")
    clients: Dict[str, Any] = {}
    out.write(json.dumps(versions(module)) + "\n")
    out.flush()
    for line in sys.stdin:
        order = json.loads(line)
        out.write(json.dumps(run_order(module, clients, order)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
