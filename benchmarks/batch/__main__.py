"""Measure batch runs, and print a table: ``python -m benchmarks.batch [--rows N] [--most N]``.

Each figure is measured in a separate process. The processes run one after the other.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Tuple

from benchmarks.speed.processes import Fixture, run_module
from benchmarks.speed.wire import Shape

#: The shape of each answer: 20 events of 5 characters.
_SHAPE = Shape("coalesced", 20, 5)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark with these command-line arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000, help="rows that the server answers")
    parser.add_argument(
        "--most", type=int, default=1_000_000, help="rows of the largest run, which needs no server"
    )
    options = parser.parse_args(arguments)
    print("\n".join(table(measure(options.rows, options.most))))


def measure(rows: int, most: int) -> Dict[str, Any]:
    """Measure all figures, and return them by their names.

    Args:
        rows: Number of rows that the server answers.
        most: Number of rows of the largest run. It needs no server: its provider makes the answers.
    """
    found: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="batch-") as folder, Fixture() as fixture:
        found["cpu"] = _in_process("cpu", rows, folder, fixture.url(_SHAPE))
        for size in _sizes(most):
            found[f"memory {size}"] = _in_process("memory", size, folder)
        found["files"] = _in_process("files", most, folder)
        found["resume"] = _in_process("resume", most, folder)
    return found


def _sizes(most: int) -> List[int]:
    return [size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= most] or [most]


def _in_process(name: str, rows: int, folder: str, url: str = "") -> Any:
    return run_module("benchmarks.batch.worker", name, str(rows), folder, url)


def table(found: Dict[str, Any]) -> List[str]:
    """Return the lines of a table with all figures and their upper limits."""
    cpu, files = found["cpu"], found["files"]
    memory = {name.split()[1]: value for name, value in found.items() if name.startswith("memory")}
    peaks, most = list(memory.values()), max(map(int, memory))
    rows: List[Tuple[str, str, str]] = [
        *(
            (f"CPU of a row / one warm chat, {number} in flight", "1.3", f"{value:.2f}")
            for number, value in cpu["ratios"].items()
        ),
        *((f"peak memory, {int(n):,} rows", "64 MB", f"{v:.1f} MB") for n, v in memory.items()),
        ("peak memory, largest minus smallest", "2 MB", f"{max(peaks) - min(peaks):.1f} MB"),
        ("journal and output, a row", "60 µs", f"{files['us']:.0f} µs"),
        (f"later run of {most:,} rows that are done", "3 s", f"{found['resume']:.2f} s"),
    ]
    lines = ["| figure | at most | measured |", "| --- | --: | --: |"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


if __name__ == "__main__":
    main()
