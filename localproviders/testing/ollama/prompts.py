"""Prompts of the fake Ollama: their length, and how prompts that are too long are cut.

Source: docs/reference/ollama.md, "Context window".
"""

from __future__ import annotations

import json
from typing import Any, List, Mapping, Optional, Sequence

from localproviders.testing.fake import count_tokens, overflow_error
from localproviders.testing.ollama.answers import RefusedError

_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


def chat_prompt(body: Mapping[str, Any]) -> str:
    """Return the texts of all messages of a chat as one text."""
    return " ".join(message.get("content") or "" for message in body["messages"])


def images_of(body: Mapping[str, Any]) -> List[str]:
    """Return the images of a request and of its messages."""
    found = list(body.get("images") or [])
    for message in body.get("messages") or []:
        found += message.get("images") or []
    return found


def allocated(window: int) -> int:
    """Return the context window that the runner allocates for a requested one.

    The runner rounds the requested window up to a multiple of 256.
    """
    return -(-window // 256) * 256


def fit_prompt(body: Mapping[str, Any], window: int, tokens: int) -> int:
    """Return the number of prompt tokens. If the prompt is too long, it is cut first.

    Raises:
        RefusedError: The prompt is too long, and the request forbids cutting it.
    """
    limit = allocated(window)
    if body.get("truncate") is False and tokens > limit:
        raise RefusedError(json.dumps(overflow_error(tokens, limit)))
    if body.get("truncate") is False or tokens <= window:
        return tokens
    kept = _drop_oldest(body.get("messages") or [], window) or tokens
    if kept <= limit:
        return kept
    if body.get("shift") is False:
        raise RefusedError(_TOO_LONG)
    return limit // 2  # the middle of the last message is cut out


def _drop_oldest(messages: Sequence[Mapping[str, Any]], window: int) -> int:
    """Return the number of tokens that are left after the oldest messages have been dropped.

    Messages are dropped until the rest fits into the window. System messages and the last message
    are never dropped.
    """
    sizes = [count_tokens(message.get("content") or "") for message in messages]
    size = sum(sizes)
    for message, tokens in list(zip(messages, sizes))[:-1]:
        if size > window and message.get("role") != "system":
            size -= tokens
    return size


def budget_of(
    body: Mapping[str, Any], options: Mapping[str, Any], window: int, prompt_tokens: int
) -> Optional[int]:
    """Return the number of tokens after which an answer is cut; None if there is no limit."""
    limits = []
    if options.get("num_predict", -1) >= 0:
        limits.append(options["num_predict"])
    if body.get("shift") is False:
        limits.append(max(0, allocated(window) - prompt_tokens))
    return min(limits, default=None)
