"""The content of a streamed answer so far, from which the complete response is made."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from localproviders._record import FrozenDict
from localproviders.types.messages import ToolCall
from localproviders.types.responses import (
    CompletionChunk,
    CompletionResponse,
    ServerTimings,
    Timings,
    TokenLogprob,
    Usage,
)

# The pieces of a text are joined if there are more than this. Each string in a list takes much
# memory: 63 bytes for one of six letters.
_MAX_PIECES = 2048

# The values of an answer without token counts and without durations of the server.
_NO_USAGE, _NO_TIMINGS = Usage(), ServerTimings()

_LATE_SPLIT = (
    "the model's thinking was streamed as text, because the answer had only the closing tag; "
    "the complete response has it in `thinking`"
)


class GrowingText(List[str]):
    """A text that grows at its end, as a list of pieces.

    New pieces are appended to the list. The caller calls `fold` regularly, which joins the
    pieces to one string. So a long response takes little more memory than its text.
    """

    _joined = ""
    _joined_pieces = 0

    @property
    def so_far(self) -> str:
        """The text so far. Reading it leaves the stored pieces as they are."""
        return self._joined + "".join(self) if self else self._joined

    def fold(self, max_pieces: int = _MAX_PIECES) -> int:
        """Join the pieces if there are more than this number; return the number of all pieces."""
        if len(self) > max_pieces:
            # If only one variable refers to a string, Python extends the string in place. So the
            # attribute is cleared first. Otherwise the text would be in memory twice.
            text, self._joined = self._joined, ""
            text += "".join(self)
            self._joined = text
            self._joined_pieces += len(self)
            self.clear()
        return self._joined_pieces + len(self)


class Summary:
    """The content of all chunks received so far."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.text: GrowingText = GrowingText()
        self.thinking: GrowingText = GrowingText()
        self.tool_calls: List[ToolCall] = []
        self.logprobs: List[TokenLogprob] = []
        self.first_token_s: Optional[float] = None
        self.total_s: Optional[float] = None
        self.last: CompletionChunk = CompletionChunk()
        self.model: Optional[str] = None
        self.finish_reason: Optional[str] = None
        self.usage: Usage = _NO_USAGE
        self.server_timings: ServerTimings = _NO_TIMINGS
        self.response_id: Optional[str] = None
        self.provider_data: Optional[Mapping[str, Any]] = None
        self.thinking_inferred: bool = False
        # Thinking and text of the response, if they are split differently in the chunks.
        self.split: Optional[Tuple[str, str]] = None
        self.warnings: Tuple[str, ...] = ()

    def add(self, chunk: CompletionChunk) -> None:
        """Add one chunk. A later value, such as the usage, replaces an earlier one."""
        self.add_text(chunk)
        # Most chunks have none of the following fields.
        if chunk.tool_calls:
            self.tool_calls.extend(chunk.tool_calls)
        if chunk.logprobs:
            self.logprobs.extend(chunk.logprobs)
        if chunk.finish_reason:
            self.finish_reason = chunk.finish_reason
        if chunk.usage:
            self.usage = chunk.usage
        if chunk.server_timings:
            self.server_timings = chunk.server_timings
        if chunk.response_id:
            self.response_id = chunk.response_id
        if chunk.provider_data:
            self.provider_data = chunk.provider_data
        if chunk.thinking_inferred:
            self.thinking_inferred = True

    def add_text(self, chunk: CompletionChunk) -> None:
        """Add a chunk that has only text, thinking and the name of the model."""
        text, thinking, model = chunk.text, chunk.thinking, chunk.model
        if text:
            self.text.append(text)
        if thinking:
            self.thinking.append(thinking)
        if model:
            self.model = model
        self.last = chunk

    def fold(self) -> int:
        """Join the pieces of text and thinking if there are many; return their number."""
        return self.text.fold() + self.thinking.fold()

    def replace_words(self, thinking: str, text: str, *, is_streamed: bool) -> None:
        """Set the thinking and the text of the response, which the chunks did not separate.

        Args:
            thinking: The part of the chunks' text that is thinking.
            text: The rest of the chunks' text.
            is_streamed: Whether the caller got the chunks. If so, the response gets a warning.
        """
        self.split = self.thinking.so_far + thinking, text
        self.thinking_inferred = True
        if is_streamed:
            self.warnings = (_LATE_SPLIT,)

    @property
    def words(self) -> Tuple[str, str]:
        """The thinking and the text of the response so far."""
        return self.split or (self.thinking.so_far, self.text.so_far)

    def response(
        self, *, model: str, warnings: Tuple[str, ...], **facts: Any
    ) -> CompletionResponse:
        """Return the complete response.

        Args:
            model: Name of the requested model.
            warnings: Warnings for the caller.
            **facts: Further fields: provider, endpoint, digest and request id.
        """
        self.text.fold(max_pieces=0)
        thinking, text = self.words
        return CompletionResponse(
            text=text,
            thinking=thinking,
            thinking_inferred=self.thinking_inferred,
            tool_calls=tuple(self.tool_calls),
            model=self.model or model,
            **facts,
            finish_reason=self.finish_reason,
            usage=self.usage,
            timings=Timings(first_token_s=self.first_token_s, total_s=self.total_s),
            server_timings=self.server_timings,
            logprobs=tuple(self.logprobs),
            response_id=self.response_id,
            provider_data=self.provider_data or FrozenDict(),
            warnings=(*warnings, *self.warnings),
            attempts=self.attempts,
            raw=self.last.raw,
        )
