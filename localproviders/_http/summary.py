"""What the chunks of a streamed answer add up to."""

from __future__ import annotations

from typing import List, Optional, Tuple

from localproviders.types.answer import (
    CompletionChunk,
    CompletionResponse,
    ServerTimings,
    Timings,
    TokenLogprob,
    Usage,
)
from localproviders.types.message import ToolCall

# A piece of six letters takes 63 bytes in a list: so many are kept apart, a quarter of a
# megabyte, and then become a part of the text.
_MOST_PIECES = 4096


class Pieces:
    """A text that grows at its end."""

    def __init__(self) -> None:
        self._whole = ""
        self._pieces: List[str] = []

    def add(self, piece: str) -> None:
        """Put a piece behind the others."""
        self._pieces.append(piece)
        if len(self._pieces) >= _MOST_PIECES:
            self._fold()

    @property
    def so_far(self) -> str:
        """All pieces, joined."""
        if self._pieces:
            self._fold()
        return self._whole

    def _fold(self) -> None:
        # Nobody else holds this string, so Python grows it in place instead of copying it: a
        # long answer is never in memory twice.
        whole, self._whole = self._whole, ""
        whole += "".join(self._pieces)
        self._whole, self._pieces = whole, []


class Summary:
    """What the chunks add up to."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.text = Pieces()
        self.thinking = Pieces()
        self.tool_calls: List[ToolCall] = []
        self.logprobs: List[TokenLogprob] = []
        self.first_token_s: Optional[float] = None
        self.total_s: Optional[float] = None
        self.last = CompletionChunk()
        self.model: Optional[str] = None
        self.finish_reason: Optional[str] = None
        self.usage: Optional[Usage] = None
        self.server_timings: Optional[ServerTimings] = None
        self.response_id: Optional[str] = None
        self.thinking_inferred = False

    def add(self, chunk: CompletionChunk) -> None:
        """Add one chunk; what the server repeats later counts."""
        self.add_words(chunk)
        self.tool_calls.extend(chunk.tool_calls)
        self.logprobs.extend(chunk.logprobs)
        self.model = chunk.model or self.model
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.server_timings = chunk.server_timings or self.server_timings
        self.response_id = chunk.response_id or self.response_id
        self.thinking_inferred = chunk.thinking_inferred or self.thinking_inferred

    def add_words(self, chunk: CompletionChunk) -> None:
        """Add one that has nothing new but text or thinking."""
        if chunk.text:
            self.text.add(chunk.text)
        if chunk.thinking:
            self.thinking.add(chunk.thinking)
        self.last = chunk

    def response(
        self, *, provider: str, model: str, warnings: Tuple[str, ...]
    ) -> CompletionResponse:
        """Give the whole answer."""
        return CompletionResponse(
            text=self.text.so_far,
            thinking=self.thinking.so_far,
            thinking_inferred=self.thinking_inferred,
            tool_calls=tuple(self.tool_calls),
            model=self.model or model,
            provider=provider,
            finish_reason=self.finish_reason,
            usage=self.usage or Usage(),
            timings=Timings(first_token_s=self.first_token_s, total_s=self.total_s),
            server_timings=self.server_timings or ServerTimings(),
            logprobs=tuple(self.logprobs),
            response_id=self.response_id,
            warnings=warnings,
            attempts=self.attempts,
            raw=self.last.raw,
        )
