"""Compare ``concurrency="auto"`` with fixed numbers, on real sockets.

``python -m benchmarks.batch.windows [KIND ...]`` prints, for each kind of server, the duration of a
run with each fixed number and with ``auto``, and the ratio of the latter to the shortest of the
others. All kinds together take about fifteen minutes.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Union

from benchmarks.speed.clients import ROOT
from benchmarks.speed.processes import child_environment
from localproviders import LocalProvider, OllamaProvider, batch


class Kind(NamedTuple):
    """A kind of server.

    Attributes:
        slots: Number of slots.
        service_s: Mean seconds of a request.
        rows: Number of rows of a run.
        dies_after_s: Seconds after which one of two such servers is killed; None means that there
            is only one server, which is not killed.
    """

    slots: int
    service_s: float
    rows: int
    dies_after_s: Optional[float] = None

    @property
    def numbers(self) -> List[int]:
        """Return the fixed numbers to compare with."""
        total = self.slots if self.dies_after_s is None else 2 * self.slots
        return sorted({max(1, total // 2), total, total + 1, total * 3 // 2, total * 2, total * 3})


KINDS = {
    "1 slot": Kind(1, 0.1, 200),
    "2 slots": Kind(2, 0.1, 400),
    "4 slots": Kind(4, 0.1, 800),
    "16 slots": Kind(16, 0.2, 1600),
    "slow": Kind(3, 0.5, 240),
    "one dies": Kind(4, 0.1, 800, 5.0),
}


class _Server:
    """The process of a server with slots."""

    def __init__(self, kind: Kind) -> None:
        words = [sys.executable, "-m", "benchmarks.batch.slots", f"{kind.slots}"]
        self._process = subprocess.Popen(
            [*words, f"{kind.service_s}"],
            cwd=str(ROOT),
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def _servers(kind: Kind) -> Iterator[List[_Server]]:
    found = [_Server(kind) for _ in range(1 if kind.dies_after_s is None else 2)]
    try:
        yield found
    finally:
        for each in found:
            each.kill()


def seconds(kind: Kind, concurrency: Union[int, str]) -> float:
    """Return the duration of one run in seconds."""
    rows = [{"id": str(number), "messages": f"row {number}"} for number in range(kind.rows)]
    with _servers(kind) as servers, tempfile.TemporaryDirectory() as folder:
        hosts = [
            OllamaProvider(server.url, model="bench", name=f"host{number}")
            for number, server in enumerate(servers)
        ]
        with LocalProvider(hosts, model="bench", strategy="balanced") as provider:
            start = time.monotonic()
            end = threading.Timer(kind.dies_after_s or 0, servers[-1].kill)
            if kind.dies_after_s is not None:
                end.start()
            report = batch.run(rows, Path(folder) / "out.jsonl", provider, concurrency=concurrency)
            if kind.dies_after_s is not None:
                end.join()
            assert report.succeeded == kind.rows, report
            return time.monotonic() - start


def main(names: List[str]) -> None:
    """Print the comparison for these kinds of servers."""
    for name in names or KINDS:
        kind = KINDS[name]
        fixed = {number: seconds(kind, number) for number in kind.numbers}
        auto = seconds(kind, "auto")
        best = min(fixed, key=fixed.__getitem__)
        shown = ", ".join(f"{number}: {value:.1f} s" for number, value in fixed.items())
        print(f"{name}: {shown}; auto: {auto:.1f} s, {auto / fixed[best]:.2f} x", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
