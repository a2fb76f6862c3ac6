"""What an event changes in which metric: one table for every kind of Prometheus."""

from __future__ import annotations

import time
from typing import Iterator, Mapping, NamedTuple, Optional, Tuple

from localproviders.telemetry import CallEvent

# Seconds. A model may have to be read from disk before its first token.
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_COMMON = ("provider", "model", "operation")


class Metric(NamedTuple):
    """One metric: its name, what Prometheus calls its type, and its labels."""

    name: str
    kind: str
    help: str
    labels: Tuple[str, ...]
    buckets: Tuple[float, ...] = ()


class Change(NamedTuple):
    """A metric grows by a value, observes it, or is set to it, as its type has it."""

    metric: Metric
    labels: Mapping[str, str]
    value: float


CALLS = Metric(
    "localproviders_calls_total",
    "counter",
    "Calls that ended; the label error is empty where they ended well.",
    (*_COMMON, "error"),
)
RETRIES = Metric(
    "localproviders_retries_total",
    "counter",
    "Attempts that failed and were repeated.",
    (*_COMMON, "error"),
)
FALLBACKS = Metric(
    "localproviders_fallbacks_total",
    "counter",
    "Calls that went on to another provider.",
    (*_COMMON, "to_provider", "error"),
)
OVERFLOWS = Metric(
    "localproviders_overflows_total",
    "counter",
    "Prompts and answers that did not fit into the context window.",
    _COMMON,
)
TOKENS = Metric(
    "localproviders_tokens_total",
    "counter",
    "Tokens of prompts (type input) and answers (type output), as the servers counted them.",
    (*_COMMON, "type"),
)
DURATION = Metric(
    "localproviders_call_duration_seconds",
    "histogram",
    "How long calls took, repetitions included, whether they ended well or not.",
    _COMMON,
    _SECONDS,
)
FIRST_TOKEN = Metric(
    "localproviders_first_token_seconds",
    "histogram",
    "How long calls waited for their first token, loading included.",
    _COMMON,
    _SECONDS,
)
LAST_SUCCESS = Metric(
    "localproviders_last_success_timestamp_seconds",
    "gauge",
    "When a call last ended well, in seconds since 1970.",
    _COMMON,
)
LAST_FAILURE = Metric(
    "localproviders_last_failure_timestamp_seconds",
    "gauge",
    "When a call last failed, in seconds since 1970.",
    _COMMON,
)

METRICS = (
    CALLS,
    RETRIES,
    FALLBACKS,
    OVERFLOWS,
    TOKENS,
    DURATION,
    FIRST_TOKEN,
    LAST_SUCCESS,
    LAST_FAILURE,
)


def changes(event: CallEvent) -> Iterator[Change]:
    """Give what an event changes; most change nothing."""
    ended = event.kind in ("finished", "failed")
    good = event.kind == "finished"
    values: Mapping[Metric, Optional[float]] = {
        CALLS: 1 if ended else None,
        RETRIES: 1 if event.kind == "retried" else None,
        FALLBACKS: 1 if event.kind == "fell_back" else None,
        OVERFLOWS: 1 if event.kind == "overflowed" else None,
        DURATION: event.elapsed_s if ended else None,
        FIRST_TOKEN: event.first_token_s if event.kind == "first_token" else None,
        LAST_SUCCESS: time.time() if good else None,
        LAST_FAILURE: time.time() if ended and not good else None,
    }
    for metric, value in values.items():
        if value is not None:
            yield Change(metric, _labels(event, metric), value)
    tokens = {"input": event.prompt_tokens, "output": event.completion_tokens}
    for type_, count in tokens.items():
        if good and count is not None:
            yield Change(TOKENS, {**_labels(event, TOKENS), "type": type_}, count)


def _labels(event: CallEvent, metric: Metric) -> Mapping[str, str]:
    return {name: writable(str(getattr(event, name, None) or "")) for name in metric.labels}


def writable(text: str) -> str:
    """Give a text that UTF-8 can write: two names may not be one sample in the file only."""
    return text.encode("utf-8", "replace").decode("utf-8")
