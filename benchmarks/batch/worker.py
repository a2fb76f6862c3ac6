"""Measure one figure: ``python -m benchmarks.batch.worker NAME ROWS FOLDER URL``."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from localproviders import CompletionResponse, ModelInfo, OllamaProvider, batch

#: Numbers of requests in flight whose CPU time is measured.
_IN_FLIGHT = (1, 4, 8)
_ROUNDS = 3


class _Instant(OllamaProvider):
    """A provider that answers each chat immediately, without a server.

    So only the work of the run itself is measured.
    """

    def complete(self, request: Any, **_: Any) -> CompletionResponse:
        """Return the same answer for each request."""
        return _ANSWER

    def model_info(self, model: Any = None, **_: Any) -> ModelInfo:
        """Return a model without facts: there is no server."""
        return ModelInfo(name="bench", provider="ollama")


_ANSWER = CompletionResponse(text="billing", model="bench", provider="ollama")


def _write_rows(path: Path, rows: int) -> Path:
    if not path.exists():
        with path.open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"id": f"row-{number}", "messages": _prompt(number)}) + "\n")
    return path


def _prompt(number: int) -> str:
    return f"Sort this letter: I was charged twice, order {number}."


def _cpu(rows: int, folder: Path, url: str) -> Any:
    """Return the CPU time of a row, divided by the CPU time of a warm chat.

    There is one ratio for each number of requests in flight: the median of all rounds.
    """
    source = _write_rows(folder / f"cpu{rows}.jsonl", rows)
    found: Dict[int, Any] = {number: [] for number in _IN_FLIGHT}
    with OllamaProvider(url, model="bench") as provider:
        provider.chat(_prompt(0))
        for turn in range(_ROUNDS):
            start = time.process_time()
            for number in range(rows):
                provider.chat(_prompt(number))
            alone = time.process_time() - start
            for number in _IN_FLIGHT:
                output = folder / f"cpu{number}-{turn}.jsonl"
                start = time.process_time()
                batch.run(source, output, provider, concurrency=number)
                found[number].append((time.process_time() - start) / alone)
    return {"ratios": {number: sorted(each)[_ROUNDS // 2] for number, each in found.items()}}


def _run(rows: int, folder: Path) -> Any:
    source = _write_rows(folder / f"in{rows}.jsonl", rows)
    with _Instant("http://127.0.0.1:9", model="bench") as provider:
        return batch.run(source, folder / f"out{rows}.jsonl", provider, concurrency=8)


def _memory(rows: int, folder: Path, url: str) -> Any:
    """Return the peak memory of a complete run, in MB."""
    assert _run(rows, folder).succeeded == rows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _files(rows: int, folder: Path, url: str) -> Any:
    """Return the time that it takes to write a row to the journal and output, in microseconds."""
    from localproviders.batch.recorder import FileRecorder  # its methods are replaced below

    spent = [0.0]
    add, tick = FileRecorder.add, FileRecorder.tick

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[0] += time.perf_counter() - start

        return call

    setattr(FileRecorder, "add", timed(add))  # noqa: B010  # mypy allows no assignment
    setattr(FileRecorder, "tick", timed(tick))  # noqa: B010  # as above
    rows = min(rows, 100_000)
    other = folder / "files"
    other.mkdir()
    assert _run(rows, other).succeeded == rows
    return {"rows": rows, "us": 1e6 * spent[0] / rows}


def _resume(rows: int, folder: Path, url: str) -> Any:
    """Return the seconds of a run whose rows all have an answer already."""
    start = time.perf_counter()
    assert _run(rows, folder).skipped == rows
    return time.perf_counter() - start


if __name__ == "__main__":
    _name, _rows, _folder, *_url = sys.argv[1:]
    _measure = {"cpu": _cpu, "memory": _memory, "files": _files, "resume": _resume}[_name]
    print(json.dumps(_measure(int(_rows), Path(_folder), "".join(_url))))
