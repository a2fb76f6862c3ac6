"""Compare a batch run with other ways to ask about many rows.

``python -m benchmarks.batch.peers [ROWS]`` sends the same rows to the same server in several ways,
each with eight requests in flight: with `batch.run`, with a `ThreadPoolExecutor` that uses the
package ``requests`` and writes lines to a file, and with the package ``saturate`` if it is
installed. Each way runs in its own process.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping

from benchmarks.speed.processes import Fixture, run_module
from benchmarks.speed.wire import Shape

_SHAPE = Shape("coalesced", 20, 5)
_IN_FLIGHT = 8


def _rows(count: int) -> Iterator[Dict[str, str]]:
    for number in range(count):
        yield {"id": f"row-{number}", "messages": f"Sort this letter: order {number}."}


def _request(row: Mapping[str, str]) -> Dict[str, Any]:
    return {"model": "bench", "messages": [{"role": "user", "content": row["messages"]}]}


def _text(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def _localproviders(rows: int, folder: Path, url: str) -> Callable[[], object]:
    from localproviders import OpenAICompatibleProvider, batch

    provider = OpenAICompatibleProvider(f"{url}/v1", model="bench")
    output = folder / "out.jsonl"
    return lambda: batch.run(_rows(rows), output, provider, concurrency=_IN_FLIGHT)


def _pool(rows: int, folder: Path, url: str) -> Callable[[], object]:
    from concurrent.futures import ThreadPoolExecutor

    import requests

    own = threading.local()

    def ask(row: Mapping[str, str]) -> str:
        if not hasattr(own, "session"):
            own.session = requests.Session()
            own.session.trust_env = False
        response = own.session.post(f"{url}/v1/chat/completions", json=_request(row), timeout=60)
        response.raise_for_status()
        return json.dumps({"id": row["id"], "text": _text(response.json())})

    def run() -> None:
        with ThreadPoolExecutor(_IN_FLIGHT) as pool, (folder / "out.jsonl").open("w") as file:
            for line in pool.map(ask, _rows(rows)):
                file.write(line + "\n")

    return run


def _saturate(rows: int, folder: Path, url: str) -> Callable[[], object]:
    import saturate  # type: ignore[import-not-found]  # installed only for this comparison

    return lambda: saturate.pump(
        _rows(rows),
        _request,
        lambda _row, answer: {"text": _text(answer)},
        f"{url}/v1",
        str(folder / "out"),
        window=saturate.Fixed(_IN_FLIGHT),
        flush_every=100,
        id_key="id",
        signal_source="none",
    )


_WAYS = {"localproviders": _localproviders, "pool": _pool, "saturate": _saturate}


def _measure(name: str, rows: int, folder: Path, url: str) -> Dict[str, float]:
    run = _WAYS[name](rows, folder, url)
    cpu, start = time.process_time(), time.perf_counter()
    run()
    return {
        "cpu_us": 1e6 * (time.process_time() - cpu) / rows,
        "us": 1e6 * (time.perf_counter() - start) / rows,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _in_process(name: str, rows: int, url: str) -> Dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        found: Dict[str, float] = run_module("benchmarks.batch.peers", name, str(rows), folder, url)
    return found


def main(rows: int) -> None:
    """Run three rounds, and print a table of the medians."""
    names = [name for name in _WAYS if name != "saturate" or importlib.util.find_spec("saturate")]
    found: Dict[str, List[Dict[str, float]]] = {name: [] for name in names}
    with Fixture() as fixture:
        for _ in range(3):
            for name in names:
                found[name].append(_in_process(name, rows, fixture.url(_SHAPE)))
    print("| client | time a row | CPU a row | peak memory |\n| --- | --: | --: | --: |")
    for name, rounds in found.items():
        middle = {key: sorted(each[key] for each in rounds)[1] for key in rounds[0]}
        figures = "{us:.0f} µs | {cpu_us:.0f} µs | {peak_mb:.0f} MB".format(**middle)
        print(f"| {name} | {figures} |")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 3000)
