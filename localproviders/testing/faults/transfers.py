"""Faults of a transfer: the pull, push or creation of a model stalls or fails."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List, Tuple

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.faults.fault import Fault, close, drip
from localproviders.testing.scripted import Exchange, Step

_KINDS = ("progress",)

# Seconds between two reports. A real server reports every 60 ms; tests should not wait that long.
_REPORT_INTERVAL_S = 0.01

Steps = Callable[[Answer], Iterable[Step]]


def _report(
    answer: Answer, change: Callable[[Dict[str, Any]], Any] = lambda record: record
) -> bytes:
    """Return the bytes of the last report before the fault, after `change` has changed it."""
    text = dumps(change(json.loads(answer.texts[answer.begun - 1])))
    assert answer.frame is not None  # noqa: S101  # a transfer is a stream
    return answer.framed(answer.frame(text))


def _with_fewer_bytes(record: Dict[str, Any]) -> Dict[str, Any]:
    return {**record, "completed": max(1, int(record.get("completed", 2)) // 2)}


def _ending_with_error(text: str) -> Steps:
    """Send the first reports, then an error, then nothing more."""

    def steps(answer: Answer) -> List[Step]:
        texts = [*answer.texts[: answer.begun], dumps({"error": text})]
        return answer.replace(texts=texts).steps()

    return steps


def _once_fewer_bytes(answer: Answer) -> List[Step]:
    return [answer.start() + _report(answer, _with_fewer_bytes), answer.rest()]


def _alternating_bytes(answer: Answer) -> List[Step]:
    """Report fewer bytes than before, then the earlier number of bytes, again and again."""
    return [
        answer.start(),
        drip(_report(answer, _with_fewer_bytes) + _report(answer), _REPORT_INTERVAL_S),
    ]


def _silent_work(answer: Answer) -> List[Step]:
    """Report that the digest is being checked, then send nothing more."""
    status = answer.replace(texts=[dumps({"status": "verifying sha256 digest"})])
    return [answer.start() + status.framed(status.body), lambda exchange: exchange.hold()]


def _without_last_report(*further: Step) -> Steps:
    return lambda answer: [*answer.replace(texts=answer.texts[:-1]).steps(), *further]


def _slow_work(answer: Answer) -> List[Step]:
    """Pause for a moment before the last report."""

    def pause(exchange: Exchange) -> None:
        exchange.hold(0.5)

    status = answer.replace(texts=[dumps({"status": "verifying sha256 digest"})])
    return [answer.start() + status.framed(status.body), pause, answer.rest()]


#: Error texts of Ollama for a transfer that fails, by cause: docs/reference/ollama.md,
#: "Error texts".
TRANSFER_ERRORS: Dict[str, str] = {
    "no such model": "pull model manifest: file does not exist",
    "a server too old": "pull model manifest: 412: this model requires a newer version of Ollama",
    "no permission": "unauthorized: access denied",
    "a corrupt file": "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b",
    "a bad connection": "max retries exceeded: read tcp 192.0.2.1:443: connection reset by peer",
    "no connection": (
        'pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: no such host'
    ),
    "another platform": "this model requires MLX support, but the MLX runtime is not available",
}

TRANSFER_FAULTS: Tuple[Fault, ...] = (
    Fault(
        "a transfer that stands still",
        lambda a: [a.start(), drip(_report(a), _REPORT_INTERVAL_S)],
        _KINDS,
    ),
    Fault("a transfer whose progress goes up and down", _alternating_bytes, _KINDS),
    Fault("a transfer that goes back", _once_fewer_bytes, _KINDS),
    Fault("a transfer without success", _without_last_report(), _KINDS),
    Fault("a transfer without success, then closed", _without_last_report(close), _KINDS),
    Fault("silent work", _silent_work, _KINDS),
    Fault("slow work", _slow_work, _KINDS),
    Fault("a report without a status", lambda a: a.with_text('{"total": 7}').steps(), _KINDS),
    *(
        Fault(f"a transfer that fails: {what}", _ending_with_error(text), _KINDS)
        for what, text in TRANSFER_ERRORS.items()
    ),
)
