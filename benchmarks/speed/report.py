"""The tables, in Markdown."""

from __future__ import annotations

import os
import platform
from typing import Dict, Iterator, List, Optional, Sequence

from benchmarks.speed.clients import CLIENTS, FLOOR, OWN, Client
from benchmarks.speed.goals import GOALS, Goal
from benchmarks.speed.rounds import Results
from benchmarks.speed.scenarios import SCENARIOS, Line


def everything(results: Results, clients: Sequence[Client], rounds: int) -> str:
    """Give all that the page shows."""
    return "\n\n".join(
        (
            about(results, rounds),
            "Goals.",
            _table(["what", "at most", "measured", ""], list(goals(results))),
            "Figures: the median, and in brackets how many times the floor it is.",
            _table(
                ["what", *(_named(client.name) for client in clients), "× best peer"],
                list(lines(results, clients)),
            ),
        )
    )


def _named(client: str) -> str:
    return client if client == FLOOR else f"`{client}`"


def about(results: Results, rounds: int) -> str:
    """Say what ran where."""
    versions: Dict[str, str] = {}
    for found in results.versions.values():
        versions.update(found)
    packages = ", ".join(f"`{name}` {version}" for name, version in sorted(versions.items()))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores"
    return f"{python} on {machine}; {packages}; {rounds} rounds."


def goals(results: Results) -> Iterator[List[str]]:
    """Give a row for each goal that was measured."""
    for goal in GOALS:
        measured = goal.measured(results)
        if measured is not None:
            yield [goal.title, _asked(goal), number(measured), verdict(goal, measured)]


def _asked(goal: Goal) -> str:
    return f"{goal.at_most:g} {goal.unit}"


def verdict(goal: Goal, measured: float) -> str:
    """Say whether a goal is met; by all digits, also those that are not shown."""
    return "met" if measured <= goal.at_most else "**missed**"


def lines(results: Results, clients: Sequence[Client]) -> Iterator[List[str]]:
    """Give a row for each line that was measured."""
    for scenario in SCENARIOS:
        for line in scenario.lines:
            if results.clients(line.key):
                title = f"{line.title}, {line.unit}" if line.unit else line.title
                cells = [_cell(results, line, client.name) for client in clients]
                yield [title, *cells, _best(results, line.key) if line.compared else "–"]


def _cell(results: Results, line: Line, client: str) -> str:
    median = results.median(line.key, client)
    ratio = results.ratio(line.key, client, FLOOR)
    if ratio is None or client == FLOOR or not line.compared:
        return number(median)
    return f"{number(median)} ({number(ratio)})"


def _best(results: Results, line: str) -> str:
    """Compare this package with the best of the other clients."""
    found = [results.ratio(line, OWN, name) for name in CLIENTS if CLIENTS[name].is_peer]
    ratios = [ratio for ratio in found if ratio is not None]
    return number(max(ratios)) if ratios else "–"


def number(value: Optional[float]) -> str:
    """Write a number with three digits, or all that stand before the point."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
