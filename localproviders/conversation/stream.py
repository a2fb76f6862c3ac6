"""The stream of an answer, which is added to a conversation when it is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterator, Optional

from localproviders._did_you_mean import name_other_attribute, refuse_item
from localproviders._http.stream import Stream
from localproviders._shared_deadline import SharedDeadline
from localproviders._signatures import Self
from localproviders.conversation.window import Plan
from localproviders.types.responses import CompletionChunk, CompletionResponse

#: A function that adds the complete answer to the conversation.
Keep = Callable[[CompletionResponse], None]


class ConversationStream:
    """An answer that arrives in chunks. Iterate over it, in a ``with`` block.

    `Conversation.stream` returns it. The question and the answer are added to the conversation
    together, when the last chunk has been read: at the end of the loop, or in `result`. If the
    answer ends earlier, because of an error, of `close` or of an exception in the loop, neither of
    them is added.

    Only one thread may iterate. Other threads may call `close`.

    Raises while iterating:
        ProviderError: The answer ended early; `partial` has the text so far.
        OSError: The answer is complete, but its line cannot be written. See `Conversation.ask`.
    """

    def __init__(self, stream: Stream, shared: SharedDeadline, plan: Plan, keep: Keep) -> None:
        self._stream = stream
        self._shared = shared
        self._plan = plan
        self._keep = keep
        self._result: Optional[CompletionResponse] = None
        self._is_ended = False

    if not TYPE_CHECKING:  # type checkers find wrong names themselves
        __getattr__ = name_other_attribute
        __getitem__ = refuse_item

    @property
    def left_out(self) -> int:
        """Number of earlier messages that were not sent: the context window was too small."""
        return self._plan.left_out

    @property
    def text(self) -> str:
        """The text of all chunks received so far."""
        return self._stream.text

    @property
    def thinking(self) -> str:
        """The model's thinking in all chunks received so far."""
        return self._stream.thinking

    @property
    def is_open(self) -> bool:
        """Whether more of the answer may still arrive."""
        return not self._is_ended

    def __iter__(self) -> Iterator[CompletionChunk]:
        return self

    def __next__(self) -> CompletionChunk:
        try:
            chunk = self._shared.read(self._stream)
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self.result()
            raise StopIteration
        return chunk

    def result(self) -> CompletionResponse:
        """Read the rest of the answer, add it to the conversation, and return it.

        If this method is called again, it returns the same response.

        Raises:
            ProviderError: The answer ended early; `partial` has the text so far.
            ConfigurationError: The answer is complete, but the conversation was closed before, so
                its line cannot be written.
            OSError: The answer is complete, but its line cannot be written.
        """
        if self._result is not None:
            return self._result
        try:
            response = self._shared.collect(self._stream)
            self._result = response.replace(warnings=(*response.warnings, *self._plan.warnings))
        finally:
            self.close()
        self._keep(self._result)
        return self._result

    def close(self) -> None:
        """Close the connection if it is still open. An incomplete answer is not kept.

        This method may be called at any time, more than once, and from any thread.
        """
        self._is_ended = True
        self._stream.close()
        self._shared.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # After an interrupt in the constructor, the attributes may be missing.
        if "_is_ended" in vars(self):
            self.close()

    def __repr__(self) -> str:
        state = "ended" if self._result is not None else "open" if self.is_open else "closed"
        return f"<ConversationStream {state}, {len(self.text)} characters so far>"
