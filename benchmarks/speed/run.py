"""The command: measures, prints the tables, and writes them to their page."""

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
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="with other clients, at full length")
    parser.add_argument("--only", default="", help="only scenarios with one of these in the name")
    parser.add_argument("--rounds", type=int, help="3, or 5 with --peers")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    parser.add_argument("--here", action="store_true", help="install nothing: use this Python")
    parser.add_argument(
        "--environments", type=Path, default=FOLDER, help="the folder for the clients"
    )
    asked = parser.parse_args(arguments)
    if asked.here and asked.peers:
        parser.error("--peers needs environments of its own")
    clients = [client for client in CLIENTS.values() if asked.peers or not client.is_peer]
    scenarios = chosen(asked.only)
    if not scenarios:
        names = ", ".join(each.key for each in SCENARIOS)
        parser.error(f"no such scenario; there are {names}")
    rounds = asked.rounds or (5 if asked.peers else 3)
    pythons = pythons_of(clients, None if asked.here else asked.environments)
    with Bench(clients, pythons, full=asked.peers) as bench:
        text = report.everything(bench.run(scenarios, rounds), clients, rounds)
        failures = bench.results.failures
    for (client, scenario), why in failures.items():
        print(f"{client} failed at {scenario}: {why}", file=sys.stderr)
    print(text)
    if asked.write:
        write(text)


def chosen(only: str) -> List[Scenario]:
    """Give the scenarios whose name has one of the words in it."""
    words = only.split(",")
    return [each for each in SCENARIOS if any(word in each.key for word in words)]


def write(text: str, page: Path = PAGE) -> None:
    """Put the tables between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
