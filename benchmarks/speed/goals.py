"""What this package wants to be, beside what was measured."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, NamedTuple, Optional, Tuple

from benchmarks.speed.clients import FLOOR, OWN, REQUESTS
from benchmarks.speed.rounds import Results
from benchmarks.speed.scenarios import EVENT_SIZE, GROWTH

GROWN_TEXT_MB = GROWTH[-1] * EVENT_SIZE / 1e6

Measured = Callable[[Results], Optional[float]]


class Goal(NamedTuple):
    """A goal.

    Attributes:
        title: What it is about.
        at_most: The greatest number that meets it.
        unit: What the numbers count: ``×`` something, or a unit.
        measured: Takes the number out of the results; None where it was not measured.
    """

    title: str
    at_most: float
    unit: str
    measured: Measured


def _against(title: str, line: str, *others: Tuple[str, float]) -> List[Goal]:
    """Goals of one line, each against another client."""
    return [
        Goal(title, at_most, f"× {other}", partial(_ratio, line, other))
        for other, at_most in others
    ]


def _ratio(line: str, other: str, results: Results) -> Optional[float]:
    return results.ratio(line, OWN, other)


def _value(title: str, line: str, at_most: float, unit: str) -> Goal:
    return Goal(title, at_most, unit, lambda results: results.median(line, OWN))


def _grows(title: str, line: str, base: str, at_most: float, unit: str) -> Goal:
    def measured(results: Results) -> Optional[float]:
        number, small = results.median(line, OWN), results.median(base, OWN)
        return number / small if number is not None and small else None

    return Goal(title, at_most, unit, measured)


def _events(
    name: str, dialect: str, most: Tuple[float, float, float], peer: Tuple[str, float]
) -> List[Goal]:
    coalesced, tokens, paced = most
    line = "stream.{}." + dialect
    return [
        *_against(f"{name} event, coalesced", line.format("coalesced"), (FLOOR, coalesced), peer),
        *_against(f"{name} event, one write a token", line.format("tokens"), (FLOOR, tokens)),
        *_against(f"{name} event, paced at 1 ms", line.format("paced"), (FLOOR, paced)),
        *_against(f"first {name} event, p50", f"delay.first.{dialect}", (FLOOR, 1.7)),
        *_against(f"later {name} events, p50", f"delay.later.{dialect}", (FLOOR, 0.9)),
    ]


def _beside_text(peak_mib: Optional[float]) -> Optional[float]:
    return None if peak_mib is None else peak_mib * 1.048576 - GROWN_TEXT_MB


def _growth(name: str, dialect: str) -> List[Goal]:
    line = f"growth.{dialect}."
    return [
        _grows(f"{name} event of 10⁶, CPU", line + "1000000", line + "10000", 1.1, "× one of 10⁴"),
        Goal(
            f"10⁶ {name} events, memory beside the text",
            1.0,
            "MB",
            lambda results: _beside_text(results.median(line + "1000000.peak", OWN)),
        ),
    ]


GOALS: List[Goal] = [
    _value("`import localproviders`, CPU over bare Python", "import.cpu", 15, "ms"),
    _value("`requests` loaded by it", "import.requests", 0, "times"),
    *_against("one shot, Ollama, CPU", "shot.ollama.cpu", (REQUESTS, 1.15), ("ollama", 0.5)),
    *_against("one shot, OpenAI, CPU", "shot.openai.cpu", (REQUESTS, 1.15), ("openai", 0.22)),
    *_against("one shot, peak memory", "shot.ollama.peak", (REQUESTS, 1.1)),
    *_against("warm small chat, Ollama", "call.small.ollama", (FLOOR, 3.0), ("ollama", 0.7)),
    *_against("warm small chat, OpenAI", "call.small.openai", (FLOOR, 3.0), ("openai", 0.35)),
    *_events("NDJSON", "ollama", (0.45, 0.6, 0.95), ("ollama", 0.2)),
    *_events("SSE", "openai", (0.5, 0.5, 0.95), ("openai", 0.045)),
    *_against("embeddings, floats, Ollama", "embed.floats.ollama", (FLOOR, 1.1)),
    *_against("embeddings, floats, OpenAI", "embed.floats.openai", (FLOOR, 1.1)),
    *_against("embeddings, base64", "embed.base64.openai", (FLOOR, 1.1), ("openai", 0.3)),
    *_against("32 threads, NDJSON, CPU", "threads.ollama.cpu", (FLOOR, 1.3), ("ollama", 0.35)),
    *_against("32 threads, SSE, CPU", "threads.openai.cpu", (FLOOR, 1.3)),
    _value("32 threads, NDJSON, connections", "threads.ollama.opened", 32, "connections"),
    _value("32 threads, SSE, connections", "threads.openai.opened", 32, "connections"),
    *_growth("NDJSON", "ollama"),
    *_growth("SSE", "openai"),
    _grows("a body of 64 MiB, CPU a MiB", "body.64.cpu", "body.1.cpu", 1.1, "× one of 1 MiB"),
    _value("a body of 64 MiB, memory at most", "body.64.peak", 8, "× the body"),
]  # fmt: skip
