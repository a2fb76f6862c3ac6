"""Faults of a transfer: a pull, a push or a creation that comes to a halt or goes wrong."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Iterable, List, Tuple

from localproviders.testing.answers import Answer, dumps
from localproviders.testing.faults.fault import Fault, close, drip
from localproviders.testing.scripted import Exchange, Step

_KINDS = ("progress",)

# Faster than a server's 60 ms, so that a test need not wait.
_EVERY_S = 0.01

Steps = Callable[[Answer], Iterable[Step]]


def _record(
    answer: Answer, change: Callable[[Dict[str, Any]], Any] = lambda record: record
) -> bytes:
    """Frame the last report before the fault, changed by a function."""
    text = dumps(change(json.loads(answer.texts[answer.begun - 1])))
    assert answer.frame is not None  # noqa: S101  # a transfer is a stream
    return answer.framed(answer.frame(text))


def _less(record: Dict[str, Any]) -> Dict[str, Any]:
    return {**record, "completed": max(1, int(record.get("completed", 2)) // 2)}


def _fails(text: str) -> Steps:
    """Report an error after the begin, and nothing more."""

    def steps(answer: Answer) -> List[Step]:
        texts = [*answer.texts[: answer.begun], dumps({"error": text})]
        return answer.replace(texts=texts).steps()

    return steps


def _going_back(answer: Answer) -> List[Step]:
    return [answer.start() + _record(answer, _less), answer.rest()]


def _to_and_fro(answer: Answer) -> List[Step]:
    """Count down and up again for ever, each time to where it was."""
    return [answer.start(), drip(_record(answer, _less) + _record(answer), _EVERY_S)]


def _silent_work(answer: Answer) -> List[Step]:
    """Say that the digest is being checked, and nothing more."""
    status = answer.replace(texts=[dumps({"status": "verifying sha256 digest"})])
    return [answer.start() + status.framed(status.body), lambda exchange: exchange.hold()]


def _without_the_last(*more: Step) -> Steps:
    return lambda answer: [*answer.replace(texts=answer.texts[:-1]).steps(), *more]


def _slow_work(answer: Answer) -> List[Step]:
    """Work in silence for a moment before the last report."""

    def pause(exchange: Exchange) -> None:
        exchange.hold(0.5)

    status = answer.replace(texts=[dumps({"status": "verifying sha256 digest"})])
    return [answer.start() + status.framed(status.body), pause, answer.rest()]


#: What the server says when a transfer fails in its course, by what happened (§5.3).
TRANSFER_ERRORS: Dict[str, str] = {
    "no such model": "pull model manifest: file does not exist",
    "a server too old": "pull model manifest: 412: this model requires a newer version of Ollama",
    "no right": "unauthorized: access denied",
    "a corrupt file": "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b",
    "a bad line": "max retries exceeded: read tcp 192.0.2.1:443: connection reset by peer",
    "no line": 'pull model manifest: Get "https://registry.ollama.ai/v2/": dial tcp: no such host',
    "another platform": "this model requires MLX support, but the MLX runtime is not available",
}

TRANSFER_FAULTS: Tuple[Fault, ...] = (
    Fault(
        "a transfer that stands still",
        lambda a: [a.start(), drip(_record(a), _EVERY_S)],
        _KINDS,
    ),
    Fault("a transfer that goes to and fro", _to_and_fro, _KINDS),
    Fault("a transfer that goes back", _going_back, _KINDS),
    Fault("a transfer without success", _without_the_last(), _KINDS),
    Fault("a transfer without success, then closed", _without_the_last(close), _KINDS),
    Fault("silent work", _silent_work, _KINDS),
    Fault("slow work", _slow_work, _KINDS),
    Fault("a report without a status", lambda a: a.with_text('{"total": 7}').steps(), _KINDS),
    *(
        Fault(f"a transfer that fails: {what}", _fails(text), _KINDS)
        for what, text in TRANSFER_ERRORS.items()
    ),
)
