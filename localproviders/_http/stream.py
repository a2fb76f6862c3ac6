"""`Stream`: a streamed completion."""

from __future__ import annotations

from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Deque,
    Iterable,
    Iterator,
    List,
    Optional,
    Protocol,
    Set,
    Tuple,
)

from localproviders._did_you_mean import name_other_attribute, refuse_item
from localproviders._http.deadline import ANSWERING
from localproviders._http.framing import LARGE, looks_cut
from localproviders._http.halves import has_open_half, join_records
from localproviders._http.repetitions import name_repetition
from localproviders._http.retry import cut_off
from localproviders._http.summary import Summary
from localproviders.errors import (
    AnswerTooLargeError,
    CancelledError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
)
from localproviders.types.responses import CompletionChunk, CompletionResponse

# Number of pieces of text and thinking after which the length of an arriving answer is checked for
# the first time. No context window has fewer tokens (docs/reference/ollama.md, "Context window").
_FIRST_LENGTH_CHECK = 256

_NO_LAST_RECORD = "the response ended before its last record"


if TYPE_CHECKING:
    from localproviders._http.response import Answer
else:
    Answer = Any  # only needed for type hints; importing the class would load requests


# The responses of all open streams. If a stream is in a reference cycle, Python may finalize its
# socket before the stream, and the socket would issue a ResourceWarning. A response in this set
# stays reachable, so its socket is not finalized before the stream closes it.
_open_answers: Set[Answer] = set()


class Decoder(Protocol):
    """A decoder of response bytes into records, such as `framing.SSEDecoder`."""

    def feed(self, piece: bytes) -> Iterable[str]:
        """Return the records that this piece completes.

        The result may be lazy, so that the records before an invalid one can be used.

        Raises:
            ProviderError: A record is invalid; raised after the records before it.
        """
        ...

    def end(self) -> List[str]:
        """Return the record that the end of the body completes, or no record."""
        ...


class ChunkParser(Protocol):
    """A parser of records into chunks, for one server's dialect.

    Attributes:
        ended: Whether the last record of a complete response has been parsed.
        is_single_record: Whether the body is a single record, which is then the last record.
        held: Text that has arrived but is not yet in a chunk, because only the next record
            shows whether it is text or thinking.
    """

    ended: bool
    is_single_record: bool

    @property
    def held(self) -> str:
        """Text that has arrived but is not yet in a chunk."""
        ...

    @property
    def quick(self) -> Callable[[str], Optional[CompletionChunk]]:
        """A faster `parse` for a record that differs from the previous one only in its text.

        For such a record, the function returns the same chunk as `parse`, and leaves the parser
        in the same state. For any other record, it returns None and changes nothing.
        """
        ...

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Parse one record; return None for a record without content.

        Raises:
            ProviderError: The record reports an error, or is invalid in this dialect.
        """
        ...


#: An open response, its decoder, and its parser.
Opened = Tuple[Answer, Decoder, ChunkParser]


class StreamOwner(Protocol):
    """The methods that a stream calls on the provider that opened it."""

    def reopen(self, error: ProviderError) -> Opened:
        """Send the request again, after an error that arrived before any content.

        Raises:
            ProviderError: No change of the request can help, so the given error is raised; or the
                new request failed.
        """
        ...

    def inspect(self, chunk: CompletionChunk) -> None:
        """Check a chunk before the caller gets it.

        Raises:
            ProviderError: The chunk is not acceptable; for example, it names another model.
        """

    def conclude(self, summary: Summary) -> CompletionResponse:
        """Return the response, after the last chunk.

        Raises:
            ProviderError: The complete response is not acceptable.
        """
        ...

    def check_length(self, pieces: int) -> float:
        """Check the length of an answer that is still arriving.

        Args:
            pieces: The number of pieces of text and thinking so far. The model has generated at
                least one token for each.

        Returns:
            The number of pieces after which the length must be checked again.

        Raises:
            ContextOverflowError: The answer is longer than the context window.
        """
        ...

    def explain(self, error: ProviderError) -> ProviderError:
        """Add the context of the call to an error of the stream, and return the error."""
        ...

    def abandon(self, error: BaseException) -> None:
        """Record that the stream ended early, without a `ProviderError` from reading it.

        The caller closed the stream, or an exception such as KeyboardInterrupt ended it.
        """


class _Progress:
    """The attributes of a stream that are used for each chunk.

    They are in an object of their own, because the class `Stream` has `__getattr__`. Python 3.11
    takes 40 ns to read an attribute of an object of such a class, instead of 5.
    """

    def __init__(self) -> None:
        self.result: Optional[CompletionResponse] = None
        self.failure: Optional[ProviderError] = None
        self.is_iterating = self.is_closed = False
        # Whether `quick` may parse the next record. There must have been a chunk before it.
        self.can_be_quick = False

    def begin(self, parser: ChunkParser, attempts: int) -> None:
        """Set the attributes for the first record of a response."""
        self.quick = parser.quick
        self.records: Deque[str] = deque()
        self.summary = Summary(attempts)

    def next_quickly(self, stream: Stream) -> Optional[CompletionChunk]:
        """Return the next chunk if its record differs from the previous one only in its text.

        Fast path: 1.3 µs instead of 6. The checks of `_next_chunk` are skipped. They passed for
        the previous record, and the text does not change their result.
        """
        if not self.can_be_quick or self.is_closed:
            return None
        records = self.records
        if not records:
            stream._read_records()
        chunk = self.quick(records[0])
        if chunk is not None:
            records.popleft()
            self.summary.add_text(chunk)
        return chunk

    def add_quickly(self, stream: Stream) -> None:
        """Add the next chunks that `next_quickly` would return, for a caller who wants no chunks.

        One loop over all of them takes 1 µs less for each than a call of `Stream.__next__`.
        """
        records, quick, add = self.records, self.quick, self.summary.add_text
        while self.can_be_quick and not self.is_closed:
            if not records:
                stream._read_records()
            chunk = quick(records[0])
            if chunk is None:
                return
            records.popleft()
            add(chunk)


class Stream:
    """A completion that arrives in chunks. Iterate over it, in a ``with`` block.

    When a method returns a stream, the server has accepted the request. Leaving the block,
    calling `close`, or dropping the last reference closes the connection immediately, and the
    server stops generating. After the last chunk, the connection is kept for the next call.

    Only one thread may iterate. Other threads may call `close`.

    Raises while iterating:
        LimitError: A limit expired.
        StreamInterruptedError: The response ended before its last record.
        RepetitionError: The server ended the response, because the model repeated itself.
        CancelledError: The stream was closed, or the call cancelled, before the end.
        ContextOverflowError: The answer has become longer than the context window, so it was
            ended. Or, raised at the end: prompt and answer together were longer than the window.
        ProviderError: The server reported an error, or its response is invalid or comes from
            another model.

    The attribute `partial` of each error holds the text up to the error.
    """

    def __init__(
        self,
        answer: Answer,
        decoder: Decoder,
        parser: ChunkParser,
        *,
        max_bytes: int,
        owner: StreamOwner,
    ) -> None:
        # The attributes that `close` reads are set first. After an interrupt in this
        # constructor, `__del__` calls `close`, and the other attributes may be missing.
        self._progress = _Progress()
        self._owner = owner
        self._answer = answer
        self._decoder = decoder
        self._parser = parser
        self._progress.begin(parser, answer.attempts)
        self._bytes_left = max_bytes
        self._pieces_to_check: float = _FIRST_LENGTH_CHECK
        # The error of an invalid record, raised after the records before it have been returned.
        self._late_error: Optional[ProviderError] = None
        self._is_body_read = False
        # Whether chunks are given to the caller, and not only collected by `result`.
        self._is_streamed = True
        _open_answers.add(answer)

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getattr__ = name_other_attribute
        __getitem__ = refuse_item

    @property
    def text(self) -> str:
        """The text of all chunks received so far."""
        return self._progress.summary.text.so_far

    @property
    def thinking(self) -> str:
        """The model's thinking in all chunks received so far."""
        return self._progress.summary.thinking.so_far

    def __iter__(self) -> Iterator[CompletionChunk]:
        return self

    def __next__(self) -> CompletionChunk:
        progress = self._progress
        if progress.result is not None:
            raise StopIteration
        if progress.failure is not None:
            raise progress.failure
        progress.is_iterating = True
        try:
            while True:
                try:
                    chunk = progress.next_quickly(self)
                    if chunk is None:
                        chunk = self._next_chunk()
                    if chunk is None:
                        self._reread()
                        progress.result = self._owner.conclude(progress.summary)
                    break
                except ProviderError as error:
                    self._reopen(error)
        except ProviderError as error:
            raise self._fail(error) from error.__cause__
        except BaseException as error:
            # For example KeyboardInterrupt. Parser and decoder may have been interrupted in the
            # middle of a record, so the stream cannot continue.
            self.close()
            self._owner.abandon(error)
            raise
        finally:
            progress.is_iterating = False
        if chunk is None:
            raise StopIteration
        return chunk

    def result(self) -> CompletionResponse:
        """Read the rest of the stream and return the complete response.

        If this method is called again, it returns the same response.

        Raises:
            LimitError: A limit expired.
            StreamInterruptedError: The response ended before its last record.
            RepetitionError: The server ended the response, because the model repeated itself.
            CancelledError: The stream was closed, or the call cancelled, before the end.
            ContextOverflowError: Prompt and answer were longer than the context window.
            ProviderError: The server reported an error, or its response is invalid or comes
                from another model.
        """
        if self._progress.summary.first_token_s is None:
            self._is_streamed = False
        for _ in self:
            pass
        assert self._progress.result is not None  # noqa: S101  # the loop ends only with a result
        return self._progress.result

    def close(self) -> None:
        """Close the connection if it is still open. The server then stops generating.

        This method may be called at any time, more than once, and from any thread. If another
        thread is iterating, its iteration raises `CancelledError`.
        """
        # Another thread may be iterating. If it still has records to return, it does not read, and
        # `is_closed` ends its iteration. If it is blocked in a read, `cancel` ends the read.
        progress = self._progress
        progress.is_closed = True
        self._answer.cancel()
        self._finish_call()
        # If a thread is in `next()`, that thread reports the end.
        if progress.result is None and progress.failure is None and not progress.is_iterating:
            self._owner.abandon(CancelledError("the stream was closed before its end"))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # After an error in the constructor there may be no `_answer`.
        if getattr(self, "_answer", None) is not None:
            self.close()

    def __repr__(self) -> str:
        if "_bytes_left" not in vars(self):  # an interrupted constructor
            return "<half-made Stream>"
        ended = self._progress.result is not None
        state = "ended" if ended else "failed" if self._progress.failure else "open"
        return f"<Stream {state}, {len(self.text)} characters so far>"

    def _next_chunk(self) -> Optional[CompletionChunk]:
        """Return the next chunk, or None after the last one."""
        progress = self._progress
        while not self._parser.ended:
            if progress.is_closed:
                raise CancelledError("the stream was closed before its end")
            if not progress.records:
                self._read_records()
            record = progress.records.popleft()
            if "\\u" in record and has_open_half(record):
                record = self._with_whole_pair(record)
            chunk = self._parse(record)
            if self._parser.ended:
                progress.summary.total_s = self._answer.call.elapsed_s
                if progress.records:
                    # More records arrived after the last one, so the connection cannot be used
                    # for another call.
                    self._answer.close()
                else:
                    self._answer.finish()
                self._finish_call()
            if chunk is not None:
                self._accept(chunk)
                if not self._is_streamed:
                    progress.add_quickly(self)
                return chunk
        return None

    def _with_whole_pair(self, record: str) -> str:
        """Move the first half of a surrogate pair to the next record, which has the second half.

        So the next record is read first. If reading it fails, the given record is returned
        unchanged, and the error is raised after the caller has got this record.
        """
        if not self._progress.records:
            try:
                self._read_records()
            except ProviderError as error:
                self._late_error = error.with_traceback(None)
                return record
        record, self._progress.records[0] = join_records(record, self._progress.records[0])
        return record

    def _parse(self, record: str) -> Optional[CompletionChunk]:
        """Parse a record. If it is cut off at the end, raise `StreamInterruptedError`."""
        try:
            chunk = self._parser.parse(record)
            if len(record) > LARGE:
                self._answer.call.look()  # json does not stop when a limit expires
            return chunk
        except ProtocolError:
            # `Decoder.end` also returns a last record that has no line end. If this record is not
            # valid JSON, the body was probably cut off in the middle of it.
            if self._is_body_read and not self._parser.is_single_record and looks_cut(record):
                raise cut_off("the response ended in the middle of a record") from None
            raise

    def _read_records(self) -> None:
        """Read from the connection until there is at least one record."""
        records, summary = self._progress.records, self._progress.summary
        while not records:
            if self._late_error is not None:
                raise self._late_error
            if self._is_body_read:
                records.append(self._implied_end())
                return
            if self._bytes_left < 0:
                raise AnswerTooLargeError(
                    "the response is larger than max_body_bytes allows",
                    hint="raise max_body_bytes to allow larger responses",
                )
            pieces = summary.fold()
            if pieces > self._pieces_to_check:
                self._pieces_to_check = self._owner.check_length(pieces)
            piece = self._answer.read()
            self._is_body_read = not piece
            self._bytes_left -= len(piece)
            try:
                records.extend(self._decoder.feed(piece) if piece else self._decoder.end())
            except ProviderError as error:
                # The error is raised after the records before the invalid one have been returned.
                # So the result does not depend on how the body was split into pieces. The
                # traceback is removed, because its frames hold the response text.
                self._late_error = error.with_traceback(None)

    def _implied_end(self) -> str:
        """Return the missing last record if an earlier record said that the answer is complete.

        Raises:
            StreamInterruptedError: No earlier record said this, or the body may have been cut off.
        """
        # A parser or a decoder from another package may lack the attribute.
        record: Optional[str] = getattr(self._parser, "implied_end", None)
        is_cut = self._answer.ends_by_closing or getattr(self._decoder, "is_cut", False)
        if is_cut:
            raise cut_off(_NO_LAST_RECORD)
        if record is None:
            hint = "the server itself ended the response: its log may have the reason"
            raise StreamInterruptedError(_NO_LAST_RECORD, hint=hint)
        return record

    def _reread(self) -> None:
        """Let the parser split the complete text at a closing tag that no opening tag precedes."""
        summary = self._progress.summary
        # The pieces are joined first, so that a long text is not copied.
        summary.text.fold(max_pieces=0)
        split = getattr(self._parser, "reread", lambda _: None)(summary.text.so_far)
        if split is not None:
            summary.replace_words(*split, is_streamed=self._is_streamed)

    def _accept(self, chunk: CompletionChunk) -> None:
        """Check a chunk and add it to the summary. The first token ends the phase `AWAITING`."""
        summary = self._progress.summary
        self._owner.inspect(chunk)
        if summary.first_token_s is None and chunk.has_content:
            summary.first_token_s = self._answer.call.elapsed_s
            self._answer.call.enter(ANSWERING)
            if self._answer.call.on_first_token is not None:
                self._answer.call.on_first_token(summary.first_token_s)
        summary.add(chunk)
        self._progress.can_be_quick = not self._parser.ended

    def _fail(self, error: ProviderError) -> ProviderError:
        """Close the connection; return the error with its context.

        If the caller iterates further, the same error is raised again.
        """
        self._progress.can_be_quick = False
        self._answer.close()
        self._finish_call()
        partial = self.text + self._parser.held
        error = name_repetition(error, partial or self.thinking)
        error.add_context(partial=partial)
        self._progress.failure = self._owner.explain(error)
        return self._progress.failure

    def _reopen(self, error: ProviderError) -> None:
        """Read another response instead, if the server refused the request without an error status.

        Raises:
            ProviderError: The server had begun to answer, or no change of the request can help, so
                the given error is raised; or the new request failed.
        """
        parser = self._parser
        if self._progress.summary.first_token_s is not None or parser.held or parser.ended:
            raise error
        self._answer.close()
        answer, self._decoder, self._parser = self._owner.reopen(error)
        _open_answers.add(answer)
        _open_answers.discard(self._answer)
        self._answer, self._late_error, self._is_body_read = answer, None, False
        self._progress.begin(self._parser, answer.attempts)

    def _finish_call(self) -> None:
        """End the call, which no longer uses its connection."""
        self._answer.call.finish()
        _open_answers.discard(self._answer)
