"""The tables of a run, in Markdown."""

from __future__ import annotations

import os
import platform
from typing import Dict, Iterator, List, Optional, Sequence

from benchmarks.speed.clients import BASELINE, CLIENTS, OWN, Client
from benchmarks.speed.goals import GOALS, Goal
from benchmarks.speed.rounds import Results
from benchmarks.speed.scenarios import SCENARIOS, Line


def all_tables(results: Results, clients: Sequence[Client], rounds: int) -> str:
    """Return the description of the run and all tables, as the page shows them."""
    return "\n\n".join(
        (
            description(results, rounds),
            "Goals:",
            _table(["goal", "at most", "measured", "result"], list(goals(results))),
            "Medians of all rounds; in brackets, the ratio to the baseline:",
            _table(
                ["figure", *(_heading(client.name) for client in clients), "ours ÷ best peer"],
                list(lines(results, clients)),
            ),
        )
    )


def _heading(client: str) -> str:
    return client if client == BASELINE else f"`{client}`"


def description(results: Results, rounds: int) -> str:
    """Describe the Python, the machine, the package versions and the number of rounds."""
    versions: Dict[str, str] = {}
    for found in results.versions.values():
        versions.update(found)
    packages = ", ".join(f"`{name}` {version}" for name, version in sorted(versions.items()))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores"
    return f"{python} on {machine}; {packages}; {rounds} rounds."


def goals(results: Results) -> Iterator[List[str]]:
    """Yield the cells of each goal whose number was measured."""
    for goal in GOALS:
        measured = goal.measured(results)
        if measured is not None:
            yield [goal.title, _limit(goal), number(measured), verdict(goal, measured)]


def _limit(goal: Goal) -> str:
    return f"{goal.at_most:g} {goal.unit}"


def verdict(goal: Goal, measured: float) -> str:
    """Return whether a goal is met, as text. Digits that the table does not show count, too."""
    return "met" if measured <= goal.at_most else "**missed**"


def lines(results: Results, clients: Sequence[Client]) -> Iterator[List[str]]:
    """Yield the cells of each line that was measured."""
    for scenario in SCENARIOS:
        for line in scenario.lines:
            if results.clients(line.key):
                title = f"{line.title}, {line.unit}" if line.unit else line.title
                cells = [_cell(results, line, client.name) for client in clients]
                yield [title, *cells, _best_peer(results, line.key) if line.compared else "–"]


def _cell(results: Results, line: Line, client: str) -> str:
    median = results.median(line.key, client)
    ratio = results.ratio(line.key, client, BASELINE)
    if ratio is None or client == BASELINE or not line.compared:
        return number(median)
    return f"{number(median)} ({number(ratio)})"


def _best_peer(results: Results, line: str) -> str:
    """Return the ratio of this package's number to that of the best other client, as text."""
    found = [results.ratio(line, OWN, name) for name in CLIENTS if CLIENTS[name].is_peer]
    ratios = [ratio for ratio in found if ratio is not None]
    return number(max(ratios)) if ratios else "–"


def number(value: Optional[float]) -> str:
    """Format a number with three digits, or with all digits before the point if there are more."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
