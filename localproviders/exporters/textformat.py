"""Prometheus' text format: samples to text and back. No input, no output."""

from __future__ import annotations

import math
import re
from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from localproviders.exporters.measures import METRICS, Change, Metric

Labels = Tuple[Tuple[str, str], ...]

#: The value of each sample, by its name and labels.
Samples = Dict[Tuple[str, Labels], float]

_SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}

_SUFFIXES: Mapping[str, Tuple[str, ...]] = {"histogram": ("_bucket", "_sum", "_count")}


def _names(metric: Metric) -> List[str]:
    return [metric.name + suffix for suffix in _SUFFIXES.get(metric.kind, ("",))]


_METRIC_OF = {name: metric for metric in METRICS for name in _names(metric)}


def samples_of(changes: Iterable[Change], constant: Mapping[str, str]) -> Samples:
    """Give what changes add up to, as samples with some labels more."""
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


def add(samples: Samples, more: Samples) -> None:
    """Put samples onto others: counts grow, and of two times the later one stays."""
    for key, value in more.items():
        before = samples.get(key, 0.0)
        gauge = _METRIC_OF[key[0]].kind == "gauge"
        samples[key] = max(before, value) if gauge else before + value


def write(samples: Samples) -> str:
    """Give the text of samples, metric by metric."""
    lines: List[str] = []
    for metric in METRICS:
        own = [(key, value) for key, value in samples.items() if _METRIC_OF[key[0]] is metric]
        if own:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            # Stable: the samples of one histogram stay together, in the order of their bounds.
            own.sort(key=lambda item: [pair for pair in item[0][1] if pair[0] != "le"])
            lines += [_line(name, labels, value) for (name, labels), value in own]
    return "\n".join([*lines, ""])


def _line(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{told}}} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return re.sub(r'[\\\n"]', lambda found: _ESCAPES[found.group()], text)


def parse(text: str) -> Samples:
    """Read what `write` gave.

    Raises:
        ValueError: It holds something else.
    """
    samples: Samples = {}
    # Not splitlines: a label may hold what Python, but nobody else, takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            if match is None or match.group(1) not in _METRIC_OF:
                raise ValueError(f"line {number} is not one of this package's metrics")
            name, labels, value = match.groups()
            if not math.isfinite(float(value)):
                raise ValueError(f"line {number} is no number that could count on")
            samples[name, _parsed(labels or "")] = float(value)
    return samples


def _parsed(labels: str) -> Labels:
    return tuple(
        (name, re.sub(r"\\.", lambda found: _UNESCAPES.get(found.group(), found.group()), text))
        for name, text in _LABEL.findall(labels)
    )
