"""The numbers of an answer: tokens, price and durations."""

from __future__ import annotations

from typing import Optional

from localproviders._record import Record, record


@record
class Usage(Record):
    """Numbers of tokens that the server reported. A number that it did not report is None.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the answer, including the thinking.
        thinking_tokens: Tokens of the thinking, which `completion_tokens` includes.
        cached_tokens: Tokens of the prompt that the server had in its cache. `prompt_tokens`
            includes them.
        cache_write_tokens: Tokens of the prompt that the server added to its cache. `prompt_tokens`
            includes them. Anthropic's API bills them at a higher price.
        cost_usd: Price of the request in US dollars, as the server reports it.
    """

    prompt_tokens: Optional[int] = None
    completion_tokens: Optional[int] = None
    thinking_tokens: Optional[int] = None
    cached_tokens: Optional[int] = None
    cache_write_tokens: Optional[int] = None
    cost_usd: Optional[float] = None

    @property
    def total_tokens(self) -> Optional[int]:
        """Tokens of prompt and answer together; None unless both are known."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


@record
class Timings(Record):
    """Durations that this package measured, in seconds.

    Attributes:
        first_token_s: Time from the start of the call to the first text, thinking or tool
            call; None if the answer has none of them.
        total_s: Time from the start of the call to the last record of the response.
    """

    first_token_s: Optional[float] = None
    total_s: Optional[float] = None


@record
class ServerTimings(Record):
    """Durations that the server measured, in seconds. A duration that it did not report is None.

    Attributes:
        load_s: Time to load the model.
        prompt_s: Time to process the prompt.
        generation_s: Time to generate the answer.
        total_s: Time of the complete request.
    """

    load_s: Optional[float] = None
    prompt_s: Optional[float] = None
    generation_s: Optional[float] = None
    total_s: Optional[float] = None
