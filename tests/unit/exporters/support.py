"""Calls without a server whose events the tests of the exporters check."""

from __future__ import annotations

from typing import Any, Optional

from localproviders.errors import ContextOverflowError, ServerBusyError
from localproviders.telemetry import Listener, Span, fell_back

FACTS = {"operation": "stream", "provider": "ollama", "endpoint": "http://127.0.0.1:11434"}


def emit_call(*listeners: Listener, error: Optional[BaseException] = None, **facts: Any) -> None:
    """Emit the events of one call.

    Args:
        listeners: The listeners that receive the events.
        error: The error that ends the call; None for a successful call.
        facts: Further attributes of the events.
    """
    span = Span(listeners, **{**FACTS, "model": "m", "task": "chat", **facts})
    span.connected(0.001)
    if error is not None:
        span.failed(error)
        return
    span.first_token(0.25)
    span.finished(
        first_token_s=0.25,
        prompt_tokens=7,
        completion_tokens=3,
        finish_reason="stop",
        served_model="m:latest",
    )


def emit_all_kinds(*listeners: Listener) -> None:
    """Emit events of every kind."""
    emit_call(*listeners)
    emit_call(*listeners, error=ContextOverflowError("private", prompt_tokens=9, context_length=8))
    span = Span(listeners, model="m", **FACTS)
    span.retried(ServerBusyError("private"), 1, 0.5)
    span.failed(ServerBusyError("private"))
    fell_back(listeners, ServerBusyError("private"), to="lmstudio", model="m", **FACTS)
