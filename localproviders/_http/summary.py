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

# A piece of six letters takes 63 bytes in a list: so many may be kept apart.
_MOST_PIECES = 2048


class Pieces(List[str]):
    """A text that grows at its end: append to it, and let it `fold` now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = ""

    @property
    def so_far(self) -> str:
        """All pieces, joined; reading changes nothing."""
        return self._whole + "".join(self) if self else self._whole

    def fold(self, most: int = _MOST_PIECES) -> None:
        """Join the pieces if they are many: a long answer takes what its text takes."""
        if len(self) > most:
            # Nobody else holds this string, so Python grows it in place instead of copying
            # it, and it is never in memory twice.
            whole, self._whole = self._whole, ""
            whole += "".join(self)
            self._whole = whole
            self.clear()


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
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.server_timings = chunk.server_timings or self.server_timings
        self.response_id = chunk.response_id or self.response_id
        self.thinking_inferred = chunk.thinking_inferred or self.thinking_inferred

    def add_words(self, chunk: CompletionChunk) -> None:
        """Add one that has nothing but text or thinking, and the model they are from."""
        if chunk.text:
            self.text.append(chunk.text)
        if chunk.thinking:
            self.thinking.append(chunk.thinking)
        self.model = chunk.model or self.model
        self.last = chunk

    def fold(self) -> None:
        """Make room, where much has been said."""
        self.text.fold()
        self.thinking.fold()

    def response(
        self, *, provider: str, model: str, warnings: Tuple[str, ...]
    ) -> CompletionResponse:
        """Give the whole answer."""
        self.text.fold(most=0)
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
