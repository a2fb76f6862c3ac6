"""The metrics that an event changes, and the Prometheus text format for their samples.

Both exporters for Prometheus use the same table of metrics. The module does no input or output.
"""

from __future__ import annotations

import math
import re
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from localproviders.telemetry import CallEvent

if TYPE_CHECKING:
    from localproviders.batch.report import BatchReport
else:
    BatchReport = Any  # not imported for scripts without batches

# Upper bounds of the buckets in seconds. The last one is 30 minutes, because the server may have to
# load a model from disk before its first token.
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_COMMON = ("provider", "model", "operation")


class Metric(NamedTuple):
    """A metric: its name, its Prometheus type, its help text, its labels and its buckets."""

    name: str
    kind: str
    help: str
    labels: Tuple[str, ...]
    buckets: Tuple[float, ...] = ()


class Change(NamedTuple):
    """A change of a metric.

    The value is added to a counter, observed by a histogram, or becomes the value of a gauge.
    """

    metric: Metric
    labels: Mapping[str, str]
    value: float


CALLS = Metric(
    "localproviders_calls_total",
    "counter",
    "Calls that ended. The error label is empty if the call succeeded.",
    (*_COMMON, "error"),
)
RETRIES = Metric(
    "localproviders_retries_total",
    "counter",
    "Failed attempts that were repeated.",
    (*_COMMON, "error"),
)
FALLBACKS = Metric(
    "localproviders_fallbacks_total",
    "counter",
    "Calls that continued with another provider.",
    (*_COMMON, "to_provider", "error"),
)
OVERFLOWS = Metric(
    "localproviders_overflows_total",
    "counter",
    "Calls whose prompt and answer exceeded the context window.",
    _COMMON,
)
TOKENS = Metric(
    "localproviders_tokens_total",
    "counter",
    "Tokens of prompts (type input) and answers (type output), counted by the servers.",
    (*_COMMON, "type"),
)
DURATION = Metric(
    "localproviders_call_duration_seconds",
    "histogram",
    "Duration of calls, successful or not, including repeated attempts.",
    _COMMON,
    _SECONDS,
)
FIRST_TOKEN = Metric(
    "localproviders_first_token_seconds",
    "histogram",
    "Time from the start of a call to its first token, including loading.",
    _COMMON,
    _SECONDS,
)
LAST_SUCCESS = Metric(
    "localproviders_last_success_timestamp_seconds",
    "gauge",
    "Time of the last successful call, in seconds since 1970.",
    _COMMON,
)
LAST_FAILURE = Metric(
    "localproviders_last_failure_timestamp_seconds",
    "gauge",
    "Time of the last failed call, in seconds since 1970.",
    _COMMON,
)

#: The metrics of calls.
CALL_METRICS = (
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

EXIT_CODE = Metric(
    "localproviders_run_exit_code",
    "gauge",
    "Exit code of the last run of the command.",
    ("verb",),
)
RUN_END = Metric(
    "localproviders_run_last_end_timestamp_seconds",
    "gauge",
    "Time when the last run of the command ended, in seconds since 1970.",
    ("verb",),
)
RUN_SUCCESS = Metric(
    "localproviders_run_last_success_timestamp_seconds",
    "gauge",
    "Time when a run of the command last ended with the exit code 0, in seconds since 1970.",
    ("verb",),
)

BATCH_ROWS = Metric(
    "localproviders_batch_rows",
    "gauge",
    "Rows of the last batch: with an answer (succeeded), an error (failed) or neither (open).",
    ("state",),
)
BATCH_BOUND = Metric(
    "localproviders_batch_bound_by",
    "gauge",
    "1 for the part that the last batch waited for most of the time, 0 for the other parts.",
    ("part",),
)

#: The metrics of batches.
BATCH_METRICS = (BATCH_ROWS, BATCH_BOUND)

METRICS = (*CALL_METRICS, EXIT_CODE, RUN_END, RUN_SUCCESS, *BATCH_METRICS)


def changes(event: CallEvent) -> Iterator[Change]:
    """Yield the changes that an event makes to metrics. Events such as ``started`` make none."""
    ended = event.kind in ("finished", "failed")
    succeeded = event.kind == "finished"
    values: Mapping[Metric, Optional[float]] = {
        CALLS: 1 if ended else None,
        RETRIES: 1 if event.kind == "retried" else None,
        FALLBACKS: 1 if event.kind == "fell_back" else None,
        OVERFLOWS: 1 if event.kind == "overflowed" else None,
        DURATION: event.elapsed_s if ended else None,
        FIRST_TOKEN: event.first_token_s if event.kind == "first_token" else None,
        LAST_SUCCESS: time.time() if succeeded else None,
        LAST_FAILURE: time.time() if ended and not succeeded else None,
    }
    for metric, value in values.items():
        if value is not None:
            yield Change(metric, _labels(event, metric), value)
    tokens = {"input": event.prompt_tokens, "output": event.completion_tokens}
    for type_, count in tokens.items():
        if succeeded and count is not None:
            yield Change(TOKENS, {**_labels(event, TOKENS), "type": type_}, count)


def run_changes(verb: str, exit_code: int) -> Iterator[Change]:
    """Yield the changes that the end of a run of the command makes to metrics.

    Args:
        verb: The verb of the command, such as ``chat``.
        exit_code: The exit code.
    """
    now = time.time()
    yield Change(EXIT_CODE, {"verb": verb}, exit_code)
    yield Change(RUN_END, {"verb": verb}, now)
    if exit_code == 0:
        yield Change(RUN_SUCCESS, {"verb": verb}, now)


def batch_changes(report: BatchReport) -> Iterator[Change]:
    """Yield the changes that a report of a batch makes to metrics."""
    rows = {"succeeded": report.succeeded, "failed": report.failed}
    for state, count in {**rows, "open": report.rows - sum(rows.values())}.items():
        yield Change(BATCH_ROWS, {"state": state}, count)
    for part in ("server", "source", "preparation"):
        yield Change(BATCH_BOUND, {"part": part}, float(part == report.bound_by))


def _labels(event: CallEvent, metric: Metric) -> Mapping[str, str]:
    return {name: encodable(str(getattr(event, name, None) or "")) for name in metric.labels}


def encodable(text: str) -> str:
    """Return the text with a question mark for each character that UTF-8 cannot encode."""
    # The characters are replaced before the samples are counted. If they were replaced when the
    # file is written, two names that differ only in such characters would be two samples in memory,
    # but the same sample in the file.
    return text.encode("utf-8", "replace").decode("utf-8")


Labels = Tuple[Tuple[str, str], ...]

#: The value of each sample, by its name and labels.
Samples = Dict[Tuple[str, Labels], float]

_SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}

_SUFFIXES: Mapping[str, Tuple[str, ...]] = {"histogram": ("_bucket", "_sum", "_count")}


def _sample_names(metric: Metric) -> List[str]:
    return [metric.name + suffix for suffix in _SUFFIXES.get(metric.kind, ("",))]


_METRIC_OF_SAMPLE = {name: metric for metric in METRICS for name in _sample_names(metric)}


def samples_of(changes: Iterable[Change], constant: Mapping[str, str]) -> Samples:
    """Return the samples that represent changes of metrics.

    Args:
        changes: The changes.
        constant: Labels that are added to each sample.
    """
    found: Samples = {}
    for metric, labels, value in changes:
        add(found, dict(_samples(metric, {**constant, **labels}, value)))
    return found


def _samples(
    metric: Metric, labels: Mapping[str, str], value: float
) -> Iterator[Tuple[Tuple[str, Labels], float]]:
    if metric.kind != "histogram":
        yield (metric.name, tuple(labels.items())), value
        return
    for bound in (*metric.buckets, math.inf):
        bounded = {**labels, "le": "+Inf" if math.isinf(bound) else repr(bound)}
        yield (metric.name + "_bucket", tuple(bounded.items())), float(value <= bound)
    yield (metric.name + "_sum", tuple(labels.items())), value
    yield (metric.name + "_count", tuple(labels.items())), 1.0


# Gauges without a time. They may become smaller.
_REPLACED = frozenset({EXIT_CODE, *BATCH_METRICS})


def add(samples: Samples, more: Samples) -> None:
    """Add the samples in `more` to `samples`.

    Values of counters and histograms are summed. A gauge with a time keeps the later time. Other
    gauges have the value in `more`.
    """
    for key, value in more.items():
        before = samples.get(key, 0.0)
        metric = _METRIC_OF_SAMPLE[key[0]]
        if metric in _REPLACED:
            samples[key] = value
        else:
            samples[key] = max(before, value) if metric.kind == "gauge" else before + value


def write(samples: Samples) -> str:
    """Return samples in the Prometheus text format, metric by metric."""
    lines: List[str] = []
    for metric in METRICS:
        own = [
            (key, value) for key, value in samples.items() if _METRIC_OF_SAMPLE[key[0]] is metric
        ]
        if own:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            # The sort is stable, so the samples of one histogram stay together, in the order of
            # their bounds.
            own.sort(key=lambda item: [pair for pair in item[0][1] if pair[0] != "le"])
            lines += [_line(name, labels, value) for (name, labels), value in own]
    return "\n".join([*lines, ""])


def _line(name: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
    return f"{name}{{{pairs}}} {_format_number(value)}"


def _format_number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escape(text: str) -> str:
    return re.sub(r'[\\\n"]', lambda found: _ESCAPES[found.group()], text)


def parse(text: str) -> Samples:
    """Parse the text format that `write` writes, and return the samples.

    Raises:
        ValueError: A line is not a sample of this package's metrics, or its value is not a finite
            number.
    """
    samples: Samples = {}
    # `splitlines` is not used, because it would also split at characters such as U+2028 in a label.
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            if match is None or match.group(1) not in _METRIC_OF_SAMPLE:
                raise ValueError(f"line {number} is not one of this package's metrics")
            name, labels, value = match.groups()
            if not math.isfinite(float(value)):
                raise ValueError(f"line {number} has a value that is not finite")
            samples[name, _parse_labels(labels or "")] = float(value)
    return samples


def _parse_labels(labels: str) -> Labels:
    return tuple(
        (name, re.sub(r"\\.", lambda found: _UNESCAPES.get(found.group(), found.group()), text))
        for name, text in _LABEL.findall(labels)
    )
