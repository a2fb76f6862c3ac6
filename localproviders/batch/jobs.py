"""Jobs and answers: the request of a row, its result, and the function that sends requests.

The function runs in a thread of this process, or in another process.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from localproviders._decision_verbs import DecisionRequest
from localproviders._rerank_verb import RerankRequest
from localproviders.errors import (
    ConfigurationError,
    EmbeddingError,
    ProviderError,
)
from localproviders.provider import ModelProvider
from localproviders.telemetry import RunningVerb
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.requests import CompletionRequest, EmbeddingRequest
from localproviders.types.responses import EmbeddingResponse, Usage

#: The kinds of rows.
CHAT, COMPLETION, EMBEDDING, DECISION, RERANK = (
    "chat",
    "completion",
    "embedding",
    "decision",
    "rerank",
)


class Job(NamedTuple):
    """The request of a row.

    Attributes:
        kind: One of the kinds of rows.
        request: The checked request.
    """

    kind: str
    request: Any


class Answer(NamedTuple):
    """The result of a row, as a worker returns it.

    Attributes:
        value: The response; None if the row failed.
        error: The error; None if the row succeeded.
        usage: Tokens of the request. If several rows share a request, only the answer of the first
            row has them.
    """

    value: Any
    error: Optional[ProviderError]
    usage: Usage = Usage()


#: Options of all calls: `timeout` and `cancel`.
Options = Mapping[str, Any]


def perform(
    provider: ModelProvider,
    jobs: Sequence[Job],
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
) -> List[Answer]:
    """Send the request of one job, or one request for several embeddings.

    An error of the provider becomes the result of each row. So does a `ValueError` or `TypeError`
    with which the provider refuses the arguments. Any other exception is raised, because it does
    not concern the row.
    """
    options: Options = {"timeout": timeout, "cancel": cancel}
    with RunningVerb("batch.run"):
        try:
            if jobs[0].kind == EMBEDDING:
                return _embed(provider, jobs, options)
            value = _CALLS[jobs[0].kind](provider, jobs[0].request, options)
            return [Answer(value, None, value.usage)]
        except ProviderError as error:
            return [Answer(None, _bare(error)) for _ in jobs]
        except (ValueError, TypeError) as error:  # a check of the provider, before it sends
            return [Answer(None, ConfigurationError(str(error))) for _ in jobs]


def _complete(provider: ModelProvider, request: CompletionRequest, options: Options) -> Any:
    return provider.complete(request, **options)


def _decide(provider: ModelProvider, request: DecisionRequest, options: Options) -> Any:
    return provider._decide(request, options["timeout"], options["cancel"])


def _rerank(provider: ModelProvider, request: RerankRequest, options: Options) -> Any:
    return provider._rerank(request, options["timeout"], options["cancel"])


_CALLS: Mapping[str, Callable[[ModelProvider, Any, Options], Any]] = {
    CHAT: _complete,
    COMPLETION: _complete,
    DECISION: _decide,
    RERANK: _rerank,
}


def _embed(provider: ModelProvider, jobs: Sequence[Job], options: Options) -> List[Answer]:
    """Embed the texts of all jobs in one request. The jobs differ only in their texts."""
    texts = [text for job in jobs for text in job.request.texts]
    request: EmbeddingRequest = jobs[0].request
    if len(jobs) > 1:
        request = request.replace(texts=texts)
    try:
        response = provider.embed(request, **options)
    except ProviderError as error:
        if not error.embedded and not isinstance(error, EmbeddingError):
            raise
        return _partly(provider, jobs, _bare(error))
    found, start = [], 0
    for job in jobs:
        stop = start + len(job.request.texts)
        usage = Usage() if len(jobs) > 1 else response.usage
        part = response.replace(vectors=response.vectors[start:stop], usage=usage)
        found.append(Answer(part, None, Usage() if start else response.usage))
        start = stop
    return found


def _partly(provider: ModelProvider, jobs: Sequence[Job], error: ProviderError) -> List[Answer]:
    """Return the vectors of the texts that were embedded, and errors for the others."""
    errors = error.errors if isinstance(error, EmbeddingError) else {}
    found: List[Answer] = []
    start = 0
    for job in jobs:
        places = range(start, start + len(job.request.texts))
        start = places.stop
        vectors = [error.embedded[place] for place in places if place in error.embedded]
        if len(vectors) == len(places):
            model = error.model or job.request.model or ""
            value = EmbeddingResponse(
                vectors=tuple(vectors),
                model=model,
                provider=error.provider or provider.name,
                endpoint=error.endpoint,
            )
            found.append(Answer(value, None))
        else:
            failed = next((errors[place] for place in places if place in errors), error)
            found.append(Answer(None, _bare(failed)))
    return found


def _bare(error: ProviderError) -> ProviderError:
    """Return an error without its traceback, whose frames would keep the request in memory."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
