"""A streamed answer in the hands of its consumer."""

from __future__ import annotations

from collections import deque
from typing import (
    TYPE_CHECKING,
    Callable,
    Deque,
    Iterable,
    Iterator,
    List,
    Optional,
    Protocol,
    Set,
)

from localproviders._http.framing import looks_cut
from localproviders._http.summary import Summary
from localproviders.errors import (
    AnswerTooLargeError,
    CancelledError,
    ProtocolError,
    ProviderError,
    StreamInterruptedError,
)
from localproviders.types.answer import CompletionChunk, CompletionResponse

if TYPE_CHECKING:
    from localproviders._http.answer import Answer


# The open answers of streams. In a circle of garbage a socket can be finalized before the
# stream that would close it, and complains; what is named here is no garbage.
_held: Set[Answer] = set()


class Decoder(Protocol):
    """Bytes to records; see `framing`."""

    def feed(self, piece: bytes) -> Iterable[str]:
        """Give the records that a piece completes, those before a bad one too."""
        ...

    def end(self) -> List[str]:
        """Give the record that the end of the body completes."""
        ...


class ChunkParser(Protocol):
    """Records to chunks, in one server's dialect.

    Attributes:
        ended: Whether the last record of a whole answer has been seen.
        whole: Set where the body is one record: then that one is the last.
        held: Text that has come, and whose meaning the next record decides.
    """

    ended: bool
    whole: bool

    @property
    def held(self) -> str:
        """See above."""
        ...

    @property
    def quick(self) -> Callable[[str], Optional[CompletionChunk]]:
        """What reads a record that is the one before with another text, None for others.

        It gives what `parse` would, and leaves the parser as `parse` would.
        """
        ...

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Read one record; None where it says nothing.

        Raises:
            ProviderError: The record is an error, or none that this server sends.
        """
        ...


class Stream:
    """An answer as it comes: iterate over its chunks, in a ``with`` block.

    The request has been sent and accepted when this object exists. Leaving the block,
    `close`, or forgetting the object closes the connection at once, and the server stops
    generating; after the last chunk the connection is kept for the next call.

    One consumer: only `close` may be called from other threads.

    Raises while iterating:
        LimitError: A limit ended the answer.
        StreamInterruptedError: The answer stopped before its last record.
        CancelledError: It was closed or cancelled before its end.
        ContextOverflowError: At the end: prompt and answer had gone past the window.
        ProviderError: The server reported an error, or the answer breaks a promise.

    Each error's `partial` has the text so far.
    """

    def __init__(
        self,
        answer: Answer,
        decoder: Decoder,
        parser: ChunkParser,
        *,
        max_bytes: int,
        inspect: Callable[[CompletionChunk], None],
        conclude: Callable[[Summary], CompletionResponse],
        explain: Callable[[ProviderError], ProviderError],
        abandon: Callable[[BaseException], None],
    ) -> None:
        # What `close` looks at comes first: an interrupted constructor leaves half an object.
        self._result: Optional[CompletionResponse] = None
        self._failure: Optional[ProviderError] = None
        self._pulling = False
        self._abandon = abandon
        self._answer = answer
        self._decoder = decoder
        self._parser = parser
        self._quick = parser.quick
        self._bytes_left = max_bytes
        self._inspect = inspect
        self._conclude = conclude
        self._explain = explain
        self._records: Deque[str] = deque()
        self._summary = Summary(answer.attempts)
        self._unread: Optional[ProviderError] = None
        self._body_over = False
        self._closed = False
        # Whether the next record may be read quickly: text has come, and no end.
        self._flows = False
        _held.add(answer)

    @property
    def text(self) -> str:
        """The text so far."""
        return self._summary.text.so_far

    @property
    def thinking(self) -> str:
        """The reasoning so far."""
        return self._summary.thinking.so_far

    def __iter__(self) -> Iterator[CompletionChunk]:
        return self

    def __next__(self) -> CompletionChunk:
        if self._result is not None:
            raise StopIteration
        if self._failure is not None:
            raise self._failure
        self._pulling = True
        try:
            chunk = self._flow()
            if chunk is None:
                chunk = self._pull()
            if chunk is None:
                self._result = self._conclude(self._summary)
        except ProviderError as error:
            raise self._fail(error) from error.__cause__
        except BaseException as error:
            self.close()
            self._abandon(error)
            raise
        finally:
            self._pulling = False
        if chunk is None:
            raise StopIteration
        return chunk

    def result(self) -> CompletionResponse:
        """Read to the end, and give the whole answer. May be called again.

        Raises:
            ProviderError: As while iterating.
        """
        for _ in self:
            pass
        assert self._result is not None  # noqa: S101  # iteration ends no other way
        return self._result

    def close(self) -> None:
        """Close the connection, if it is still open; the server stops generating.

        May be called at any time, again, and from another thread: the consumer's
        iteration then ends with `CancelledError`.
        """
        self._closed = True
        self._answer.cancel()
        self._let_go()
        # Whoever is reading finds out, and says so.
        if self._result is None and self._failure is None and not self._pulling:
            self._abandon(CancelledError("the stream was closed before its end"))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Half-made objects (an error in the constructor) have no answer.
        if getattr(self, "_answer", None) is not None:
            self.close()

    def __repr__(self) -> str:
        ended = self._result is not None
        state = "ended" if ended else "failed" if self._failure else "open"
        return f"<Stream {state}, {len(self.text)} characters so far>"

    def _amend(
        self,
        response: Callable[[CompletionResponse], CompletionResponse],
        error: Callable[[ProviderError], ProviderError],
    ) -> None:
        """Let whoever hands this on say more in its answer, or in its error."""
        conclude, explain = self._conclude, self._explain
        self._conclude = lambda summary: response(conclude(summary))
        self._explain = lambda failure: error(explain(failure))

    def _flow(self) -> Optional[CompletionChunk]:
        """Give the next chunk if it is one more piece of text, like the one before it.

        All that `_pull` looks at was looked at in that one: 1.3 µs instead of 6.
        """
        if not self._flows or self._closed:
            return None
        if not self._records:
            self._read_on()
        chunk = self._quick(self._records[0])
        if chunk is not None:
            self._records.popleft()
            self._summary.add_words(chunk)
        return chunk

    def _pull(self) -> Optional[CompletionChunk]:
        """Give the next chunk, or None after the last."""
        while not self._parser.ended:
            if self._closed:
                raise CancelledError("the stream was closed before its end")
            if not self._records:
                self._read_on()
            chunk = self._parse(self._records.popleft())
            if self._parser.ended:
                self._summary.total_s = self._answer.call.elapsed_s
                if self._records:
                    self._answer.close()  # more than the answer has come
                else:
                    self._answer.finish()
                self._let_go()
            if chunk is not None:
                self._note(chunk)
                return chunk
        return None

    def _parse(self, record: str) -> Optional[CompletionChunk]:
        try:
            return self._parser.parse(record)
        except ProtocolError:
            # Nothing but the end of the body ended this record.
            if self._body_over and not self._parser.whole and looks_cut(record):
                raise StreamInterruptedError("the answer ended within a record") from None
            raise

    def _read_on(self) -> None:
        while not self._records:
            if self._unread is not None:
                raise self._unread
            if self._body_over:
                raise StreamInterruptedError("the answer ended before its last record")
            if self._bytes_left < 0:
                raise AnswerTooLargeError(
                    "the answer is larger than max_body_bytes allows",
                    hint="raise max_body_bytes if that is expected",
                )
            self._summary.fold()
            piece = self._answer.read()
            self._body_over = not piece
            self._bytes_left -= len(piece)
            try:
                self._records.extend(self._decoder.feed(piece) if piece else self._decoder.end())
            except ProviderError as error:
                # What came before it counts, however the bytes were cut.
                self._unread = error.with_traceback(None)

    def _note(self, chunk: CompletionChunk) -> None:
        self._inspect(chunk)
        if chunk.says_something and self._summary.first_token_s is None:
            self._summary.first_token_s = self._answer.call.elapsed_s
            self._answer.call.answering()
            if self._answer.call.on_first_token is not None:
                self._answer.call.on_first_token(self._summary.first_token_s)
        self._summary.add(chunk)
        self._flows = not self._parser.ended

    def _fail(self, error: ProviderError) -> ProviderError:
        self._flows = False
        self._answer.close()
        self._let_go()
        error.add_context(partial=self.text + self._parser.held)
        self._failure = self._explain(error)
        return self._failure

    def _let_go(self) -> None:
        self._answer.call.over()
        _held.discard(self._answer)
