"""Several requests of one public call that share one deadline and one cancel token."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional, Protocol, TypeVar

from localproviders._http.deadline import Call, total_ended, wait
from localproviders._http.stream import Stream
from localproviders._refusals import Refusals
from localproviders.errors import LimitError, ProviderError
from localproviders.telemetry import RunningVerb
from localproviders.types.limits import CancelToken, Limits, Timeout
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionChunk, CompletionResponse

T = TypeVar("T")


class SupportsComplete(Protocol):
    """The part of `ModelProvider` that this module uses.

    Importing `ModelProvider` itself would be an import cycle.
    """

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    @property
    def _refused(self) -> Refusals:
        """The fields and schemas that the server refuses (`Refusals`)."""
        ...

    def limits(self, timeout: Timeout = None) -> Limits:
        """Return the limits of a call with this `timeout`."""
        ...

    def complete(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> CompletionResponse:
        """Send a request and return the complete response."""
        ...

    def stream_completion(
        self,
        request: CompletionRequest,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> Stream:
        """Send a request and return a stream of completion chunks."""
        ...


class SharedDeadline:
    """A context manager that sends several requests within the limits of one call.

    Args:
        provider: The provider that sends the requests.
        timeout: The limits that the caller passed. The total limit starts in the constructor, and
            covers all requests and the time between them. The other limits apply to each request.
        cancel: A token that cancels the call, or None.
        clock: A monotonic clock in seconds. Tests pass their own.
        verb: Name of the public method, for the events of the requests.

    Attributes:
        provider: The provider that sends the requests.
    """

    def __init__(
        self,
        provider: SupportsComplete,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        clock: Callable[[], float] = time.monotonic,
        *,
        verb: str = "complete",
    ) -> None:
        self.provider = provider
        self._cancel = cancel
        self._verb = verb
        self._call = Call(provider.limits(timeout), cancel, clock)

    def __enter__(self) -> SharedDeadline:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """End the call, and unregister it from its cancel token. `finish` may be repeated."""
        self._call.finish()

    def send(self, request: CompletionRequest) -> CompletionResponse:
        """Send one request within the remaining time, and return its response.

        Raises:
            LimitError: A limit expired. If it is the total limit, the error contains the total
                limit of the whole call, not the remaining time that this request had.
            ProviderError: The request failed, and `complete` raised this error.
        """
        self.check()
        limits = self._call.limits_left()
        return self._bounded(
            lambda: self.provider.complete(request, timeout=limits, cancel=self._cancel), self._verb
        )

    def open(self, request: CompletionRequest) -> Stream:
        """Send one request within the remaining time, and return its stream.

        Raises:
            LimitError: A limit expired. The total limit covers the whole call.
            ProviderError: The request failed, and `stream_completion` raised this error.
        """
        self.check()
        limits = self._call.limits_left()
        return self._bounded(
            lambda: self.provider.stream_completion(request, timeout=limits, cancel=self._cancel),
            self._verb,
        )

    def read(self, stream: Stream) -> Optional[CompletionChunk]:
        """Return the next chunk of a stream from `open`, or None after the last one.

        Raises:
            LimitError: A limit expired. The total limit covers the whole call.
            ProviderError: The stream raised this error.
        """
        # The name of the public method is not set here. Reading starts no request. If a listener
        # makes a request during the read, its events would have that name by mistake.
        return self._bounded(lambda: next(stream, None), None)

    def collect(self, stream: Stream) -> CompletionResponse:
        """Read the rest of a stream from `open`, and return its response.

        Raises:
            LimitError: A limit expired. The total limit covers the whole call.
            ProviderError: The stream raised this error.
        """
        return self._bounded(stream.result, None)

    def run(self, work: Callable[[Limits, Optional[CancelToken]], T]) -> T:
        """Call another method of the provider within the remaining time.

        Args:
            work: The function that calls the method. Its arguments are the limits that remain, and
                the cancel token.

        Raises:
            LimitError: A limit expired. The total limit covers the whole call.
            ProviderError: The method raised this error.
        """
        self.check()
        limits = self._call.limits_left()
        return self._bounded(lambda: work(limits, self._cancel), None)

    def _bounded(self, work: Callable[[], T], verb: Optional[str]) -> T:
        """Run a part of a request.

        If the total limit expires, the error reports the total limit of the whole call.
        """
        try:
            with RunningVerb(verb):
                return work()
        except LimitError as error:
            if error.limit != "total_s":
                raise
            total_error = total_ended(self._call, error)
            cause = error.__cause__
        raise total_error from cause

    def check(self) -> None:
        """Check the deadline and the cancel token between two requests.

        Raises:
            LimitError: The total limit expired.
            CancelledError: The caller cancelled the call.
        """
        self._named(self._call.look)

    def wait(self, event: threading.Event) -> None:
        """Wait for an event between two requests.

        Raises:
            LimitError: The total limit expired.
            CancelledError: The caller cancelled the call.
        """
        self._named(lambda: wait(self._call, event))

    def _named(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ProviderError as error:
            error.add_context(provider=self.provider.name)
            raise
