"""The questions of one call: one clock and one switch for them all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Optional

from localproviders._http.deadline import Call, Stop, stopped
from localproviders.errors import LimitError
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import Timeout
from localproviders.types.request import CompletionRequest

if TYPE_CHECKING:
    from localproviders.provider.answers import Answers
    from localproviders.types.answer import CompletionResponse


class Asking:
    """Asks a provider several times within the limits of one call; for a ``with`` block.

    Args:
        provider: Whom to ask.
        timeout: What the caller said. The total holds from here on, for all questions and
            what is done between them; the other limits for each question.
        cancel: A token that ends the call, or None.
        clock: Seconds that never run backwards; tests pass their own.

    Attributes:
        provider: Whom it asks.
    """

    def __init__(
        self,
        provider: Answers,
        timeout: Timeout,
        cancel: Optional[CancelToken],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.provider = provider
        self._cancel = cancel
        self._call = Call(provider.limits(timeout), cancel, clock)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.over()

    def ask(self, request: CompletionRequest) -> CompletionResponse:
        """Ask once, within what is left of the total.

        Raises:
            LimitError: A limit ran out; for the total it names the whole, not what was left.
            ProviderError: As for `complete`.
        """
        self.check()
        left = self._call.limits_left()
        try:
            return self.provider.complete(request, timeout=left, cancel=self._cancel)
        except LimitError as error:
            if error.limit != "total_s":
                raise
            whole = stopped(Stop("total_s", self._call.limits.total_s), self._call)
            for name in ("provider", "model", "endpoint", "partial"):
                whole.add_context(**{name: getattr(error, name)})
            cause = error.__cause__
        raise whole from cause

    def check(self) -> None:
        """Look at the clock and the switch, between two questions.

        Raises:
            LimitError: The total is over.
            CancelledError: The caller ended the call.
        """
        try:
            self._call.left()
            return
        except Stop as stop:
            error = stopped(stop, self._call)
        error.add_context(provider=self.provider.name)
        raise error
