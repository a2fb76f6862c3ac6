"""Calls whose events the exporters' tests look at, without a server."""

from __future__ import annotations

from typing import Any, Optional

from localproviders.errors import BusyError, ContextOverflowError
from localproviders.telemetry import Listener, Span, fell_back

FACTS = {"operation": "stream", "provider": "ollama", "endpoint": "http://127.0.0.1:11434"}


def call(*listeners: Listener, error: Optional[BaseException] = None, **facts: Any) -> None:
    """Let a call happen: it ends well, or in this error."""
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


def everything(*listeners: Listener) -> None:
    """Let each kind of event happen."""
    call(*listeners)
    call(*listeners, error=ContextOverflowError("private", prompt_tokens=9, context_length=8))
    span = Span(listeners, model="m", **FACTS)
    span.retried(BusyError("private"), 1, 0.5)
    span.failed(BusyError("private"))
    fell_back(listeners, BusyError("private"), to="lmstudio", model="m", **FACTS)
