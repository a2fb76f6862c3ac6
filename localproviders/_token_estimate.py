"""Local estimates of prompt tokens, calibrated by the servers' counts of earlier prompts.

The module does no input or output. It needs no lock: the data about a model are one tuple, which is
replaced and never changed. If two threads add a prompt at the same time, one of the two prompts may
be lost.
"""

from __future__ import annotations

import re
from typing import Dict, Optional, Tuple

from localproviders._dialect.common import tool_payloads
from localproviders._http.transport import write_json
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import TokenCount

# The rule for an estimate without counts of earlier prompts. Most text has one token per four bytes
# of UTF-8. A Chinese, Japanese or Korean character has three bytes and approximately one token. The
# chat template adds some tokens to each message.
_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 512
_CJK = (
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]+"
)
_ASCII = bytes(range(128))
_RULE_TEXT = "1 token per 4 bytes, 1 per CJK character, 4 per message"

# The number of prompts that are stored for each model, and the number of models.
_MAX_PROMPTS = 32
_MAX_MODELS = 256

# The server's count must be between these multiples of the estimate by the rule. The tokens of the
# chat template are added to the upper bound. Counts outside these bounds are ignored, because no
# tokenizer can produce them. Some servers do not count cached parts of the prompt
# (docs/reference/ollama.md, "Traps").
_MIN_RATIO = 1 / 4
_MAX_RATIO = 8
_MAX_TEMPLATE_TOKENS = 4096

# Bounds of the slope: the server's tokens per token of the estimate by the rule. Two prompts
# determine a slope only if their estimates differ by at least `_MIN_DIFFERENCE` tokens, and by a
# tenth of the highest estimate.
_SLOPE_BOUNDS = (1 / 4, 4.0)
_MIN_DIFFERENCE = 16

# If all prompts have nearly the same length, no slope is known. The ratio of the server's count to
# the estimate is then used as the slope in two cases. Either the ratio is at most 1. Or the ratio
# is at most `_MAX_TEXT_RATIO`, and the estimate for the last prompt is at least `_LONG_TEXT`. In
# all other cases, the additional tokens are attributed to the chat template.
_MAX_TEXT_RATIO = 2
_LONG_TEXT = 64

# A prompt counts as cut if the server's count, multiplied by `_CUT_RATIO`, is at most the estimate
# by the rule and at most the number of words: a tokenizer makes at least one token of each word. A
# count below `_MIN_CUT_TOKENS` does not show a cut: a prompt that a server has cut still fills half
# of the context window, and no context window has fewer than 256 tokens. Such a count comes from a
# server that does not count the tokens in its cache (docs/reference/ollama.md, "Traps").
_CUT_RATIO = 1.5
_MIN_CUT_TOKENS = 128

# If the estimate for a prompt is at least `_LONG_PROMPT` tokens, and the server counted less than
# half of it, the count is not recorded: the server may have cut the prompt.
_LONG_PROMPT = 256
_MIN_LONG_RATIO = 1 / 2

# For each earlier prompt of a model, the tokens by the rule and the server's count.
_Counts = Tuple[Tuple[int, int], ...]


def tokens_by_rule(request: CompletionRequest) -> int:
    """Return the tokens of a prompt by the rule, without the thinking of earlier answers.

    Raises:
        ConfigurationError: A tool or a tool call cannot be written as JSON.
    """
    size = sum(map(_message_tokens, request.messages))
    size += _text_tokens(request.prompt or "") + _text_tokens(request.suffix or "")
    if request.tools:
        size += _text_tokens(write_json(tool_payloads(request.tools)))
    return max(1, round(size))


def _message_tokens(message: Message) -> float:
    calls = "".join(call.name + write_json(call.arguments) for call in message.tool_calls)
    images = _TOKENS_PER_IMAGE * len(message.images)
    return _TOKENS_PER_MESSAGE + images + _text_tokens(message.content) + _text_tokens(calls)


def _text_tokens(text: str) -> float:
    if text.isascii():  # a fast path, because this runs for every prompt that was answered
        return len(text) / _BYTES_PER_TOKEN
    try:
        # Latin-1 text has no CJK characters. Each character above ASCII has two bytes in UTF-8.
        above = text.encode("latin-1").translate(None, _ASCII)
        return (len(text) + len(above)) / _BYTES_PER_TOKEN
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass")
    # ASCII is removed first: that takes 0.5 ns per character, while the pattern takes 15 ns.
    others = data.translate(None, _ASCII).decode("utf-8", "surrogatepass")
    cjk = sum(map(len, re.findall(_CJK, others)))
    return (len(data) + cjk) / _BYTES_PER_TOKEN


def _count_words(request: CompletionRequest) -> int:
    texts = [request.prompt or "", *(message.content for message in request.messages)]
    return sum(len(text.split()) for text in texts)


def rough(request: CompletionRequest) -> TokenCount:
    """Return an estimate by the rule alone.

    Raises:
        ConfigurationError: A tool or a tool call cannot be written as JSON.
    """
    images = f"; {_TOKENS_PER_IMAGE} per image" if _contains(request, "images") else ""
    sound = "; sound not counted" if _contains(request, "audio") else ""
    files = "; documents not counted" if _contains(request, "documents") else ""
    detail = _RULE_TEXT + images + sound + files
    return TokenCount(tokens=tokens_by_rule(request), source="rough", detail=detail)


class Calibration:
    """The servers' token counts of earlier prompts, and estimates from these counts."""

    def __init__(self) -> None:
        self._counts: Dict[str, _Counts] = {}

    def learn(self, model: str, request: CompletionRequest, tokens: Optional[int]) -> None:
        """Record a server's token count for a conversation that it answered.

        Requests with images, sound, documents or a plain prompt are ignored. Requests whose prompt
        the server may have shortened, and counts that are impossible, are ignored, too. For a long
        prompt, a count far below the estimate shows that the server may have shortened it.

        Args:
            model: Name of the model.
            request: The request.
            tokens: Tokens of the prompt, counted by the server, or None.
        """
        if not request.messages or request.overflow != "error" or has_media(request):
            return
        size = tokens_by_rule(request) if tokens else 0
        if not tokens or not _is_possible(tokens, size):
            return
        if size >= _LONG_PROMPT and self._may_be_cut(model, request, size, tokens):
            return
        if model not in self._counts and len(self._counts) >= _MAX_MODELS:
            self._counts = {}
        self._counts[model] = (*self._counts.get(model, ()), (size, tokens))[-_MAX_PROMPTS:]

    def estimate_if_cut(self, model: str, request: CompletionRequest, tokens: int) -> Optional[int]:
        """Return an estimate of a prompt's tokens if the server has clearly cut the prompt.

        None means that there is no clear sign of a cut. The prompt may still have been cut.

        Args:
            model: Name of the model.
            request: The request.
            tokens: Tokens of the prompt, counted by the server, or 0.
        """
        if tokens < _MIN_CUT_TOKENS:
            return None
        size = tokens_by_rule(request)
        if _CUT_RATIO * tokens > size:  # first, because counting words takes longer
            return None
        words = _count_words(request)
        return (
            None
            if _CUT_RATIO * tokens > words
            else max(words, self._estimate(model, request, size))
        )

    def _may_be_cut(self, model: str, request: CompletionRequest, size: int, tokens: int) -> bool:
        """Return whether the server may have cut a long prompt; the estimate by the rule is `size`.

        This is also True if the sign of a cut is not clear enough for a warning, such as in text
        without blanks.
        """
        is_low = tokens < _MIN_LONG_RATIO * size  # first, because the calibrated estimate is slow
        if is_low and tokens < _MIN_LONG_RATIO * self._estimate(model, request, size):
            return True
        return self.estimate_if_cut(model, request, tokens) is not None

    def _estimate(self, model: str, request: CompletionRequest, size: int) -> int:
        """Return the lower of two estimates: `size`, by the rule, and the calibrated one."""
        if not self._counts.get(model) or not request.messages:
            return size
        return min(size, self.count(model, request).tokens)

    def count(self, model: str, request: CompletionRequest) -> TokenCount:
        """Return an estimate, calibrated by earlier prompts of the model if there are any.

        An estimate for a request with images, sound or documents is not calibrated.

        Raises:
            ConfigurationError: A tool or a tool call cannot be written as JSON.
        """
        counts = self._counts.get(model)
        if not counts or has_media(request):
            return rough(request)
        slope, template = _fit_line(counts)
        tokens = max(1, round(template + slope * tokens_by_rule(request)))
        return TokenCount(tokens=tokens, source="calibrated", detail=_detail_of(counts))


def has_media(request: CompletionRequest) -> bool:
    """Return whether a request has files, whose tokens cannot be estimated from its text."""
    return any(each.images or each.audio or each.documents for each in request.messages)


def _contains(request: CompletionRequest, kind: str) -> bool:
    return any(getattr(message, kind) for message in request.messages)


def _is_possible(tokens: int, size: int) -> bool:
    return _MIN_RATIO * size <= tokens <= _MAX_RATIO * size + _MAX_TEMPLATE_TOKENS


def _fit_line(counts: _Counts) -> Tuple[float, float]:
    """Return the slope, and the tokens that the chat template adds to a prompt.

    The slope is the number of the server's tokens per token of the estimate by the rule.

    The two returned numbers are medians, because a minority of the counts may be wrong.
    """
    from statistics import median  # slower to import than this module

    min_difference = max(_MIN_DIFFERENCE, max(size for size, _ in counts) // 10)
    slopes = [
        (tokens - other_tokens) / (size - other_size)
        for number, (size, tokens) in enumerate(counts)
        for other_size, other_tokens in counts[:number]
        if abs(size - other_size) >= min_difference
    ]
    if slopes:
        slope = min(max(median(slopes), _SLOPE_BOUNDS[0]), _SLOPE_BOUNDS[1])
    else:
        # Prompts of similar length do not show which tokens are from the template, so the ratio
        # decides.
        ratio = median(tokens / size for size, tokens in counts)
        is_from_text = ratio <= 1 or (ratio <= _MAX_TEXT_RATIO and counts[-1][0] >= _LONG_TEXT)
        slope = ratio if is_from_text else 1.0
    return slope, max(0.0, median(tokens - slope * size for size, tokens in counts))


def _detail_of(counts: _Counts) -> str:
    tokens = [each for _, each in counts]
    if len(tokens) == 1:
        return f"from 1 prompt of this model, of {tokens[0]} tokens"
    return f"from {len(tokens)} prompts of this model, of {min(tokens)} to {max(tokens)} tokens"
