"""Measure the speed and the memory of the clients, and print the tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence

from benchmarks.speed import report
from benchmarks.speed.clients import CLIENTS, ROOT
from benchmarks.speed.rounds import Bench, pythons_of
from benchmarks.speed.scenarios import SCENARIOS, Scenario

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
FOLDER = Path(tempfile.gettempdir()) / "localproviders-benchmarks" / "speed"


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the benchmark with these command-line arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--peers",
        action="store_true",
        help="include other clients, and run the long scenarios for all",
    )
    parser.add_argument(
        "--only", default="", help="run only scenarios whose name has one of these words: A,B"
    )
    parser.add_argument("--rounds", type=int, help="number of rounds: 3, or 5 with --peers")
    parser.add_argument("--write", action="store_true", help=f"write the tables to {PAGE.name}")
    parser.add_argument(
        "--here", action="store_true", help="install no packages; use the running Python"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=FOLDER,
        help="folder for the virtual environments of the clients",
    )
    options = parser.parse_args(arguments)
    if options.here and options.peers:
        parser.error("--peers needs its own environments: leave out --here")
    clients = [client for client in CLIENTS.values() if options.peers or not client.is_peer]
    scenarios = select(options.only)
    if not scenarios:
        names = ", ".join(scenario.key for scenario in SCENARIOS)
        parser.error(f"no scenario matches {options.only!r}; there are: {names}")
    rounds = options.rounds or (5 if options.peers else 3)
    pythons = pythons_of(clients, None if options.here else options.environments)
    with Bench(clients, pythons, full=options.peers) as bench:
        text = report.all_tables(bench.run(scenarios, rounds), clients, rounds)
        failures = bench.results.failures
    for (client, scenario), reason in failures.items():
        print(f"{client} failed in {scenario}: {reason}", file=sys.stderr)
    print(text)
    if options.write:
        write(text)


def select(only: str) -> List[Scenario]:
    """Return the scenarios whose key contains one of some words, which commas separate."""
    words = only.split(",")
    return [scenario for scenario in SCENARIOS if any(word in scenario.key for word in words)]


def write(text: str, page: Path = PAGE) -> None:
    """Replace the tables between the two markers of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
