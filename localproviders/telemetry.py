"""The events of a call, as values, for whoever listens. Nobody listening costs nothing.

Events carry names, numbers and times; never a prompt, an answer or a key.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, Dict, Optional, Tuple

from localproviders._record import Record, record
from localproviders.errors import ProviderError

#: Receives each event, in the thread of the call. What it raises is logged and dropped.
Listener = Callable[["CallEvent"], None]

_log = logging.getLogger("localproviders")
_log.addHandler(logging.NullHandler())


@record
class CallEvent(Record):
    """Something that happened to a call.

    Attributes:
        kind: ``started``, ``retried``, ``finished`` or ``failed``.
        operation: The public method, such as ``stream`` or ``embed``.
        provider: Name of the provider.
        model: The model asked for, or None.
        endpoint: Address of the server.
        elapsed_s: Seconds since the call began.
        first_token_s: Seconds to the first token, on ``finished`` streams.
        prompt_tokens: Length of the prompt, where the server counted it.
        completion_tokens: Length of the answer, where the server counted it.
        finish_reason: Why the answer ended, in the server's words.
        attempts: How often the request was sent so far.
        wait_s: Seconds before the next attempt, on ``retried``.
        error: Class name of the error, on ``retried`` and ``failed``.
    """

    kind: str
    operation: str
    provider: str
    endpoint: str
    model: Optional[str] = None
    elapsed_s: float = 0.0
    first_token_s: Optional[float] = None
    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    finish_reason: Optional[str] = None
    attempts: int = 1
    wait_s: Optional[float] = None
    error: Optional[str] = None


class Span:
    """One call's events on their way to the listeners; makes none where nobody listens."""

    def __init__(self, listeners: Tuple[Listener, ...], **facts: Any) -> None:
        self._listeners = listeners
        self._facts: Dict[str, Any] = facts
        self._started = time.monotonic()
        self._emit("started")

    def retried(self, error: ProviderError, attempts: int, wait_s: float) -> None:
        """Say that an attempt failed, and that another will follow."""
        self._emit("retried", error=type(error).__name__, attempts=attempts, wait_s=wait_s)

    def finished(self, **facts: Any) -> None:
        """Say that the call ended in a whole answer."""
        self._emit("finished", **facts)

    def failed(self, error: ProviderError) -> None:
        """Say that the call ended in an error."""
        self._emit("failed", error=type(error).__name__)

    def _emit(self, kind: str, **facts: Any) -> None:
        if not self._listeners:
            return
        elapsed_s = time.monotonic() - self._started
        event = CallEvent(kind=kind, elapsed_s=elapsed_s, **self._facts, **facts)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                _log.debug("a telemetry listener failed", exc_info=True)
