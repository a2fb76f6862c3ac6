"""`BatchRecord`: the result of one row."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from localproviders._record import Line, field, record
from localproviders._redact import shortened
from localproviders._signatures import Self, Vector
from localproviders.batch.jobs import CHAT, COMPLETION, DECISION, EMBEDDING, RERANK
from localproviders.batch.wire.lines import line_of, read_line
from localproviders.errors import ProviderError
from localproviders.types.decisions import Decisions
from localproviders.types.rankings import Ranking
from localproviders.types.responses import CompletionResponse, EmbeddingResponse

# The attribute of `BatchRecord` that returns the answer, by the kind of the row.
_ATTRIBUTES: Mapping[str, str] = {
    CHAT: "response",
    COMPLETION: "response",
    EMBEDDING: "vector",
    DECISION: "decisions",
    RERANK: "ranking",
}


@record
class BatchRecord(Line):
    """The result of one row: an answer, or an error. Its `str` is one line.

    The answer is in `response` (of a chat or a completion), `decisions`, `ranking` or `vector`,
    according to the kind of the row.

    Attributes:
        id: The id of the row.
        row: The number of the row in the source; the first row has 0.
        error: The error; None if the row has an answer.
        kind: The kind of the row: ``chat``, ``completion``, ``embedding``, ``decision`` or
            ``rerank``. None if the row cannot be sent, and for an error from a compact line.
        value: The answer itself; None if the row failed.
    """

    id: str
    row: int
    error: Optional[ProviderError] = field(default=None, compare=False)
    kind: Optional[str] = None
    value: Any = None

    @property
    def response(self) -> CompletionResponse:
        """The answer to a chat or a prompt.

        Raises:
            ProviderError: The row failed; this is its error.
            TypeError: The row is of another kind.
        """
        found: CompletionResponse = self._value("response")
        return found

    @property
    def decisions(self) -> Decisions:
        """The answers to the questions about a state.

        Raises:
            ProviderError: The row failed; this is its error.
            TypeError: The row is of another kind.
        """
        found: Decisions = self._value("decisions")
        return found

    @property
    def ranking(self) -> Ranking:
        """The documents of a row with a query, the best first.

        Raises:
            ProviderError: The row failed; this is its error.
            TypeError: The row is of another kind.
        """
        found: Ranking = self._value("ranking")
        return found

    @property
    def vector(self) -> Vector:
        """The vector of a text, as packed 32-bit floats.

        Raises:
            ProviderError: The row failed; this is its error.
            TypeError: The row is of another kind, or has several texts.
        """
        found: EmbeddingResponse = self._value("vector")
        if len(found) != 1:
            raise TypeError(f"the row has {len(found)} texts; their vectors are in value.vectors")
        return found[0]

    def _value(self, attribute: str) -> Any:
        if self.error is not None:
            raise self.error
        own = _ATTRIBUTES.get(str(self.kind), "value")
        if attribute != own:
            raise TypeError(f"a row of the kind {self.kind!r} has no {attribute}; use {own}")
        return self.value

    def to_dict(self) -> Dict[str, Any]:
        """Return the record as plain JSON types, in the form of a line of OpenAI's batches.

        The keys are ``id``, ``custom_id``, ``response``, ``error`` and ``localproviders``. The last
        one has facts that OpenAI's form does not have, such as the number of the row and the digest
        of the model.
        """
        return line_of(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a record from a dictionary that `to_dict` returned, or from a compact line.

        A compact line does not have the number of the row; `row` is then -1.

        Raises:
            ValueError: The dictionary is not such a line.
        """
        try:
            return cls(**read_line(data)._asdict())
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not a line of a batch: {error}") from None

    def __str__(self) -> str:
        text = f"{type(self.error).__name__}: {self.error}" if self.error else str(self.value)
        return shortened(f"{self.id}: {text}")
