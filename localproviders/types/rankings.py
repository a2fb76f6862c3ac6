"""The results of `rerank`: documents, sorted by their relevance to a query."""

from __future__ import annotations

from typing import Any, Iterator, Optional, Tuple, overload

from localproviders._did_you_mean import refuse_item
from localproviders._record import CONTENT, RAW, Line, Record, field, loads, loads_each, record
from localproviders._redact import on_screen, shortened
from localproviders.types.responses import (
    ServerAttempt,
    Usage,
    count_of,
    facts_and_warnings,
    in_list,
)


@record
class RankedDocument(Line):
    """A document with its score. Its `str` is one line.

    Attributes:
        index: Position of the document in the call; the first document has 0.
        score: Relevance to the query; higher is better. Each model has its own scale: a score is
            not a probability, may be negative, and cannot be compared with the score of another
            model.
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

    A ranking is a sequence of its documents: ``ranking[0]`` is the best document. Its `str` has one
    line for each document.

    Attributes:
        results: The documents with their scores. Documents with equal scores have the order of the
            call.
        model: Name of the model that ranked the documents, as the server reports it. If the server
            reports none, this is the requested name.
        provider: Name of the provider.
        endpoint: Address of the server.
        digest: Hexadecimal digest of the model, as in `CompletionResponse`.
        request_id: Id of the request in the server's log, as in `CompletionResponse`.
        usage: Numbers of tokens that the server reported. In `prompt_tokens`, the query counts once
            for each document.
        warnings: Warnings for the caller, each on one line.
        attempts: Number of times that the request was sent. More than 1 means that it was retried
            (`RetryPolicy`), or that several URL paths of the server were tried.
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
    digest: Optional[str] = None
    request_id: Optional[str] = None
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

    @overload
    def __getitem__(self, index: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, index: slice) -> Tuple[RankedDocument, ...]: ...

    def __getitem__(self, index: Any) -> Any:
        return refuse_item(self, index) if isinstance(index, str) else self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        return on_screen(list(map(str, self.results)))

    def _repr_markdown_(self) -> str:
        facts = [f"{self.model} ({self.provider})", count_of(self.usage.prompt_tokens, "tokens")]
        documents = in_list(list(map(str, self.results)))
        return f"{documents}\n\n{facts_and_warnings(facts, self.warnings)}".lstrip("\n")
