"""The goals of this package, and the functions that compute their numbers from the results."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, NamedTuple, Optional, Tuple

from benchmarks.speed.clients import BASELINE, OWN, REQUESTS
from benchmarks.speed.rounds import Results
from benchmarks.speed.scenarios import DECIDED_BY, EVENT_SIZE, GROWTH

GROWN_TEXT_MB = GROWTH[-1] * EVENT_SIZE / 1e6

Measured = Callable[[Results], Optional[float]]


class Goal(NamedTuple):
    """A goal: an upper limit for one number.

    Attributes:
        title: The title in the table.
        at_most: The largest number that meets the goal.
        unit: The unit of the number, such as ``ms``. For a ratio, the number to which it relates,
            such as ``× requests``.
        measured: Compute the number from the results; it returns None if nothing was measured.
    """

    title: str
    at_most: float
    unit: str
    measured: Measured


def _against(title: str, line: str, *others: Tuple[str, float]) -> List[Goal]:
    """Make a goal for each other client: this package's number, divided by that client's."""
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
        number, base_number = results.median(line, OWN), results.median(base, OWN)
        return number / base_number if number is not None and base_number else None

    return Goal(title, at_most, unit, measured)


def _costs_more(title: str, line: str, base: str, at_most_us: float) -> Goal:
    def measured(results: Results) -> Optional[float]:
        number, base_number = results.median(line, OWN), results.median(base, OWN)
        return None if number is None or base_number is None else number - base_number

    return Goal(title, at_most_us, "µs more than a short prompt", measured)


def _events(
    name: str, dialect: str, most: Tuple[float, float, float], peer: Tuple[str, float]
) -> List[Goal]:
    coalesced, tokens, paced = most
    line = "stream.{}." + dialect
    return [
        *_against(
            f"{name} event, coalesced", line.format("coalesced"), (BASELINE, coalesced), peer
        ),
        *_against(f"{name} event, one write per event", line.format("tokens"), (BASELINE, tokens)),
        *_against(f"{name} event, sent 1 ms apart", line.format("paced"), (BASELINE, paced)),
        *_against(f"first {name} event, median delay", f"delay.first.{dialect}", (BASELINE, 2.2)),
        *_against(f"later {name} events, median delay", f"delay.later.{dialect}", (BASELINE, 0.9)),
    ]


def _beyond_text(peak_mib: Optional[float]) -> Optional[float]:
    return None if peak_mib is None else peak_mib * 1.048576 - GROWN_TEXT_MB


def _growth(name: str, dialect: str) -> List[Goal]:
    line = f"growth.{dialect}."
    return [
        _grows(
            f"{name} event in a stream of 10⁶, CPU",
            line + "1000000",
            line + "10000",
            1.1,
            "× in a stream of 10⁴",
        ),
        Goal(
            f"stream of 10⁶ {name} events, memory beyond its text",
            1.0,
            "MB",
            lambda results: _beyond_text(results.median(line + "1000000.peak", OWN)),
        ),
    ]


GOALS: List[Goal] = [
    _value("`import localproviders`, CPU above bare Python", "import.cpu", 15, "ms"),
    _value("`requests` imported by it", "import.requests", 0, "times"),
    *_against("one-shot script, Ollama, CPU", "shot.ollama.cpu", (REQUESTS, 1.3), ("ollama", 0.5)),
    *_against("one-shot script, OpenAI, CPU", "shot.openai.cpu", (REQUESTS, 1.3), ("openai", 0.22)),
    *_against("one-shot script, Ollama, peak memory", "shot.ollama.peak", (REQUESTS, 1.1)),
    *_against("`localproviders --version`, CPU", "command.version", (BASELINE, 4)),
    *_against("`localproviders chat`, CPU", "command.chat", (REQUESTS, 1.35)),
    *_against("short warm chat, Ollama", "call.small.ollama", (BASELINE, 2.5), ("ollama", 0.7)),
    *_against("short warm chat, OpenAI", "call.small.openai", (BASELINE, 2.1), ("openai", 0.35)),
    _costs_more(
        "50 KB prompt with accents, Ollama", "call.accents.ollama", "call.small.ollama", 250
    ),
    _costs_more(
        "50 KB prompt with accents, OpenAI", "call.accents.openai", "call.small.openai", 250
    ),
    *_events("NDJSON", "ollama", (0.45, 0.6, 0.95), ("ollama", 0.2)),
    *_events("SSE", "openai", (0.5, 0.5, 0.95), ("openai", 0.045)),
    *_against("embeddings as floats, Ollama", "embed.floats.ollama", (BASELINE, 1.3)),
    *_against("embeddings as floats, OpenAI", "embed.floats.openai", (BASELINE, 1.3)),
    *_against(
        "embeddings as base64, OpenAI", "embed.base64.openai", (BASELINE, 1.1), ("openai", 0.3)
    ),
    *_against("`decide` by /v1/systemone", "decide.one.systemone", (REQUESTS, 1.3)),
    *_against("`decide` by log-probabilities", "decide.one.logprobs", (REQUESTS, 1.3)),
    *(
        _value(
            f"state in `decide_many` by {by}",
            f"decide.thousand.{method}.ratio",
            1.0,
            "× in a call of `decide`",
        )
        for method, by in DECIDED_BY.items()
    ),
    *_against("32 threads, NDJSON, CPU", "threads.ollama.cpu", (BASELINE, 1.3), ("ollama", 0.35)),
    *_against("32 threads, SSE, CPU", "threads.openai.cpu", (BASELINE, 1.3)),
    _value("32 threads, NDJSON, connections", "threads.ollama.opened", 32, "connections"),
    _value("32 threads, SSE, connections", "threads.openai.opened", 32, "connections"),
    *_growth("NDJSON", "ollama"),
    *_growth("SSE", "openai"),
    _grows("64 MiB response, CPU per MiB", "body.64.cpu", "body.1.cpu", 1.1, "× with 1 MiB"),
    _value("64 MiB response, memory growth", "body.64.peak", 6, "× the response body"),
]
