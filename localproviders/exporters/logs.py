"""Export of events to Python's own logging."""

from __future__ import annotations

import logging
from typing import List

from localproviders._redact import each_on_one_line, one_line
from localproviders.telemetry import CallEvent

# The levels of events that need the attention of the user. All other events have the level DEBUG.
# Retries have the level DEBUG, because there can be many while the server loads its model.
_LEVELS = {
    "fell_back": logging.WARNING,
    "overflowed": logging.WARNING,
    "failed": logging.WARNING,
}


class LogListener:
    """A listener that writes each event to the logger ``localproviders``.

    Failed calls, fallbacks and overflows of the context window have the level WARNING. All other
    events have the level DEBUG, including the end of a call that the caller cancelled.

    The message of a log record is one line of text. The attribute ``call_event`` of the record is
    the result of `CallEvent.to_dict`, for handlers that write JSON. The message and the attribute
    contain neither prompts nor answers. Control characters and direction marks in names from a
    server are written as escapes, so that a record is always one line of the log.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("localproviders")

    def __call__(self, event: CallEvent) -> None:
        """Write an event to the logger."""
        level = _LEVELS.get(event.kind, logging.DEBUG)
        if event.error == "CancelledError":
            level = logging.DEBUG
        if self._log.isEnabledFor(level):
            facts = {name: each_on_one_line(fact) for name, fact in event.to_dict().items()}
            self._log.log(level, "%s", describe(event), extra={"call_event": facts})


def describe(event: CallEvent) -> str:
    """Return one line of text that describes an event to users."""
    model = each_on_one_line(event.model)
    call = f"{event.operation} {model}" if model else event.operation
    parts = [
        f"{call} on {event.provider} {event.kind.replace('_', ' ')} after {event.elapsed_s:.3f} s"
    ]
    return one_line(", ".join(parts + _details(event)))


def _details(event: CallEvent) -> List[str]:
    details = {
        "{}": event.error,
        "continuing with {}": event.to_provider,
        "next attempt in {:.3g} s": event.wait_s,
        "a prompt of {} tokens": event.prompt_tokens,
        "an answer of {} tokens": event.completion_tokens,
        "a context window of {} tokens": event.context_length,
        "first token after {:.3f} s": event.first_token_s if event.kind == "finished" else None,
        "finish reason {}": event.finish_reason,
        "attempt {}": event.attempts if event.attempts > 1 else None,
    }
    return [
        form.format(each_on_one_line(value)) for form, value in details.items() if value is not None
    ]
