"""Split off the reasoning that a server left in the text of an answer. This module does no I/O.

Servers that do not know the template of a model leave its reasoning in the text
(docs/reference/lmstudio.md, "Reasoning"; docs/dialects.md, "Thinking in the text").
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

from localproviders._dialect.values import mappings, nonempty_text
from localproviders.types.requests import CompletionRequest
from localproviders.types.responses import CompletionResponse

#: Two strings: thinking and text. In `_TAGS`, an opening and a closing tag.
Split = Tuple[str, str]

# The tags with which models begin and end their reasoning.
_TAGS: Sequence[Split] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
# For some models, the template of the prompt contains the opening tag, so the answer has only the
# closing tag. These are the closing tags of such models.
_LONE_ENDS = tuple(end for _, end in (_TAGS[0], _TAGS[1], *_TAGS[4:7]))

# gpt-oss divides its output into channels, each with a header. A header begins with one of
# `_HEADERS`, and ends with `_MESSAGE`.
_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_HEADERS = (_START, _CHANNEL, "assistant" + _CHANNEL)
_IN_BODY = (*_ENDS, _START, _CHANNEL)
# A header that consists only of these parts is dropped from the text. A header with other parts,
# such as that of a tool call, stays in the text.
_ROLES = ("", f"{_START}assistant", "assistant")
_CHANNELS = ("analysis", "commentary", "final")
_KIND, _KINDS = "<|constrain|>", ("", "json")
# A text that has more characters than this, and no `_MESSAGE`, does not begin with a header.
_LONGEST_HEADER = 1_000

_FIRST = (*(begin for begin, _ in _TAGS), *_LONE_ENDS, _CHANNEL, f"{_START}assistant")

# While a tag may still follow, at most this many blanks are held back. A model that is constrained
# to a schema may write blanks without end, and the caller must see that they arrive.
_MOST_BLANKS = 64


#: The field in which OpenRouter sends the parts of the reasoning.
DETAILS = "reasoning_details"


def text_of_details(details: Any) -> str:
    """Return the text of the parts of the reasoning in the field `DETAILS`.

    An encrypted part, a signature, and a part of an unknown type have no text that can be shown.
    """
    parts = mappings(details if isinstance(details, list) else [details])
    found = (part.get("text") or part.get("summary") for part in parts)
    return "".join(filter(None, map(nonempty_text, found)))


class ThinkingSplitter:
    """A splitter that removes a leading block of reasoning from a text that arrives in pieces.

    Only a block at the very beginning is removed; later blocks stay in the text. Blanks around
    the block are dropped. A block after more than 64 blanks also stays in the text. If the block
    has no end, the rest of the text is reasoning. A closing tag at the very beginning is dropped.
    If the text begins with a channel of gpt-oss, all channels in the text are separated.

    Attributes:
        held: Text that is held back, because the next piece decides whether it belongs to a tag.
        found: True if a block of reasoning was found.
    """

    def __init__(self) -> None:
        self.held = ""
        self.found = False
        self._split = self._before
        self._end = ""
        # The current channel of gpt-oss; empty while a header is read.
        self._channel = ""
        self._may_lack_begin = True

    def split(self, text: str) -> Split:
        """Split the next piece of content; return its thinking and its text."""
        return self._split(text) if text else ("", "")

    def finish(self, piece: Split) -> Split:
        """Append the text in `held` to the last piece, which is a pair of thinking and text."""
        rest, self.held = self.held, ""
        inside = self._split == self._inside or (
            self._split == self._in_channels and self._channel == "analysis"
        )
        return (piece[0] + rest, piece[1]) if inside else (piece[0], piece[1] + rest)

    @property
    def settled(self) -> bool:
        """Whether further pieces in the same field as the last piece need no splitting."""
        return not self.held and self._split in (self._behind, self._before_text)

    def give_up(self) -> None:
        """Stop splitting, because the text is not from a chat."""
        self._split = self._behind
        self._may_lack_begin = False

    def separated(self) -> None:
        """Stop splitting, because the server separates the reasoning itself.

        The server may leave the closing tag at the beginning of the text. This tag is dropped.
        """
        self._split = (
            self._before_text if self._split in (self._before, self._before_text) else self._behind
        )
        self._may_lack_begin = False

    def reread(self, text: str) -> Optional[Split]:
        """Split a complete text at a closing tag that has no opening tag.

        Some models have the opening tag in the template of the prompt, and not in the answer.

        Returns:
            Thinking and text, or None if the text has no such tag.
        """
        if not self._may_lack_begin or self.found:
            return None
        return _split_at_lone_end(text)

    def _before(self, piece: str) -> Split:
        text = self.held + piece
        begin = text.lstrip()
        leads = len(text) - len(begin) <= _MOST_BLANKS
        if leads and begin.startswith(_FIRST):
            return self._begin(begin)
        if leads and any(first.startswith(begin) for first in _FIRST):
            self.held = text
            return "", ""
        self.held, self._split = "", self._behind
        return "", text

    def _begin(self, text: str) -> Split:
        """Read a text that begins with a tag or a mark."""
        self.held = ""
        if text.startswith(_LONE_ENDS):
            return self._drop_end(text)
        for begin, end in _TAGS:
            if text.startswith(begin):
                self.found, self._end, self._split = True, end, self._inside
                return self._inside(text[len(begin) :])
        self._split = self._in_channels
        return self._in_channels(text)

    def _before_text(self, piece: str) -> Split:
        """Read the beginning of a text whose reasoning came in a separate field."""
        text = self.held + piece
        begin = text.lstrip()
        leads = len(text) - len(begin) <= _MOST_BLANKS
        self.held = ""
        if leads and begin.startswith(_LONE_ENDS):
            return self._drop_end(begin)
        if leads and any(end.startswith(begin) for end in _LONE_ENDS):
            self.held = text
            return "", ""
        self._split = self._behind
        return "", text

    def _drop_end(self, text: str) -> Split:
        """Drop the closing tag at the beginning."""
        self._may_lack_begin = False
        self._split = self._after
        end = next(end for end in _LONE_ENDS if text.startswith(end))
        return self._after(text[len(end) :])

    def _inside(self, piece: str) -> Split:
        text = self.held + piece
        thinking, end, rest = text.partition(self._end)
        if end:
            self.held, self._split = "", self._after
            return thinking, self._after(rest)[1]
        kept = _length_of_begun(text, (self._end,))
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept], ""

    def _after(self, piece: str) -> Split:
        text = piece.lstrip()
        if text:
            self._split = self._behind
        return "", text

    def _behind(self, piece: str) -> Split:
        rest, self.held = self.held, ""
        return "", rest + piece

    def _in_channels(self, piece: str) -> Split:
        """Read the channels of gpt-oss: `analysis` is thinking, and all others are text."""
        text, self.held = self.held + piece, ""
        parts: List[Split] = []
        while text:
            before, text = self._in_body(text) if self._channel else self._in_header(text)
            is_thinking = self._channel == "analysis" or before[0] == "analysis"
            parts.append((before[1], "") if is_thinking else ("", before[1]))
            if self.held:
                break
        return "".join(part[0] for part in parts), "".join(part[1] for part in parts)

    def _in_header(self, text: str) -> Tuple[Split, str]:
        """Read a header; return its channel with the text to keep, and the rest of the text."""
        begin = text.lstrip()
        if not begin.startswith(_HEADERS) and not any(h.startswith(begin) for h in _HEADERS):
            self._channel = "final"
            return ("final", ""), begin
        header, mark, rest = begin.partition(_MESSAGE)
        if not mark and len(begin) <= _LONGEST_HEADER:
            self.held = text
            return ("", ""), text
        if not mark:
            self._channel = "final"
            return ("final", begin), ""
        self._channel = _channel_of(header)
        if self._channel == "unknown":
            # For example, a tool call that the server left in the text. It is kept completely.
            return ("unknown", header + mark), rest
        self.found = self.found or self._channel == "analysis"
        return (self._channel, ""), rest

    def _in_body(self, text: str) -> Tuple[Split, str]:
        """Read up to the next mark; return the channel with its text, and the rest."""
        channel = self._channel
        at = text.find("<|")
        while at >= 0 and not text.startswith(_IN_BODY, at):
            at = text.find("<|", at + 1)
        if at < 0:
            kept = _length_of_begun(text, _IN_BODY)
            self.held = text[len(text) - kept :]
            return (channel, text[: len(text) - kept]), ""
        self._channel = ""
        rest = text[at:]
        end = next((end for end in _ENDS if rest.startswith(end)), "")
        kept_mark = end if channel == "unknown" else ""
        return (channel, text[:at] + kept_mark), rest[len(end) :]


def _channel_of(header: str) -> str:
    """Return the channel that a header names; ``unknown`` if the header has unknown parts."""
    role, _, names = header.rpartition(_CHANNEL)
    if not role and _CHANNEL not in header:
        role, names = header, "final"
    name, _, kind = names.partition(_KIND)
    is_plain = role.strip() in _ROLES and name.strip() in _CHANNELS and kind.strip() in _KINDS
    return name.strip() if is_plain else "unknown"


def _length_of_begun(text: str, marks: Sequence[str]) -> int:
    """Return the length of the longest suffix of the text that is the beginning of a mark."""
    longest = min(max(map(len, marks)) - 1, len(text))
    tail = text[len(text) - longest :]
    if not any(mark[0] in tail for mark in marks):
        return 0
    return next(
        (n for n in range(longest, 0, -1) if any(m.startswith(text[-n:]) for m in marks)), 0
    )


_QUOTES = ("`", "'", '"')


def _split_at_lone_end(text: str) -> Optional[Split]:
    """Split a text at its first closing tag that no opening tag precedes.

    Return None if the text only mentions the tag: in quotes, in a block of code, in JSON, or
    between blanks in a sentence.
    """
    found = [(text.find(end), end) for end in _LONE_ENDS if end in text]
    if not found:
        return None
    at, end = min(found)
    before, after = text[:at], text[at + len(end) :]
    is_opened = any(begin in before for begin, _ in _TAGS)
    is_quoted = before.endswith(_QUOTES) and after.startswith(_QUOTES)
    is_code = before.count("```") % 2 == 1 or before.lstrip()[:1] in ("{", "[")
    in_sentence = before[-1:] == " " and after[:1] not in ("\n", "\r", "")
    if is_opened or is_quoted or is_code or in_sentence:
        return None
    return before, after.lstrip()


# --- answers that have only reasoning -------------------------------------------------------------

# The values of `thinking` that switch reasoning off.
_OFF = (False, "none", "off")
_IGNORED = "thinking is switched off, but the server or the model ignores that"


def is_only_thinking(response: CompletionResponse) -> bool:
    """Return whether the model reasoned, and then neither answered nor called a tool.

    OpenAI's service counts the tokens of the reasoning, but does not send its text. So the count
    of thinking tokens is used, too.
    """
    if response.text.strip() or response.tool_calls:
        return False
    return bool(response.thinking.strip() or response.usage.thinking_tokens)


def only_thinking_hint(request: CompletionRequest) -> str:
    """Return the hint for an answer that has only reasoning."""
    more = "raise max_tokens, which limits the thinking and the answer together"
    if request.thinking in _OFF:
        return f"{_IGNORED}: {more}"
    return f"pass thinking=False, or {more}"


def with_thinking_warning(
    request: CompletionRequest, response: CompletionResponse
) -> CompletionResponse:
    """Return the response, with a warning if it has only thinking, or unexpected thinking.

    Thinking is unexpected if the request switched it off.
    """
    if is_only_thinking(response):
        warning = f"the answer has only thinking, and no text: {only_thinking_hint(request)}"
    elif request.thinking in _OFF and response.thinking.strip():
        warning = _IGNORED
    else:
        return response
    return response.replace(warnings=(*response.warnings, warning))
