"""Events as records of Python's own logging."""

from __future__ import annotations

import logging
from typing import List

from localproviders.telemetry import CallEvent

# What somebody should look at; all else is DEBUG. A repetition is no reason: a server that
# is loading its model is asked again and again.
_LEVELS = {
    "fell_back": logging.WARNING,
    "overflowed": logging.WARNING,
    "failed": logging.WARNING,
}


class LogListener:
    """Writes each event to the logger ``localproviders``.

    A call that goes well is told at DEBUG, and so is one that the caller ended. At WARNING
    stand a call that failed, a fallback, and an overflow of the context window. A record's
    message is a line for people; its attribute ``call_event`` is `CallEvent.to_dict`, for
    handlers that write JSON. Neither has content.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("localproviders")

    def __call__(self, event: CallEvent) -> None:
        """Write one event."""
        level = _LEVELS.get(event.kind, logging.DEBUG)
        if event.error == "CancelledError":
            level = logging.DEBUG
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", line(event), extra={"call_event": event.to_dict()})


def line(event: CallEvent) -> str:
    """Give an event as one line for people."""
    what = f"{event.operation} {event.model}" if event.model else event.operation
    said = [
        f"{what} on {event.provider} {event.kind.replace('_', ' ')} after {event.elapsed_s:.3f} s"
    ]
    return ", ".join(said + _details(event))


def _details(event: CallEvent) -> List[str]:
    told = {
        "{}": event.error,
        "on to {}": event.to_provider,
        "next attempt in {:.3g} s": event.wait_s,
        "a prompt of {} tokens": event.prompt_tokens,
        "an answer of {} tokens": event.completion_tokens,
        "a window of {} tokens": event.context_length,
        "first token after {:.3f} s": event.first_token_s if event.kind == "finished" else None,
        "finish reason {}": event.finish_reason,
        "attempt {}": event.attempts if event.attempts > 1 else None,
    }
    return [words.format(value) for words, value in told.items() if value is not None]
