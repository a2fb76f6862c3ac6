"""The method `rerank`, and the class of its checked arguments.

`ModelProvider` uses the functions of this module as its methods. A provider class that can rank
documents implements `_rerank`.
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping, Optional, Protocol, Sequence

from localproviders._record import CONTENT, FrozenDict, Record, field, record
from localproviders._signatures import exact_keywords
from localproviders.errors import UnsupportedError
from localproviders.secret import Sealed, errors_without_frames
from localproviders.types.inputs import (
    at_least_one,
    check_several_texts,
    kind_of,
    model_name,
    way_to_text,
)
from localproviders.types.limits import CancelToken, Timeout
from localproviders.types.messages import as_tuple
from localproviders.types.rankings import Ranking
from localproviders.types.requests import ModelLike, strings_in

# The recipe is code, and a test runs it. It is on one line, because a hint must be a single line.
_WITHOUT_RERANK = (
    "compare embeddings, which is less exact: "
    "v = provider.embed([query, *documents], model=embedding_model).embeddings; "
    "order = sorted(range(len(documents)), key=lambda i: math.dist(v[0], v[i + 1]))"
)

# Fields of the request that `rerank` itself sets. If `extra_body` could replace the documents or
# the query, the scores would not belong to the documents of the call.
_OWN_FIELDS = ("query", "documents", "texts", "model", "top_n")

#: The hint of an error that says that a model cannot rank.
OTHER_MODEL_HINT = (
    "use a reranking model, and start llama-server with --reranking (docs/rerank.md); or "
    f"{_WITHOUT_RERANK}"
)


def no_rerank(reason: str, **facts: Any) -> UnsupportedError:
    """Return the error for a server that cannot rank documents. The hint names alternatives."""
    server = "use a server with a reranking model, such as llama-server with --reranking"
    hint = f"{server}; or {_WITHOUT_RERANK}"
    return UnsupportedError(f"rerank() is not possible: {reason}", hint=hint, **facts)


@record
class RerankRequest(Record):
    """The arguments of `rerank`, checked.

    Attributes:
        query: The text to which the documents are compared.
        documents: The documents: at least one.
        model: Name of the model; None uses the provider's model.
        top_n: Highest number of documents in the result; None keeps all of them.
        extra_body: Further fields of the request, which are sent unchanged.

    Raises:
        ValueError: There is no document, a value is not text, `top_n` is less than 1, or
            `extra_body` has a field that `rerank` itself sets.
    """

    query: str = field(metadata=CONTENT)
    documents: Sequence[str] = field(metadata=CONTENT)
    model: Optional[str] = None
    top_n: Optional[int] = None
    extra_body: Mapping[str, Any] = field(default_factory=FrozenDict, metadata=CONTENT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", model_name(self.model))
        if self.top_n is not None:
            object.__setattr__(self, "top_n", at_least_one("top_n", self.top_n))
        self._check_query()
        self._check_documents()
        if self.extra_body is None:
            object.__setattr__(self, "extra_body", FrozenDict())
        if not isinstance(self.extra_body, Mapping):
            raise ValueError(f"extra_body is {kind_of(self.extra_body)}, and must be a dictionary")
        own = next((name for name in _OWN_FIELDS if name in self.extra_body), None)
        if own is not None:
            raise ValueError(f"extra_body has {own!r}, which rerank() sets from its arguments")
        self._freeze("extra_body")

    def _check_query(self) -> None:
        if not isinstance(self.query, str):
            raise ValueError(f"query is {kind_of(self.query)}, and must be text")
        if not self.query:
            raise ValueError("query is empty; there is nothing to compare the documents with")

    def _check_documents(self) -> None:
        if isinstance(self.documents, str):
            raise ValueError("documents is a single text, and must be several: pass [text, ...]")
        check_several_texts("documents", self.documents)
        object.__setattr__(self, "documents", as_tuple("documents", self.documents))
        if not self.documents:
            raise ValueError("there is no document to rank")
        for index, document in enumerate(self.documents):
            if not isinstance(document, str):
                way = way_to_text(document)
                raise ValueError(f"document {index} is {kind_of(document)}, and must be text{way}")

    def texts(self) -> Iterator[str]:
        """Yield the texts of the request that the user wrote. No error may quote them."""
        yield self.query
        yield from self.documents
        yield from strings_in(self.extra_body)


@errors_without_frames
def as_rerank_request(
    query: str,
    documents: Iterable[str],
    extra_body: Optional[Mapping[str, Any]],
    *,
    model: Any,
    top_n: Optional[int],
) -> RerankRequest:
    """Make a request from the arguments of `rerank`.

    Raises:
        ValueError: There is no document, a value is not text, or `top_n` is less than 1.
    """
    # The constructor accepts more types than its annotations, which describe the attributes.
    given: Any = documents
    extra: Any = extra_body
    return RerankRequest(query=query, documents=given, model=model, top_n=top_n, extra_body=extra)


class RankingProvider(Protocol):
    """The members of a provider that `rerank` uses."""

    @property
    def name(self) -> str:
        """Name of the provider."""
        ...

    def _rerank(
        self, request: RerankRequest, timeout: Timeout, cancel: Optional[CancelToken]
    ) -> Ranking:
        """Rank the documents of a request."""
        ...


@exact_keywords
def rerank(  # noqa: D417  # `self` is no argument of the caller
    self: RankingProvider,
    query: str,
    documents: Iterable[str],
    *,
    model: Optional[ModelLike] = None,
    top_n: Optional[int] = None,
    extra_body: Optional[Mapping[str, Any]] = None,
    timeout: Timeout = None,
    cancel: Optional[CancelToken] = None,
) -> Ranking:
    """Sort documents by their relevance to a query, the best first.

    A reranking model reads the query together with each document, which is more exact than a
    comparison of embeddings. All documents are sent in one request. Each model has its own scale:
    the scores are not probabilities, and scores of two models cannot be compared.

    Args:
        query: The text to which the documents are compared, such as a question.
        documents: Any iterable of texts, which is read once, before the request.
        model: Name of the model, or its `ModelInfo`; None is the provider's model.
        top_n: Maximum number of documents in the result; None keeps all of them.
        extra_body: Further fields of the request, which are sent unchanged.
        timeout: Seconds for the complete call, or a `Limits` value; None is the provider's
            limits.
        cancel: A token that ends the call when another thread sets it.

    Raises:
        ValueError: There is no document, `documents` is a single text, the query is empty, a
            value is not text, `top_n` is not a whole number of at least 1, or `extra_body` has
            a field that `rerank` itself sets.
        ConfigurationError: No model is named.
        UnsupportedError: The server cannot rank documents. The hint contains a recipe with
            `embed`. llama.cpp, vLLM and similar servers can rank; Ollama and LM Studio cannot.
        CapabilityError: The server can rank documents, but not with this model. Or the server was
            started for another purpose, such as chat.
        ContextOverflowError: The query together with one of the documents is too long.
        LocalityError: The texts would leave the allowed locality, so they were not sent.
        UnreachableError: No server answers.
        LimitError: A time limit expired.
        ProtocolError: The response does not have one finite score for each document.
        ProviderError: The server refused the request, or failed in another way.
    """
    sealed = Sealed((query, documents, extra_body))
    del query, documents, extra_body
    request = as_rerank_request(*sealed.cell_contents, model=model, top_n=top_n)
    return self._rerank(request, timeout, cancel)


def refuse_to_rerank(
    self: RankingProvider, request: RerankRequest, timeout: Timeout, cancel: Optional[CancelToken]
) -> Ranking:
    """Refuse to rank documents. A kind of provider that can rank overrides this method.

    Raises:
        UnsupportedError: Always.
    """
    raise no_rerank("this kind of server has no such request", provider=self.name)


def facts_of(ranking: Ranking) -> Mapping[str, Any]:
    """Return the fields of the ``finished`` event of a `rerank` call, from its result."""
    return {
        "prompt_tokens": ranking.usage.prompt_tokens,
        "served_model": ranking.model,
        "digest": ranking.digest,
        "attempts": ranking.attempts,
    }
