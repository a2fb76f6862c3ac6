"""The events of a call, as values, for whoever listens. Nobody listening costs nothing.

Events carry names, numbers and times; never a key. A prompt or an answer is in them only for
a listener that says so: one whose attribute ``wants_content`` is True. The others get the same
events without.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple

from localproviders._record import RAW, Record, field, record
from localproviders.errors import ContextOverflowError, ProviderError
from localproviders.types.answer import CompletionResponse
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders._http.deadline import Call

#: Receives each event, in the thread of the call. What it raises is logged and dropped.
#: Its attribute ``wants_content``, where it is True, asks for `request` and `response`.
Listener = Callable[["CallEvent"], None]

# The fields of an event that only those get who asked, by name.
_Content = Dict[str, Any]

_log = logging.getLogger("localproviders")
_log.addHandler(logging.NullHandler())

_numbers = itertools.count(1)


@record
class CallEvent(Record):
    """Something that happened to a call.

    Each call is told as ``started``, then as what happens to it, and last as ``finished`` or
    ``failed``, exactly once, whatever ends it; only the end of the process is not told.

    Attributes:
        kind: ``started``, ``connected``, ``first_token``, ``retried``, ``fell_back``,
            ``overflowed``, ``finished`` or ``failed``.
        operation: The public method, such as ``stream`` or ``embed``.
        provider: Name of the provider.
        model: The model asked for, or None.
        endpoint: Address of the server.
        call: Number of the call in this process: the same in all its events. Zero on
            ``fell_back``, which lies between two calls.
        task: ``chat``, ``completion`` (of a plain prompt), ``embedding``, or None for calls
            about models.
        elapsed_s: Seconds since the call began.
        connect_s: Seconds that connecting took, the handshake of TLS included, on
            ``connected``; None where the connection was kept from an earlier call.
        first_token_s: Seconds to the first token, on ``first_token`` and ``finished``.
        prompt_tokens: Length of the prompt, where the server counted it.
        completion_tokens: Length of the answer, where the server counted it.
        context_length: Length of the window in tokens, on ``overflowed``, where it is known.
        finish_reason: Why the answer ended, in the server's words.
        served_model: The model that answered, by the server's word, on ``finished``.
        attempts: How often the request was sent so far.
        wait_s: Seconds before the next attempt, on ``retried``.
        error: Class name of the error, on ``retried``, ``fell_back`` and ``failed``.
        to_provider: Name of the provider that is asked instead, on ``fell_back``.
        request: What is asked, on ``started`` of a chat or completion, for a listener that
            wants content; else None. Absent from repr, equality, dictionaries and pickles.
        response: What was answered, on ``finished``; otherwise as `request`.
    """

    kind: str
    operation: str
    provider: str
    endpoint: str
    model: Optional[str] = None
    call: int = 0
    task: Optional[str] = None
    elapsed_s: float = 0.0
    connect_s: Optional[float] = None
    first_token_s: Optional[float] = None
    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    context_length: Optional[int] = None
    finish_reason: Optional[str] = None
    served_model: Optional[str] = None
    attempts: int = 1
    wait_s: Optional[float] = None
    error: Optional[str] = None
    to_provider: Optional[str] = None
    request: Optional[CompletionRequest] = field(default=None, compare=False, metadata=RAW)
    response: Optional[CompletionResponse] = field(default=None, compare=False, metadata=RAW)


class Span:
    """One call's events on their way to the listeners; makes none where nobody listens.

    Its first end is told, and no other. A process forked meanwhile tells nothing: the call
    is its parent's. The request is told and not kept.
    """

    def __init__(
        self,
        listeners: Tuple[Listener, ...],
        *,
        request: Optional[CompletionRequest] = None,
        **facts: Any,
    ) -> None:
        self._listeners = listeners
        if not listeners:
            return
        self._facts: Dict[str, Any] = {"call": next(_numbers), **facts}
        self._process = os.getpid()
        self._connected = False
        self._attempts = 1
        self._ends = [True]
        self._started = time.monotonic()
        try:
            self._emit("started", {"request": request})
        except BaseException as error:
            self.failed(error)
            raise

    def follow(self, call: Call) -> None:
        """Have a call tell what happens on its way, if anybody listens."""
        if self._listeners:
            call.on_retry = self.retried
            call.on_connected = self.connected
            call.on_first_token = self.first_token

    def connected(self, connect_s: Optional[float]) -> None:
        """Say that there is a connection: the first, or the first behind a failed attempt."""
        if self._listeners and not self._connected:
            self._connected = True
            self._emit("connected", connect_s=connect_s)

    def first_token(self, first_token_s: float) -> None:
        """Say that the answer begins."""
        self._emit("first_token", first_token_s=first_token_s)

    def retried(self, error: ProviderError, attempts: int, wait_s: float) -> None:
        """Say that an attempt failed, and that another will follow."""
        if self._listeners:
            self._connected, self._attempts = False, attempts
            self._emit("retried", error=type(error).__name__, wait_s=wait_s)
            self._attempts = attempts + 1

    def overflowed(self, prompt_tokens: Optional[int], context_length: Optional[int]) -> None:
        """Say that the context window was too small for prompt and answer."""
        self._emit("overflowed", prompt_tokens=prompt_tokens, context_length=context_length)

    def answered(self, response: CompletionResponse) -> None:
        """Say that the call ended in a whole answer."""
        if self._listeners:
            self._end(
                "finished",
                {"response": response},
                first_token_s=response.timings.first_token_s,
                prompt_tokens=response.usage.prompt_tokens,
                completion_tokens=response.usage.completion_tokens,
                finish_reason=response.finish_reason,
                served_model=response.model,
                attempts=response.attempts,
            )

    def finished(self, **facts: Any) -> None:
        """Say that the call has done what was asked."""
        self._end("finished", **facts)

    def failed(self, error: BaseException) -> None:
        """Say that the call ended without: in an error, or in what a callback raised."""
        if isinstance(error, ContextOverflowError) and self._listeners and self._ends:
            self.overflowed(error.prompt_tokens, error.context_length)
        self._end("failed", error=type(error).__name__)

    def _end(self, kind: str, content: Optional[_Content] = None, **facts: Any) -> None:
        if not self._listeners:
            return
        try:
            self._ends.pop()  # one step for Python: two threads may end a stream at once
        except IndexError:
            return
        self._emit(kind, content, **facts)

    def _emit(self, kind: str, content: Optional[_Content] = None, **facts: Any) -> None:
        if not self._listeners or self._process != os.getpid():
            return
        elapsed_s = time.monotonic() - self._started
        facts = {"attempts": self._attempts, **self._facts, **facts}
        _tell(self._listeners, CallEvent(kind=kind, elapsed_s=elapsed_s, **facts), content)


#: The span of every call that nobody listens to.
SILENT = Span(())


def fell_back(
    listeners: Tuple[Listener, ...],
    error: BaseException,
    *,
    operation: str,
    provider: str,
    endpoint: str,
    to: str,
    model: Optional[str] = None,
    task: Optional[str] = None,
    elapsed_s: float = 0.0,
) -> None:
    """Say that a provider failed, and that another one is asked instead.

    Args:
        listeners: Who hears it.
        error: What the failed provider raised; its class name is told.
        operation: The public method.
        provider: Name of the provider that failed.
        endpoint: Its address.
        to: Name of the provider that is asked next.
        model: The model asked for, or None.
        task: See `CallEvent`.
        elapsed_s: Seconds since the caller's call began.
    """
    if listeners:
        event = CallEvent(
            kind="fell_back",
            operation=operation,
            provider=provider,
            endpoint=endpoint,
            to_provider=to,
            model=model,
            task=task,
            elapsed_s=elapsed_s,
            error=type(error).__name__,
        )
        _tell(listeners, event)


def _tell(
    listeners: Tuple[Listener, ...], event: CallEvent, content: Optional[_Content] = None
) -> None:
    for index, listener in enumerate(listeners):
        try:
            listener(event.replace(**content) if content and _wants(listener) else event)
        except Exception:
            _log.debug("a telemetry listener failed", exc_info=True)
        except BaseException:  # somebody pressed Ctrl+C: the others hear of the event first
            _tell(listeners[index + 1 :], event, content)
            raise


def _wants(listener: Listener) -> bool:
    # Nothing but True counts: a mock, whose every attribute is true, has not asked.
    return getattr(listener, "wants_content", False) is True
