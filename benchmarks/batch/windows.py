"""Compare ``concurrency="auto"`` with fixed numbers, on real sockets.

``python -m benchmarks.batch.windows [KIND ...]`` prints, for each kind of server, the duration of a
run with each fixed number and with ``auto``, and the ratio of the latter to the shortest of the
others. All kinds together take about fifteen minutes.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Union

from benchmarks.speed.processes import Process
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


class _Server(Process):
    """A process with slots."""

    def __init__(self, kind: Kind) -> None:
        slots, service_s = str(kind.slots), str(kind.service_s)
        super().__init__(sys.executable, "-m", "benchmarks.batch.slots", slots, service_s)
        self.url = f"http://127.0.0.1:{int(self.read_line())}"

    def kill(self) -> None:
        """Kill the process, as its host could."""
        self._process.kill()


def seconds(kind: Kind, concurrency: Union[int, str]) -> float:
    """Return the duration of one run in seconds."""
    rows = [{"id": str(number), "messages": f"row {number}"} for number in range(kind.rows)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        count = 1 if kind.dies_after_s is None else 2
        servers = [_Server(kind) for _ in range(count)]
        for server in servers:
            stack.callback(server.close)
        hosts = [
            OllamaProvider(server.url, model="bench", name=f"host{number}")
            for number, server in enumerate(servers)
        ]
        provider = LocalProvider(hosts, model="bench", strategy="balanced")
        stack.callback(provider.close)
        start = time.monotonic()
        if kind.dies_after_s is not None:
            end = threading.Timer(kind.dies_after_s, servers[-1].kill)
            end.start()
            stack.callback(end.join)
        report = batch.run(rows, folder / "out.jsonl", provider, concurrency=concurrency)
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
