"""One call of `embed`: send batches, collect the vectors, and find the texts that fail."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from functools import partial
from math import isfinite
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from localproviders._dialect.common import Row, Vectors, check_vectors
from localproviders._http.bodies import pack as pack_floats
from localproviders._http.deadline import Call
from localproviders._http_provider.sending import Sending, SendingProvider
from localproviders._record import Record
from localproviders._redact import count_with_noun
from localproviders.errors import (
    ContextOverflowError,
    EmbeddingError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    UnsupportedError,
)
from localproviders.secret import without_frames
from localproviders.types.requests import EmbeddingRequest, texts_of
from localproviders.types.responses import EmbeddingResponse, ServerTimings, Timings, Usage

# Errors that a single text of a batch may cause. Classes that derive from these are not included:
# a busy server, or a response that is not JSON, has nothing to do with the texts.
_ERRORS_OF_TEXTS: FrozenSet[Type[ProviderError]] = frozenset(
    {ContextOverflowError, EmbeddingError, RequestRejectedError, ServerError}
)

# After this many failed texts in a row, two sample texts are sent separately, to find out whether
# the server refuses every text.
_FAILURES_BEFORE_SAMPLES = 4

# Index of the byte of a 32-bit float that has the sign and most of the exponent.
_HIGH_BYTE = 3 if sys.byteorder == "little" else 0

_Numbers = TypeVar("_Numbers", bound=Record)


def may_concern_one_text(error: ProviderError) -> bool:
    """Return whether one text of a batch may have caused an error, so that others may succeed."""
    return type(error) in _ERRORS_OF_TEXTS


def check_fields(provider: str, unsupported: Mapping[str, str], request: EmbeddingRequest) -> None:
    """Check that a request has no field that the server does not support.

    Args:
        provider: Name of the provider.
        unsupported: The fields, each with a hint.
        request: The request.

    Raises:
        UnsupportedError: The request has such a field.
    """
    for name, instead in unsupported.items():
        if getattr(request, name) is not None and getattr(request, name) is not False:
            raise UnsupportedError(
                f"{provider} does not support {name}", hint=instead, provider=provider
            )


def split_into_batches(request: EmbeddingRequest) -> Iterator[Tuple[int, int]]:
    """Yield the start and end index of each batch.

    A batch has at most `batch_size` texts and `batch_characters` characters. A text with more
    characters is a batch by itself.
    """
    start, characters = 0, 0
    for index, length in enumerate(map(len, request.texts)):
        full = index - start == request.batch_size
        if index > start and (full or characters + length > request.batch_characters):
            yield start, index
            start, characters = index, 0
        characters += length
    yield start, len(request.texts)


def pack(row: Row, length: Optional[int]) -> array[float]:
    """Check one vector and pack it into 32-bit floats.

    Args:
        row: The vector from the response, or the error for its text.
        length: Required number of values; None allows any number except zero.

    Raises:
        ProviderError: `row` is an error, which is raised.
        EmbeddingError: The vector is not a list of numbers, has the wrong length, or has a value
            that is not finite.
    """
    if isinstance(row, ProviderError):
        raise row
    try:
        vector = row if isinstance(row, array) else pack_floats(row)
    except ValueError:
        raise EmbeddingError("the vector is not a list of numbers") from None
    if not vector or (length is not None and len(vector) != length):
        raise EmbeddingError(
            f"the vector has {count_with_noun(len(vector), 'value')} "
            f"instead of {length or 'at least one'}"
        )
    if not _is_finite(vector):
        raise EmbeddingError("a value of the vector is not finite")
    return vector


def _is_finite(vector: array[float]) -> bool:
    # Infinity, NaN and values beyond 1.7e38 have 7f or ff in the high byte. For a thousand values,
    # searching these bytes takes 1 µs, and computing the sum takes 10 µs.
    high = vector.tobytes()[_HIGH_BYTE::4]
    if b"\x7f" not in high and b"\xff" not in high:
        return True
    # The sum is a 64-bit float, which 32-bit values cannot overflow. So the sum is finite only if
    # all values are finite.
    return isfinite(sum(vector))


class Embedding:
    """The state of one call of `embed`.

    If one text may be the reason why a batch was refused, the batch is split into halves, which
    are sent next. This is repeated until the texts that fail are found. All other texts get their
    vectors.

    Args:
        provider: The provider of the call.
        request: The request with all texts.
        model: Name of the model.
    """

    def __init__(self, provider: EmbeddingProvider, request: EmbeddingRequest, model: str) -> None:
        self._provider = provider
        self._request = request
        self._requested_model = model
        self._call: Call  # set by `run`
        self._halves: List[Tuple[int, int]] = []
        self._vectors: List[Optional[array[float]]] = [None] * len(request.texts)
        self._length = request.dimensions
        self._errors: Dict[int, ProviderError] = {}
        self._failed_in_a_row = 0
        self._max_failures_in_a_row = _FAILURES_BEFORE_SAMPLES
        self._model = ""
        self._usage: Optional[Usage] = None
        self._timings: Optional[ServerTimings] = None
        self._warnings: Dict[str, None] = {}
        self._truncation: Dict[str, None] = {}
        self._attempts = 1

    def run(self, call: Call) -> EmbeddingResponse:
        """Embed all texts, one batch after the other, and return their vectors.

        Raises:
            EmbeddingError: Some texts could not be embedded.
            ProviderError: The call cannot continue, or all texts failed for the same reason. The
                attribute `embedded` has the vectors received so far, by the index of their texts.
        """
        try:
            self._call = call
            expected = self._request.expect_digest
            digest = self._provider._check_before(self._requested_model, expected, call)
            for start, stop in self._batches():
                error = self._send_batch(start, stop)
                if error is not None:
                    self._halve(start, stop, error)
                self._check_samples()
            if self._errors:
                raise self._final_error()
        except ProviderError as error:
            self._attach_vectors(error)
            raise
        return EmbeddingResponse(
            vectors=tuple(vector for vector in self._vectors if vector is not None),
            model=self._model,
            provider=self._provider.name,
            endpoint=self._provider._address,
            digest=digest,
            request_id=call.request_id,
            truncation=next(iter(self._truncation)) if len(self._truncation) == 1 else "unknown",
            usage=self._usage or Usage(),
            timings=Timings(total_s=call.elapsed_s),
            server_timings=self._timings or ServerTimings(),
            warnings=tuple(self._warnings),
            attempts=self._attempts,
        )

    def _attach_vectors(self, error: ProviderError) -> None:
        """Attach the vectors received so far to an error, so that they are not lost."""
        done = {i: vector for i, vector in enumerate(self._vectors) if vector is not None}
        if done:
            error.embedded = done

    # --- one batch ------------------------------------------------------------------------

    def _batches(self) -> Iterator[Tuple[int, int]]:
        """Yield start and end of each batch. After a batch that failed, its halves come next."""
        for span in split_into_batches(self._request):
            yield span
            while self._halves:
                yield self._halves.pop()

    def _halve(self, start: int, stop: int, error: ProviderError) -> None:
        """Split a refused batch into halves. If it is a single text, record that it failed."""
        if stop - start == 1:
            self._record_failure(start, error)
            return
        middle = (start + stop) // 2
        # The list is a stack. The first half is on top, so that texts are still sent in order.
        self._halves += [(middle, stop), (start, middle)]

    def _send_batch(self, start: int, stop: int) -> Optional[ProviderError]:
        """Send a batch and store its vectors; return its error if a text may have caused it."""
        try:
            batch = self._request.replace(texts=self._request.texts[start:stop])
            found, attempts = _send(self._provider, self._requested_model, batch, self._call)
            check_vectors(len(found.rows), stop - start)
        except ProviderError as error:
            if not may_concern_one_text(error):
                raise
            return without_frames(error)
        self._add_totals(found, attempts)
        self._store(found.rows, start)
        return None

    def _store(self, rows: Sequence[Row], start: int) -> None:
        """Store the vectors of a batch, and an error for each invalid vector."""
        length = self._length or _usual_length(rows)
        for index, row in enumerate(rows, start):
            try:
                vector = pack(row, length)
            except ProviderError as error:
                self._record_failure(index, without_frames(error))
                continue
            self._length = len(vector)
            self._vectors[index] = vector
            self._failed_in_a_row = 0

    def _add_totals(self, found: Vectors, attempts: int) -> None:
        """Add the usage, timings and warnings of one batch to the totals of the call."""
        self._model = self._model or found.model
        self._usage = sum_fields(self._usage, found.usage)
        self._timings = sum_fields(self._timings, found.server_timings)
        self._warnings.update(dict.fromkeys(found.warnings))
        self._truncation[found.truncation] = None
        self._attempts = max(self._attempts, attempts)

    # --- texts that fail ------------------------------------------------------------------

    def _record_failure(self, index: int, error: ProviderError) -> None:
        """Record that a text failed, unless it has a vector already."""
        if self._vectors[index] is None:
            self._errors[index] = error
            self._failed_in_a_row += 1

    def _check_samples(self) -> None:
        """After several failures in a row, send two sample texts; end the call if both fail.

        Without this check, a server that refuses every text would get a request for each text.

        Raises:
            ProviderError: Both samples failed.
        """
        if self._failed_in_a_row < self._max_failures_in_a_row:
            return
        errors = [self._error_of(index) for index in self._choose_samples()]
        if errors[0] is not None and errors[1] is not None:
            raise self._shared_error(errors[0])
        self._failed_in_a_row, self._max_failures_in_a_row = 0, self._max_failures_in_a_row * 2

    def _error_of(self, index: int) -> Optional[ProviderError]:
        """Return the error of a text; None if it can be embedded.

        If no error of the text is known, the text is sent by itself.
        """
        if index not in self._errors:
            error = self._send_batch(index, index + 1)
            if error is not None:
                self._record_failure(index, error)
                return error
        return self._errors.get(index)

    def _choose_samples(self) -> Tuple[int, int]:
        """Return the index of the shortest text, and of a text with the median length.

        If any text fits the context window, the shortest text does.
        """
        lengths = list(map(len, self._request.texts))
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return order[0], order[len(order) // 2]

    def _final_error(self) -> ProviderError:
        """Return the error that the call raises after all texts have been sent."""
        one_reason = len({type(error) for error in self._errors.values()}) == 1
        if one_reason and len(self._errors) == len(self._vectors):
            return self._shared_error(self._errors[0])
        return self._summary()

    def _shared_error(self, error: ProviderError) -> ProviderError:
        """Return the error for a call in which all texts failed for the same reason.

        An error of a specific class, such as `ContextOverflowError`, is more helpful than the
        summary.
        """
        return self._summary() if isinstance(error, EmbeddingError) else error

    def _summary(self) -> EmbeddingError:
        """Return an error that lists all texts that failed."""
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
    """Return the most frequent length of the vectors, because some of them may be wrong."""
    lengths = Counter(len(row) for row in rows if isinstance(row, (list, array)))
    return lengths.most_common(1)[0][0] or None if lengths else None


def sum_fields(sum_: Optional[_Numbers], more: _Numbers) -> _Numbers:
    """Return the sum of two records, field by field.

    A field of the result is None if the field is None in either record.
    """
    if sum_ is None:
        return more
    pairs = {name: (value, getattr(more, name)) for name, value in vars(sum_).items()}
    return sum_.replace(
        **{name: None if None in pair else sum(pair) for name, pair in pairs.items()}
    )


class EmbeddingProvider(SendingProvider, Protocol):
    """The members of a provider over HTTP that this module uses."""

    _embed_unsupported: Mapping[str, str]
    _address: str

    def _check_before(self, model: str, expect_digest: Optional[str], call: Call) -> Optional[str]:
        """Check a model before a text is sent to it; return its digest if it is known."""
        ...

    def _check_locality(self, model: str, call: Call) -> None:
        """Check that the locality allows sending a text to this model."""
        ...

    def _embed_exchange(
        self, batch: EmbeddingRequest, model: str, call: Call
    ) -> Tuple[str, Mapping[str, Any], Callable[[Any], Vectors]]:
        """Return path, JSON and reader of the embedding request for a batch of texts."""
        ...

    def _embed_otherwise(
        self, error: ProviderError, batch: EmbeddingRequest, model: str, call: Call
    ) -> Optional[Tuple[Vectors, int]]:
        """Embed the batch by another route of the server; return None if there is none."""
        ...


def _send(
    provider: EmbeddingProvider, model: str, batch: EmbeddingRequest, call: Call
) -> Tuple[Vectors, int]:
    """Send one batch, and return its vectors and the number of attempts."""
    transport = provider._transport
    try:
        provider._check_locality(model, call)
        sending = Sending(provider, model, call, partial(provider._embed_exchange, batch, model))
        while True:
            try:
                path, body, _, read = sending.prepare()
                answer = transport.open(
                    "POST", path, call=call, body=body, attempts=sending.attempts
                )
                found = read(transport.parse(answer, packs=True))
                warnings = (*found.warnings, *sending.accepted())
                provider._cold_loads.answered(model, batch.keep_alive)
                return found._replace(warnings=warnings), answer.attempts
            except ProviderError as error:
                other = provider._embed_otherwise(error, batch, model, call)
                if other is not None:
                    return other
                sending.recover(error)
    except ProviderError as error:
        error.add_context(request_id=call.request_id)
        raise _failed(provider, error, batch, model) from error.__cause__


def _failed(
    provider: EmbeddingProvider, error: ProviderError, batch: EmbeddingRequest, model: str
) -> ProviderError:
    """Return the error of a batch with its context, and without the texts of the batch."""
    can_cut = "truncate" not in provider._embed_unsupported
    if isinstance(error, ContextOverflowError) and can_cut:
        error.hint = "shorten the text, or let the server cut it with truncate=True"
    # The server can quote only texts of this batch. Searching for all texts of the call would
    # take long.
    provider._transport.finish_error(error, texts_of(batch)).add_context(model=model)
    return error


def facts_of(response: EmbeddingResponse) -> Mapping[str, Any]:
    """Return the facts of the ``finished`` event of a call of `embed`."""
    return {
        "prompt_tokens": response.usage.prompt_tokens,
        "served_model": response.model,
        "digest": response.digest,
        "cost_usd": response.usage.cost_usd,
        "attempts": response.attempts,
    }
