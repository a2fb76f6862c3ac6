"""The request and the result of `rerank`: documents, sorted by their relevance to a query."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

from localproviders._record import (
    CONTENT,
    RAW,
    FrozenDict,
    Line,
    Record,
    field,
    loads,
    loads_each,
    record,
)
from localproviders._redact import on_screen, shortened
from localproviders.errors import UnsupportedError
from localproviders.secret import errors_without_frames
from localproviders.types.inputs import at_least_one, check_several_texts, kind_of, model_name
from localproviders.types.messages import as_tuple
from localproviders.types.requests import strings_in
from localproviders.types.responses import (
    ServerAttempt,
    Usage,
    count_of,
    facts_and_warnings,
    in_list,
)

# The recipe is code, and a test runs it. It is on one line, because a hint is.
_WITHOUT_RERANK = (
    "compare embeddings, which is less exact: "
    "v = provider.embed([query, *documents], model=embedding_model).embeddings; "
    "order = sorted(range(len(documents)), key=lambda i: math.dist(v[0], v[i + 1]))"
)

#: The hint of an error that says that a model cannot rank.
OTHER_MODEL_HINT = (
    "use a reranking model, and start llama-server with --reranking (docs/rerank.md); or "
    f"{_WITHOUT_RERANK}"
)


def no_rerank(reason: str, **facts: Any) -> UnsupportedError:
    """Return the error for a server that cannot rank documents. Its hint says what can be done."""
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
        ValueError: There is no document, a value is not text, or `top_n` is less than 1.
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
                raise ValueError(f"document {index} is {kind_of(document)}, and must be text")

    def texts(self) -> Iterator[str]:
        """Yield the texts that people wrote, which no error may quote."""
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
    # The constructor accepts more than its annotations say, which are those of the attributes.
    given: Any = documents
    extra: Any = extra_body
    return RerankRequest(query=query, documents=given, model=model, top_n=top_n, extra_body=extra)


@record
class RankedDocument(Line):
    """A document with its score. Its `str` is one line.

    Attributes:
        index: Position of the document in the call; the first document has 0.
        score: Relevance to the query; higher is better. The scale is that of the model: a score is
            no probability, may be negative, and cannot be compared with that of another model.
        document: The text of the document, as it was passed to the call.
    """

    index: int
    score: float
    document: str = field(metadata=CONTENT)

    def __str__(self) -> str:
        return shortened(f"{self.score:.4g} [{self.index}] {self.document}")


@record
class Ranking(Record):
    """Documents, sorted by their relevance to a query: the best first.

    A ranking can be iterated and has a length. Its `str` has one line for each document.

    Attributes:
        results: The documents with their scores. Documents with equal scores have the order of the
            call.
        model: The model that ranked, in the server's words; the requested name if the server does
            not report one.
        provider: Name of the provider.
        endpoint: Address of the server.
        usage: Numbers of tokens that the server reported. `prompt_tokens` counts the query with
            each document.
        warnings: Warnings for the caller, each on one line.
        attempts: Number of times that the request was sent. More than 1 means that it was retried
            (`RetryPolicy`), or that the route of the server had to be found first.
        tried: The servers that `LocalProvider` tried before this one, in order.
        raw: The JSON that the server sent: an object, or the list itself from servers that send
            only a list.
    """

    results: Tuple[RankedDocument, ...] = field(
        metadata=loads_each(RankedDocument.from_dict, **CONTENT)
    )
    model: str
    provider: str
    endpoint: Optional[str] = None
    usage: Usage = field(default_factory=Usage, metadata=loads(Usage.from_dict))
    warnings: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    attempts: int = 1
    tried: Tuple[ServerAttempt, ...] = field(
        default=(), metadata=loads_each(ServerAttempt.from_dict)
    )
    raw: Any = field(default=None, compare=False, metadata=RAW)

    def __post_init__(self) -> None:
        self._keep_as_tuples("results", "warnings", "tried")
        self._put_on_one_line("warnings")

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        return on_screen(list(map(str, self.results)))

    def _repr_markdown_(self) -> str:
        facts = [f"{self.model} ({self.provider})", count_of(self.usage.prompt_tokens, "tokens")]
        documents = in_list(list(map(str, self.results)))
        return f"{documents}\n\n{facts_and_warnings(facts, self.warnings)}".lstrip("\n")


def facts_of(ranking: Ranking) -> Mapping[str, Any]:
    """Return the facts of the ``finished`` event of a call of `rerank`."""
    return {
        "prompt_tokens": ranking.usage.prompt_tokens,
        "served_model": ranking.model,
        "attempts": ranking.attempts,
    }
