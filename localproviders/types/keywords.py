"""`RequestFields`: what checkers know of the keywords of `chat` and `stream`.

In a module of its own, because only checkers need it, and reading its annotations takes
Python half as long as all the rest of `request.py`.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence, TypedDict, Union

from localproviders.types.request import Overflow


class RequestFields(TypedDict, total=False):
    """The fields of `CompletionRequest` that `chat` and `stream` take as keywords.

    A test keeps them equal to the request's own.
    """

    tool_choice: Optional[str]
    response_schema: Optional[Mapping[str, Any]]
    thinking: Union[bool, str, None]
    max_tokens: Optional[int]
    temperature: Optional[float]
    top_p: Optional[float]
    top_k: Optional[int]
    min_p: Optional[float]
    seed: Optional[int]
    stop: Union[str, Sequence[str]]
    repeat_penalty: Optional[float]
    presence_penalty: Optional[float]
    frequency_penalty: Optional[float]
    logprobs: Optional[bool]
    top_logprobs: Optional[int]
    context_length: Optional[int]
    keep_alive: Optional[float]
    overflow: Overflow
    strict: bool
    allow_other_model: bool
    extra_body: Mapping[str, Any]
