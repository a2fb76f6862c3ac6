"""One call of `embed`: batches, what came of them, and which texts are to blame."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from math import isfinite
from typing import (
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from localproviders._http.bodies import pack as pack_floats
from localproviders._record import Record
from localproviders._wire import Row, Vectors
from localproviders.errors import (
    ContextOverflowError,
    EmbeddingError,
    ProviderError,
    RequestRejectedError,
    ServerError,
)
from localproviders.types.answer import EmbeddingResponse, ServerTimings, Usage
from localproviders.types.request import EmbeddingRequest

#: Sends one batch; gives what came, and how often it was sent.
Send = Callable[[EmbeddingRequest], Tuple[Vectors, int]]

# Reasons that may lie in a single text of the batch. Exactly these classes: what derives
# from them (a busy server, an answer that is no JSON) is about the server.
_IN_ONE_TEXT: FrozenSet[Type[ProviderError]] = frozenset(
    {ContextOverflowError, EmbeddingError, RequestRejectedError, ServerError}
)

# So many texts may fail in a row before two others are asked for, to see whether the server
# refuses everything.
_PATIENCE = 4

# Where the sign and the exponent of a 32-bit float lie.
_HIGH_BYTE = 3 if sys.byteorder == "little" else 0

_Numbers = TypeVar("_Numbers", bound=Record)


def may_lie_in_one_text(error: ProviderError) -> bool:
    """Whether the other texts of a refused batch may be good."""
    return type(error) in _IN_ONE_TEXT


def cut(request: EmbeddingRequest) -> Iterator[Tuple[int, int]]:
    """Give where each batch begins and ends."""
    start, held = 0, 0
    for index, length in enumerate(map(len, request.texts)):
        full = index - start == request.batch_size
        if index > start and (full or held + length > request.batch_characters):
            yield start, index
            start, held = index, 0
        held += length
    yield start, len(request.texts)


def pack(row: Row, length: Optional[int]) -> array[float]:
    """Check one vector and pack it.

    Args:
        row: The vector as it came, or the error of its text.
        length: How many values it must have; None takes any number but zero.

    Raises:
        ProviderError: It is an error.
        EmbeddingError: It is misshapen, or not finite.
    """
    if isinstance(row, ProviderError):
        raise row
    try:
        vector = row if isinstance(row, array) else pack_floats(row)
    except ValueError:
        raise EmbeddingError("the vector is not a list of numbers") from None
    if not vector or (length is not None and len(vector) != length):
        raise EmbeddingError(f"the vector has {len(vector)} values instead of {length or 'some'}")
    if not _is_finite(vector):
        raise EmbeddingError("a value of the vector is not finite")
    return vector


def _is_finite(vector: array[float]) -> bool:
    # Infinities and NaN have the highest exponent, and so have values beyond 1.7e38. Bytes
    # are searched in 1 µs for a thousand values, where adding the values up takes 10.
    high = vector.tobytes()[_HIGH_BYTE::4]
    if b"\x7f" not in high and b"\xff" not in high:
        return True
    # Values of 32 bits cannot add up to more than a float holds: the sum shows each NaN.
    return isfinite(sum(vector))


class Embedding:
    """The texts of one call on their way to their vectors.

    Args:
        request: All the texts.
        send: Sends one batch.
    """

    def __init__(self, request: EmbeddingRequest, send: Send) -> None:
        self._request = request
        self._send = send
        self._vectors: List[Optional[array[float]]] = [None] * len(request.texts)
        self._length = request.dimensions
        self._errors: Dict[int, ProviderError] = {}
        self._failed_in_a_row = 0
        self._patience = _PATIENCE
        self._model = ""
        self._usage: Optional[Usage] = None
        self._timings: Optional[ServerTimings] = None
        self._warnings: Dict[str, None] = {}
        self._truncation: Dict[str, None] = {}
        self._attempts = 1

    def run(self, provider: str) -> EmbeddingResponse:
        """Embed all texts, batch after batch.

        Raises:
            EmbeddingError: Some texts could not be embedded.
            ProviderError: The call cannot go on; or no text could be embedded, and all for
                one reason.
        """
        for start, stop in cut(self._request):
            self._embed(start, stop)
        if self._errors:
            raise self._verdict()
        return EmbeddingResponse(
            vectors=tuple(vector for vector in self._vectors if vector is not None),
            model=self._model,
            provider=provider,
            truncation=next(iter(self._truncation)) if len(self._truncation) == 1 else "unknown",
            usage=self._usage or Usage(),
            server_timings=self._timings or ServerTimings(),
            warnings=tuple(self._warnings),
            attempts=self._attempts,
        )

    def keep_in(self, error: ProviderError) -> ProviderError:
        """Let an error carry the vectors that came before it."""
        done = {i: vector for i, vector in enumerate(self._vectors) if vector is not None}
        if done:
            error.embedded = done
        return error

    # --- one batch ------------------------------------------------------------------------

    def _embed(self, start: int, stop: int) -> None:
        """Embed a batch, and halve it where a text of it may be to blame."""
        todo = [(start, stop)]
        while todo:
            start, stop = todo.pop()
            error = self._try(start, stop)
            if error is not None and stop - start > 1:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            elif error is not None:
                self._blame(start, error)
            self._look_whether_all_fail()

    def _try(self, start: int, stop: int) -> Optional[ProviderError]:
        """Send some of the texts; give the reason why all of them were refused."""
        try:
            batch = self._request.replace(texts=self._request.texts[start:stop])
            found, attempts = self._send(batch)
            if len(found.rows) != stop - start:
                raise EmbeddingError(
                    f"{len(found.rows)} vectors came back for {stop - start} "
                    f"text{'s' * (stop - start > 1)}"
                )
        except ProviderError as error:
            if not may_lie_in_one_text(error):
                raise
            return _bare(error)
        self._add_up(found, attempts)
        self._take(found.rows, start)
        return None

    def _take(self, rows: Sequence[Row], start: int) -> None:
        length = self._length or _usual_length(rows)
        for index, row in enumerate(rows, start):
            try:
                vector = pack(row, length)
            except ProviderError as error:
                self._blame(index, _bare(error))
                continue
            self._length = len(vector)
            self._vectors[index] = vector
            self._failed_in_a_row = 0

    def _add_up(self, found: Vectors, attempts: int) -> None:
        self._model = self._model or found.model
        self._usage = _added(self._usage, found.usage)
        self._timings = _added(self._timings, found.server_timings)
        self._warnings.update(dict.fromkeys(found.warnings))
        self._truncation[found.truncation] = None
        self._attempts = max(self._attempts, attempts)

    # --- texts that fail ------------------------------------------------------------------

    def _blame(self, index: int, error: ProviderError) -> None:
        if self._vectors[index] is None:
            self._errors[index] = error
            self._failed_in_a_row += 1

    def _look_whether_all_fail(self) -> None:
        """After a row of failures ask for two other texts; if they fail too, end the call."""
        if self._failed_in_a_row < self._patience:
            return
        errors = [self._error_of(index) for index in self._witnesses()]
        if errors[0] is not None and errors[1] is not None:
            raise self._in_short(errors[0])
        self._failed_in_a_row, self._patience = 0, self._patience * 2

    def _error_of(self, index: int) -> Optional[ProviderError]:
        """Give why a text fails alone; None where it does not."""
        if index not in self._errors:
            error = self._try(index, index + 1)
            if error is not None:
                self._blame(index, error)
                return error
        return self._errors.get(index)

    def _witnesses(self) -> Tuple[int, int]:
        """Choose the shortest text, which fits if any does, and one of usual length."""
        lengths = list(map(len, self._request.texts))
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return order[0], order[len(order) // 2]

    def _verdict(self) -> ProviderError:
        one_reason = len({type(error) for error in self._errors.values()}) == 1
        if one_reason and len(self._errors) == len(self._vectors):
            return self._in_short(self._errors[0])
        return self._summary()

    def _in_short(self, error: ProviderError) -> ProviderError:
        """Give the reason for all: itself where its class says it, else the summary."""
        return self._summary() if isinstance(error, EmbeddingError) else error

    def _summary(self) -> EmbeddingError:
        errors, count = dict(sorted(self._errors.items())), len(self._vectors)
        first, error = next(iter(errors.items()))
        return EmbeddingError(
            f"{len(errors):,} of {count:,} texts could not be embedded; "
            f"text {first}: {error.message}",
            hint=error.hint,
            failures={index: error.message for index, error in errors.items()},
            errors=errors,
        )


def _usual_length(rows: Sequence[Row]) -> Optional[int]:
    """Give the length that most vectors of the first batch have: one of them may be the bad one."""
    lengths = Counter(len(row) for row in rows if isinstance(row, (list, array)))
    return lengths.most_common(1)[0][0] or None if lengths else None


def _bare(error: ProviderError) -> ProviderError:
    """Take the frames off an error that is kept: they hold a whole batch."""
    error.__context__ = None
    return error.with_traceback(None)


def _added(sum_: Optional[_Numbers], more: _Numbers) -> _Numbers:
    """Add up numbers; one that is missing once stays unknown."""
    if sum_ is None:
        return more
    pairs = {name: (value, getattr(more, name)) for name, value in vars(sum_).items()}
    return sum_.replace(
        **{name: None if None in pair else sum(pair) for name, pair in pairs.items()}
    )
