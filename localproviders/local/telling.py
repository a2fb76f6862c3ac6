"""The answer tells who was tried before it."""

from __future__ import annotations

from typing import Tuple, TypeVar

from localproviders._http.stream import Stream
from localproviders.errors import ProviderError
from localproviders.local.routes import Route
from localproviders.local.run import Run
from localproviders.types.answer import CompletionResponse, EmbeddingResponse, Tried

R = TypeVar("R", CompletionResponse, EmbeddingResponse)


def told(response: R, run: Run) -> R:
    """Say in an answer who was tried before the server that gave it."""
    tried: Tuple[Tried, ...] = run.tried()
    if tried:
        warnings = (*response.warnings, *(f"tried before: {each}" for each in tried))
        response = response.replace(tried=(*tried, *response.tried), warnings=warnings)
    return response


def hand_on(stream: Stream, route: Route, run: Run) -> Stream:
    """Give an open stream to the caller: from here on no other server is asked."""
    run.begun = True

    def failed(error: ProviderError) -> ProviderError:
        run.goes_on(route, error)
        return run.whole(error)

    def ended(response: CompletionResponse) -> CompletionResponse:
        route.server.breaker.succeeded()
        return told(response, run)

    stream._amend(ended, failed)
    return stream
