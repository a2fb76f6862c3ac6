"""Telemetry events of calls, which are passed to listeners.

Without listeners, no event is created. Events contain names, numbers and times, but never an API
key. Only listeners whose attribute ``wants_content`` is True receive events with the prompt and
the answer. All other listeners receive the same events without prompt and answer.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from contextvars import ContextVar
from typing import Any, Callable, Dict, Optional, Tuple

from localproviders._http.deadline import Call
from localproviders._interrupts import is_injected
from localproviders._record import RAW, Record, field, record
from localproviders.errors import ContextOverflowError, ProviderError
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse

# The fields of an event that only listeners with `wants_content` receive, by name.
_Content = Dict[str, Any]

_log = logging.getLogger("localproviders")
_log.addHandler(logging.NullHandler())

_call_numbers = itertools.count(1)

# Name of the public method that the script has called, while this method calls another one.
_verb: ContextVar[Optional[str]] = ContextVar("localproviders_verb", default=None)


class RunningVerb:
    """A context manager within which one public method calls another one.

    `chat` calls `complete`, and `complete` calls `stream_completion`. The operation in the events
    is always the method that the script has called.

    Args:
        name: Name of the method that the script has called; None if no method calls another one.
    """

    def __init__(self, name: Optional[str]) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._token = _verb.set(self._name)

    def __exit__(self, *_: object) -> None:
        _verb.reset(self._token)


def take_verb(own: str) -> str:
    """Return the name of the public method that the script has called.

    This is the name of the innermost `RunningVerb`, or `own` if there is none. The name of the
    `RunningVerb` is returned only once, so that later calls by listeners and tools have their own
    names.

    Args:
        own: Name of the public method that calls this function.
    """
    name = _verb.get()
    if name is not None:
        _verb.set(None)
    return name or own


@record
class CallEvent(Record):
    """A telemetry event of a call.

    The first event of a call is ``started``. The last event is either ``finished`` or ``failed``.
    Exactly one of these two is sent, unless the process ends before the call.

    Attributes:
        kind: ``started``, ``connected``, ``first_token``, ``retried``, ``fell_back``,
            ``overflowed``, ``finished`` or ``failed``.
        operation: Name of the public method that the script called, such as ``chat``, ``stream``,
            ``parse``, ``embed`` or ``rerank``. Each request of `parse` and `run_tools` is a
            separate call.
        provider: Name of the provider.
        endpoint: Address of the server.
        model: Name of the requested model, or None.
        call: Number of the call in this process, equal in all events of the call. It is 0 on
            ``fell_back``, which happens between two calls.
        task: ``chat``, ``completion`` (of a plain prompt), ``embedding``, ``decision`` or
            ``rerank``; None for calls that list, load or change models.
        elapsed_s: Seconds from the start of the call to the event.
        connect_s: On ``connected``, seconds that connecting took, including the TLS handshake, or
            None if the connection was kept from an earlier call. None on other events.
        first_token_s: On ``first_token`` and ``finished``, seconds from the start of the call to
            the first token. None on other events.
        prompt_tokens: Length of the prompt in tokens, counted by the server, or None.
        completion_tokens: Length of the completion in tokens, counted by the server, or None.
        context_length: On ``overflowed``, length of the context window in tokens, or None if it
            is not known. None on other events.
        finish_reason: On ``finished``, the server's finish reason, or None if the server reported
            none. None on other events.
        served_model: On ``finished``, the name of the model that answered, as the server reported
            it. None on other events.
        digest: On ``finished``, the digest of the model that answered, if it is known. None on
            other events.
        cost_usd: On ``finished``, the price of the call in US dollars, if the server reports it.
            None on other events.
        attempts: Number of times that the request was sent so far.
        wait_s: On ``retried``, seconds until the next attempt. None on other events.
        error: On ``retried``, ``fell_back`` and ``failed``, the class name of the error. None on
            other events.
        to_provider: On ``fell_back``, the name of the provider that is used next. None on other
            events.
        request: On ``started`` of a chat or completion, the request, for listeners with
            ``wants_content``; otherwise None. Repr, equality, dictionaries and pickles leave it
            out.
        response: On ``finished`` of a chat or completion, the response, for listeners with
            ``wants_content``; otherwise None. Repr, equality, dictionaries and pickles leave it
            out.
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
    digest: Optional[str] = None
    cost_usd: Optional[float] = None
    attempts: int = 1
    wait_s: Optional[float] = None
    error: Optional[str] = None
    to_provider: Optional[str] = None
    request: Optional[CompletionRequest] = field(default=None, compare=False, metadata=RAW)
    response: Optional[CompletionResponse] = field(default=None, compare=False, metadata=RAW)


#: A function that receives each event, in the thread of the call. Its exceptions are logged and
#: ignored. If it has the attribute ``wants_content`` with the value True, its events have `request`
#: and `response`.
Listener = Callable[[CallEvent], None]


class Span:
    """The sender of the events of one call. Without listeners, it creates no events.

    If the end of the call is reported more than once, only the first report counts. A forked
    child process reports nothing, because the call belongs to its parent. The span passes the
    request to the listeners, but does not store it.
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
        self._facts: Dict[str, Any] = {"call": next(_call_numbers), **facts}
        self._process = os.getpid()
        self._connected = False
        self._attempts = 1
        self._end_token = [True]
        self._started = time.monotonic()
        try:
            self._emit("started", {"request": request})
        except BaseException as error:
            self.failed(error)
            raise

    def follow(self, call: Call) -> None:
        """Let a call report its retries, its connections and its first token to this span."""
        if self._listeners:
            call.on_retry = self.retried
            call.on_connected = self.connected
            call.on_first_token = self.first_token

    def connected(self, connect_s: Optional[float]) -> None:
        """Report a connection: the first of the call, or the first after a failed attempt."""
        if self._listeners and not self._connected:
            self._connected = True
            self._emit("connected", connect_s=connect_s)

    def first_token(self, first_token_s: float) -> None:
        """Report the first token of the answer."""
        self._emit("first_token", first_token_s=first_token_s)

    def retried(self, error: ProviderError, _: int, wait_s: float) -> None:
        """Report a failed attempt that will be repeated.

        The span counts the attempts itself, because a call may send several requests.
        """
        if self._listeners:
            self._connected = False
            self._emit("retried", error=type(error).__name__, wait_s=wait_s)
            self._attempts += 1

    def overflowed(self, prompt_tokens: Optional[int], context_length: Optional[int]) -> None:
        """Report that prompt and answer exceeded the context window."""
        self._emit("overflowed", prompt_tokens=prompt_tokens, context_length=context_length)

    def answered(self, response: CompletionResponse) -> None:
        """Report the end of a call with a complete response."""
        if self._listeners:
            self._end(
                "finished",
                {"response": response},
                first_token_s=response.timings.first_token_s,
                prompt_tokens=response.usage.prompt_tokens,
                completion_tokens=response.usage.completion_tokens,
                finish_reason=response.finish_reason,
                served_model=response.model,
                digest=response.digest,
                cost_usd=response.usage.cost_usd,
                attempts=response.attempts,
            )

    def finished(self, **facts: Any) -> None:
        """Report the successful end of a call."""
        self._end("finished", **facts)

    def failed(self, error: BaseException) -> None:
        """Report that a call ended with an exception, raised by this package or by a callback."""
        if isinstance(error, ContextOverflowError) and self._listeners and self._end_token:
            self.overflowed(error.prompt_tokens, error.context_length)
        self._end("failed", error=type(error).__name__)

    def _end(self, kind: str, content: Optional[_Content] = None, **facts: Any) -> None:
        if not self._listeners:
            return
        try:
            # `pop` is atomic: if two threads end a stream at the same time, only one succeeds.
            self._end_token.pop()
        except IndexError:
            return
        self._emit(kind, content, **facts)

    def _emit(self, kind: str, content: Optional[_Content] = None, **facts: Any) -> None:
        if not self._listeners or self._process != os.getpid():
            return
        elapsed_s = time.monotonic() - self._started
        facts = {"attempts": self._attempts, **self._facts, **facts}
        _notify(self._listeners, CallEvent(kind=kind, elapsed_s=elapsed_s, **facts), content)


#: The span that is used for calls without listeners.
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
    """Report that a provider failed and another provider is used instead.

    Args:
        listeners: The listeners that receive the event.
        error: The exception of the failed provider. Only its class name is reported.
        operation: Name of the public method.
        provider: Name of the provider that failed.
        endpoint: Address of its server.
        to: Name of the provider that is used next.
        model: Name of the requested model, or None.
        task: ``chat``, ``completion``, ``embedding``, ``decision``, ``rerank`` or None.
        elapsed_s: Seconds since the start of the public call.
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
        _notify(listeners, event)


def _notify(
    listeners: Tuple[Listener, ...], event: CallEvent, content: Optional[_Content] = None
) -> None:
    for index, listener in enumerate(listeners):
        try:
            listener(event.replace(**content) if content and _wants_content(listener) else event)
        except BaseException as error:
            if not isinstance(error, Exception) or is_injected(error):
                # For example Ctrl+C, or a signal handler: the other listeners are notified first.
                _notify(listeners[index + 1 :], event, content)
                raise
            _log.debug("a telemetry listener failed", exc_info=True)


def _wants_content(listener: Listener) -> bool:
    # The value is compared with True, because all attributes of a mock are truthy. A mock must not
    # receive content.
    return getattr(listener, "wants_content", False) is True
