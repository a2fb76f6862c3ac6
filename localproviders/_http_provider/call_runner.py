"""Run the calls of a provider's public methods: limits, telemetry, and the context of errors.

`CallRunner` runs a call that ends when its method returns. `Completion` is for a call that
continues until the caller's `Stream` ends.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Iterable, List, Mapping, Optional, Protocol, TypeVar

from localproviders._http.deadline import Call
from localproviders._http.framing import Look
from localproviders._http.service import USUAL, Service
from localproviders._http.stream import Opened
from localproviders._http.summary import Summary
from localproviders._http.transport import Explain, Transport, encode
from localproviders._http_provider.model_checks import cut_off_warning
from localproviders.errors import ProviderError, WrongModelError
from localproviders.settings import Settings
from localproviders.telemetry import SILENT, Span
from localproviders.types.limits import LISTING_TOTAL_S, CancelToken, Limits, Timeout, resolve
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionChunk, CompletionResponse

T = TypeVar("T")

#: The JSON of a response, or of a record in it; None if there is none.
Raw = Optional[Mapping[str, Any]]

#: A function that returns the facts of the ``finished`` event from the result of a call.
Facts = Callable[[Any], Mapping[str, Any]]


def _ignore(error: ProviderError, call: Call) -> None:
    """Do nothing. This function is the default of `on_failure`."""


class CallRunner:
    """Runner of the calls of one provider's public methods.

    Each call has one deadline and cancellation state (`Call`), and one telemetry span. A call
    returns its result, or raises a `ProviderError` that names provider, endpoint and model. The
    parts of a provider share one runner.

    Args:
        settings: The provider's settings.
        explain: Makes an error from an error response of this dialect.
        on_failure: Function that is called with each error and its call before the error is
            raised. It drops cached facts about the server, and adds facts from the server to the
            error.
        service: Description of how the server is reached.
    """

    def __init__(
        self,
        settings: Settings,
        explain: Explain,
        on_failure: Callable[[ProviderError, Call], None] = _ignore,
        service: Service = USUAL,
    ) -> None:
        self.settings = settings
        self.transport: Transport = Transport(settings, explain, service)
        self._on_failure = on_failure

    def limits(self, timeout: Timeout, total_s: Optional[float] = None) -> Limits:
        """Return the limits of one call.

        Args:
            timeout: The caller's argument. It has priority over all other limits.
            total_s: The limit `total_s` for this kind of call, in seconds. Infinity replaces the
                provider's `total_s`; any other value can only shorten it.
        """
        if timeout is None and total_s == math.inf:
            return self.settings.limits.replace(total_s=math.inf)
        return resolve(timeout, self.settings.limits, total_s)

    def run(
        self,
        work: Callable[[Call], T],
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        operation: Optional[str] = None,
        model: Optional[str] = None,
        total_s: Optional[float] = None,
        task: Optional[str] = None,
        texts: Callable[[], Iterable[str]] = tuple,
        make: Optional[Callable[[Limits, Optional[CancelToken]], Call]] = None,
        facts: Optional[Facts] = None,
    ) -> T:
        """Run `work` as one call of a public method, and return its result.

        Args:
            work: Sends the requests of this call.
            timeout: The caller's argument.
            cancel: The caller's argument.
            operation: Name of the public method in telemetry events. With None, no events are
                sent, as for requests for facts about a server.
            model: The model of the call, for errors and events.
            total_s: The limit `total_s` for this kind of call, which is passed to `limits`.
            task: The task in telemetry events.
            texts: Returns the texts of the request, which an error must not quote. This is a
                function, so that a traceback with local variables does not show the prompt.
            make: Makes the `Call`; None uses the class `Call` itself.
            facts: Returns the facts of the ``finished`` event. By default, the event has only the
                number of attempts.

        Raises:
            ProviderError: `work` raised it; its context has been added.
        """
        call = (make or Call)(self.limits(timeout, total_s), cancel)
        span = SILENT if operation is None else self.span(operation, model, call, task)
        try:
            done = work(call)
            if operation is None:
                # If the last step of `work` was local, `work` may return after a limit has
                # expired. Such a late result is an error, too.
                call.look()
        except ProviderError as error:
            raise self.failed(error, span, model, call, texts()) from error.__cause__
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            call.finish()
        span.finished(**(facts(done) if facts else {}))
        return done

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any, Look], T],
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
        payload: Optional[Mapping[str, Any]] = None,
    ) -> T:
        """Request facts about the server or its models, and return the result of `read`.

        Args:
            method: HTTP method.
            path: Path below the endpoint.
            read: Function that makes the result from the JSON. Its second argument is a function
                that checks the limits of the call. If `read` makes many values, it calls this
                function again and again.
            timeout: The caller's argument.
            cancel: The caller's argument.
            payload: JSON of the request, if any.

        Raises:
            ProviderError: The request failed, or `read` refused the JSON.
        """

        def work(call: Call) -> T:
            body = None if payload is None else encode(payload)
            return read(self.transport.json(method, path, call=call, body=body), call.look)

        return self.run(work, timeout=timeout, cancel=cancel, total_s=LISTING_TOTAL_S)

    def span(
        self,
        operation: str,
        model: Optional[str],
        call: Call,
        task: Optional[str] = None,
        request: Optional[CompletionRequest] = None,
    ) -> Span:
        """Return a started telemetry span; without listeners, the span does nothing."""
        settings = self.settings
        if not settings.listeners:
            return SILENT
        span = Span(
            settings.listeners,
            request=request,
            operation=operation,
            provider=settings.name,
            model=model,
            task=task,
            endpoint=settings.endpoint.url,
        )
        span.follow(call)
        return span

    def failed(
        self,
        error: ProviderError,
        span: Span,
        model: Optional[str],
        call: Call,
        texts: Iterable[str] = (),
    ) -> ProviderError:
        """Send the ``failed`` event, and return the error with its context."""
        error.add_context(request_id=call.request_id)
        error = self.transport.finish_error(error, texts)
        error.add_context(model=model)
        self._on_failure(error, call)
        span.failed(error)
        return error


# Highest number of warnings for a response. Each new warning is compared with all earlier ones,
# which would be slow if a server named another model in each record.
_MOST_WARNINGS = 20


class Checks(Protocol):
    """The methods of a provider that its completions use."""

    def _check_chunk(
        self, request: CompletionRequest, model: str, chunk: CompletionChunk, call: Call
    ) -> Optional[str]:
        """Check a chunk; return a warning, or None.

        Raises:
            ProviderError: The chunk is not acceptable.
        """

    def _check_length(self, completion: Completion, pieces: int) -> float:
        """Check the length of an answer so far; return the length at which to check it again.

        Raises:
            ContextOverflowError: The answer is longer than the context window.
        """
        ...

    def _conclude(self, completion: Completion, summary: Summary) -> CompletionResponse:
        """Return the response after the last chunk."""
        ...

    def _failed(
        self, error: ProviderError, request: CompletionRequest, model: str, call: Call, span: Span
    ) -> ProviderError:
        """Send the ``failed`` event, and return the error with its context."""
        ...


class Resent(Protocol):
    """A request that can be sent again, such as `Sending`."""

    def reopen(self, error: ProviderError) -> Opened:
        """Send the request again, changed so that the server can accept it.

        Raises:
            ProviderError: The given error, if no change can help; or the changed request failed.
        """
        ...

    def accepted(self) -> List[str]:
        """Return a warning for each change that the server has accepted."""
        ...


class Completion:
    """The owner of a `Stream`: a request, its call, its warnings and its telemetry span.

    Attributes:
        request: The request, without the fields that the server does not support.
        model: The requested model.
        warnings: The warnings of the response: at most 20, without repetitions.
        call: The deadline and cancellation state of the call.
        span: The telemetry span of the call.
        sending: The request as it was sent.
        digest: Digest of the requested model, if it is known.
    """

    def __init__(
        self,
        checks: Checks,
        request: CompletionRequest,
        model: str,
        warnings: List[str],
        call: Call,
        span: Span,
        sending: Resent,
        digest: Optional[str] = None,
    ) -> None:
        self._checks = checks
        self.sending = sending
        self._was_resent = False
        self.request = request
        self.model = model
        self.warnings = warnings
        self.call = call
        self.span = span
        self.digest = digest

    def inspect(self, chunk: CompletionChunk) -> None:
        """Check a chunk before the caller gets it.

        Raises:
            ProviderError: The chunk is not acceptable; for example, it names another model.
        """
        try:
            warning = self._checks._check_chunk(self.request, self.model, chunk, self.call)
        except WrongModelError as error:
            error.hint = f"{error.hint}, or pass allow_other_model=True to accept it"
            raise
        if warning is not None:
            self._warn(warning)

    def _warn(self, warning: Optional[str]) -> None:
        if warning is None or len(self.warnings) >= _MOST_WARNINGS:
            return
        if warning not in self.warnings:
            self.warnings.append(warning)

    def reopen(self, error: ProviderError) -> Opened:
        """Send the request again, after an error that arrived before any content.

        Raises:
            ProviderError: The given error, if no change of the request can help; or the new request
                failed.
        """
        self._was_resent = True
        return self.sending.reopen(error)

    def check_length(self, pieces: int) -> float:
        """Check the length of an answer so far; return the length at which to check it again.

        Raises:
            ContextOverflowError: The answer is longer than the context window.
        """
        return self._checks._check_length(self, pieces)

    def conclude(self, summary: Summary) -> CompletionResponse:
        """Return the response, after the last chunk.

        Raises:
            ContextOverflowError: Prompt and answer were longer than the context window.
        """
        for warning in self.sending.accepted() if self._was_resent else ():
            self._warn(warning)
        self._warn(cut_off_warning(self.request, summary))
        return self._checks._conclude(self, summary)

    def explain(self, error: ProviderError) -> ProviderError:
        """Add the call's context to an error, send the ``failed`` event, and return the error."""
        return self._checks._failed(error, self.request, self.model, self.call, self.span)

    def abandon(self, error: BaseException) -> None:
        """Send the ``failed`` event of a stream that the caller closed or interrupted."""
        self.span.failed(error)
