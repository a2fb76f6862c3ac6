"""How long a prompt is without asking the server: by rule, and by what other prompts had.

Pure, and without a lock: what is known of a model is one tuple that is replaced whole, so the
worst that threads can do to each other is to lose a prompt to learn from.
"""

from __future__ import annotations

import re
from typing import Dict, Optional, Tuple

from localproviders._http.transport import write_json
from localproviders._wire import tool_payloads
from localproviders.types.message import Message
from localproviders.types.request import CompletionRequest
from localproviders.types.tokens import TokenCount

# The rule. Most text has a token for four bytes of UTF-8; a Chinese, Japanese or Korean
# character has three bytes and about one token. A template puts some tokens around a message.
_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4
_PER_IMAGE = 512
_CJK = (
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]+"
)
_RULE = "a token for 4 bytes, for each CJK character, and 4 for each message"

# How many prompts to learn from, and of how many models.
_MOST_PROMPTS = 32
_MOST_MODELS = 256

# Counts that no tokenizer gives: some servers leave out what they had cached (ollama-api §8).
_LEAST_SHARE = 1 / 4
_GREATEST_SHARE = 8
_LONGEST_TEMPLATE = 4096

# Tokens for each token of the rule; two prompts tell it only if their lengths differ.
_SLOPES = (1 / 4, 4.0)
_LEAST_DIFFERENCE = 16

# Above this share, or in a shorter text, the surplus is rather the template's.
_MOST_OF_TEXT = 2
_LONG_TEXT = 64

_Seen = Tuple[Tuple[int, int], ...]


def weigh(request: CompletionRequest) -> int:
    """Give the tokens of a conversation by the rule; reasoning of earlier answers is left out.

    Raises:
        ConfigurationError: A tool or a call cannot be written as JSON.
    """
    size = sum(map(_of_message, request.messages))
    if request.tools:
        size += _of_text(write_json(tool_payloads(request.tools)))
    return max(1, round(size))


def _of_message(message: Message) -> float:
    calls = "".join(call.name + write_json(call.arguments) for call in message.tool_calls)
    images = _PER_IMAGE * len(message.images)
    return _PER_MESSAGE + images + _of_text(message.content) + _of_text(calls)


def _of_text(text: str) -> float:
    if text.isascii():  # each answered prompt is weighed: most need no second look
        return len(text) / _BYTES_PER_TOKEN
    cjk = sum(map(len, re.findall(_CJK, text)))
    return (len(text.encode("utf-8", "surrogatepass")) + cjk) / _BYTES_PER_TOKEN


def rough(request: CompletionRequest) -> TokenCount:
    """Count by the rule alone.

    Raises:
        ConfigurationError: As `weigh`.
    """
    images = f"; {_PER_IMAGE} for each image" if _has(request, "images") else ""
    sound = "; sound not counted" if _has(request, "audio") else ""
    return TokenCount(tokens=weigh(request), source="rough", detail=_RULE + images + sound)


class Calibration:
    """What servers counted for prompts, set against the rule."""

    def __init__(self) -> None:
        self._seen: Dict[str, _Seen] = {}

    def learn(self, model: str, request: CompletionRequest, tokens: Optional[int]) -> None:
        """Take what a server counted for a conversation that it answered.

        Images, sound, plain prompts and prompts that the server may have cut teach nothing, nor do
        counts that cannot be.
        """
        if not request.messages or request.overflow != "error" or has_media(request):
            return
        size = weigh(request)
        if not tokens or not _can_be(tokens, size):
            return
        if model not in self._seen and len(self._seen) >= _MOST_MODELS:
            self._seen = {}
        self._seen[model] = (*self._seen.get(model, ()), (size, tokens))[-_MOST_PROMPTS:]

    def count(self, model: str, request: CompletionRequest) -> TokenCount:
        """Count as far as other prompts of this model tell; else by the rule.

        Raises:
            ConfigurationError: As `weigh`.
        """
        seen = self._seen.get(model)
        if not seen or has_media(request):
            return rough(request)
        slope, start = _line(seen)
        tokens = max(1, round(start + slope * weigh(request)))
        return TokenCount(tokens=tokens, source="calibrated", detail=_told_by(seen))


def has_media(request: CompletionRequest) -> bool:
    """Say whether there is more than text, whose tokens no text shows."""
    return _has(request, "images") or _has(request, "audio")


def _has(request: CompletionRequest, kind: str) -> bool:
    return any(getattr(message, kind) for message in request.messages)


def _can_be(tokens: int, size: int) -> bool:
    return _LEAST_SHARE * size <= tokens <= _GREATEST_SHARE * size + _LONGEST_TEMPLATE


def _line(seen: _Seen) -> Tuple[float, float]:
    """Give tokens for each token of the rule, and what the template adds to every prompt.

    Medians, because a minority of counts may be wrong.
    """
    from statistics import median  # slower to load than all of this room

    far = max(_LEAST_DIFFERENCE, max(size for size, _ in seen) // 10)
    slopes = [
        (tokens - others) / (size - other)
        for number, (size, tokens) in enumerate(seen)
        for other, others in seen[:number]
        if abs(size - other) >= far
    ]
    if slopes:
        slope = min(max(median(slopes), _SLOPES[0]), _SLOPES[1])
    else:
        # One length cannot tell the template's share from the text's.
        share = median(tokens / size for size, tokens in seen)
        of_the_text = share <= 1 or (share <= _MOST_OF_TEXT and seen[-1][0] >= _LONG_TEXT)
        slope = share if of_the_text else 1.0
    return slope, max(0.0, median(tokens - slope * size for size, tokens in seen))


def _told_by(seen: _Seen) -> str:
    counts = [tokens for _, tokens in seen]
    if len(counts) == 1:
        return f"from 1 prompt of this model, of {counts[0]} tokens"
    return f"from {len(counts)} prompts of this model, of {min(counts)} to {max(counts)} tokens"
