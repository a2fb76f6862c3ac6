"""Translation of the JSON of OpenAI's dialect to chunks and responses.

The server sends tool calls in pieces. A chunk contains only complete tool calls.
"""

from __future__ import annotations

from itertools import zip_longest
from types import MappingProxyType
from typing import Any, Callable, List, Mapping, NoReturn, Optional, Sequence, Tuple

from localproviders._dialect.common import (
    check_reason,
    logprob_tally,
    logprobs_of,
    parse_logprobs,
    parse_record,
    unexpected,
)
from localproviders._dialect.error_answers import from_words, read_words
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.repeated_records import Template
from localproviders._dialect.thinking import DETAILS, ThinkingSplitter, text_of_details
from localproviders._dialect.values import (
    count,
    mapping,
    mappings,
    nonempty_text,
    number,
    text,
)
from localproviders._http.framing import Look, Tally, no_look
from localproviders.errors import ProtocolError, StreamInterruptedError
from localproviders.openai_compatible.wire.kept_parts import KeptParts
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types.messages import ToolCall
from localproviders.types.responses import CompletionChunk, ServerTimings, TokenLogprob, Usage

_NOTHING: Mapping[str, Any] = MappingProxyType({})

#: Finish reason of an answer whose text is a refusal. The service itself reports ``stop``.
REFUSAL = "refusal"

#: Last record of a stream.
_END = "[DONE]"

# Fields of a message or a delta that can contain its text, its reasoning or its tool calls. The
# first field that is not empty is used.
_TEXTS = ("content", "refusal")
_REASONINGS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", DETAILS)
_CALLS = ("tool_calls", "function_call")

# Fields outside `choices` that can contain a part of an answer, for example in the format of
# another route.
_OUTSIDE_CHOICES = {
    *("delta", "message", "text", "response", "output", "output_text", "answer", "completion"),
    *("token", "generated_text", *_TEXTS, *_REASONINGS, *_CALLS),
}

# Types of the parts of a list in `content`, and the fields of a part that can contain its text.
_TEXT_PARTS = (None, "text", "output_text", "refusal")
_THINKING_PARTS = ("thinking", "reasoning", "reasoning_content", "reasoning_text")
_TEXT_FIELDS = ("text", "refusal", "content")
_THINKING_FIELDS = ("thinking", "reasoning", "text", "content", "summary")


class ChunkParser:
    """A parser of the records of a chat or a plain completion.

    A response in one JSON body, from a server that does not stream, is read as one record.
    docs/dialects.md lists the forms that are read.

    Args:
        max_json_depth: Deepest nesting of a record.
        rules: Rules that translate the server's error texts.
        look: Function that checks the limits of the call.
        model: Name of the requested model. It is stored with the parts of the answer that must be
            sent back. If it is empty, no such parts are kept.
    """

    def __init__(
        self,
        max_json_depth: int,
        rules: Sequence[Rule],
        look: Look = no_look,
        model: str = "",
    ) -> None:
        self._max_depth = max_json_depth
        self._rules = rules
        self._look = look
        self._logprobs = logprob_tally(look)
        self._calls = ToolCallAssembler(max_json_depth, look)
        self._thinking = ThinkingSplitter()
        self._kept = KeptParts(model)
        self._template = Template(_changing_string, max_json_depth)
        self.quick: Callable[[str], Optional[CompletionChunk]] = self._template.read
        self._reason: Optional[str] = None
        self._index = _ChoiceIndex()
        self._began = self._is_refusal = False
        # Whether text, thinking, and text in a delta have arrived. If a server sends deltas and
        # also the field `message` or `text`, this field repeats the deltas.
        self._has_text = self._has_thinking = self._has_delta_text = False
        self._message_text: Any = None
        # Text of the current record, which `held` returns if the record cannot be read completely.
        self._unread = ""
        self.ended: bool = False
        self.is_single_record = False

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Read one record; return its chunk, or None if there is nothing to return, as for a ping.

        Raises:
            ProviderError: The record is an error, or not part of a response.
        """
        stripped = record.strip()
        if stripped == _END:
            return self._last()
        if not stripped:
            return None
        data = parse_record(record, self._max_depth, self._look)
        # An error has priority over all other keys, which can be present as well
        # (docs/reference/lmstudio.md, "Errors in a stream").
        error = read_words(data)
        if error is not None:
            raise from_words(error, self._rules)
        choices = data.get("choices") if isinstance(data, dict) else unexpected("'choices' list")
        if not data:
            unexpected("'choices' list")  # no server sends an empty object as a keep-alive
        if not choices:
            return self._read_without_choice(data)
        if not isinstance(choices, list):
            unexpected("'choices' list")
        chunk, is_repeatable = self._chunk(data, choices)
        if is_repeatable and self._thinking.settled and not self.ended:
            self._template.make(record, chunk)
        return chunk

    @property
    def held(self) -> str:
        """Received text that is in no chunk.

        It comes from an unreadable record, or may be the beginning of a thinking tag.
        """
        return self._unread + self._thinking.held

    @property
    def implied_end(self) -> Optional[str]:
        """The record `[DONE]`, which servers may omit after a finish reason.

        None means that no finish reason has arrived.
        """
        return _END if self._reason else None

    def reread(self, text: str) -> Optional[Tuple[str, str]]:
        """Split the complete text at a closing thinking tag that has no opening tag.

        Return the thinking and the text; None if there is no such tag.
        """
        return self._thinking.reread(text)

    def _read_without_choice(self, data: Mapping[str, Any]) -> Optional[CompletionChunk]:
        """Read a record without a choice, such as a ping or a record with only the usage.

        Raises:
            ProtocolError: The record has text in another field, which would be lost; or it is the
                complete response.
        """
        outside = _OUTSIDE_CHOICES.intersection(data)
        if self.is_single_record or any(_holds_text(data[name]) for name in outside):
            unexpected("choice" if "choices" in data else "'choices' list")
        found = _usage_record(data)
        usage, timings = _usage(found), _timings(data, found)
        if usage is None and timings is None and data.get("choices") is None:
            return None
        return CompletionChunk(
            model=nonempty_text(data.get("model")), usage=usage, server_timings=timings, raw=data
        )

    def _last(self) -> Optional[CompletionChunk]:
        if not self._began:
            raise ProtocolError("the response ended before its first record")
        self._check_finished()
        calls = self._complete_calls()
        thinking, content = self._thinking.finish(("", ""))
        self.ended, kept = True, self._kept.data(calls)
        if not (calls or thinking or content or kept):
            return None
        return CompletionChunk(
            text=content,
            thinking=thinking,
            thinking_inferred=self._thinking.found,
            tool_calls=calls,
            provider_data=kept,
        )

    def _complete_calls(self) -> Tuple[ToolCall, ...]:
        return self._calls.complete_calls(self._reason, has_text=self._has_text)

    def _check_finished(self) -> None:
        if self._reason is None and self._index.counts:
            _refuse_choices()
        if self._reason is None:
            raise StreamInterruptedError("the answer ended without a finish reason")

    def _chunk(
        self, data: Mapping[str, Any], choices: Sequence[Any]
    ) -> Tuple[CompletionChunk, bool]:
        """Return the chunk of a record, and whether a template may read similar records."""
        choice = _only_choice(choices)
        if choice.get("index") == self._index.usual:
            self._index.stays = True
        else:
            # The index of a record that the template has read is not checked here. Such a record
            # had the same index as the record before it, so the index does not rise with each
            # token.
            may_count = self._reason is None and not self._template.has_matched
            self._index.check(choice.get("index"), may_count=may_count)
        source, is_whole_message = self._source(choice)
        reason = _reason_of(choice) if choice.get("finish_reason") else None
        self.ended = self.is_single_record
        thinking, content = self._split(choice, source)
        if source.get("refusal"):
            self._is_refusal = True
        if reason == "stop" and self._is_refusal:
            reason = REFUSAL  # only the finish reason shows that the text is no answer
        # `held` returns this text if the rest of the record cannot be read.
        self._unread = content
        if reason or "error" in choice or "error" in source:
            self._check_failed(choice.get("error") or source.get("error"), reason)
        self._began = True
        self._reason = reason or self._reason
        # `function_call` is the older form. If both are present, `tool_calls` repeats it.
        pieces = source.get("tool_calls") or _as_piece(source.get("function_call"))
        if pieces:
            self._calls.add(pieces)
        if self.ended:
            self._check_finished()
        # A message after the deltas repeats the parts to keep.
        is_kept = not (is_whole_message and self._kept.has_any) and self._kept.add(source)
        usage = _usage_record(data, choice)
        calls = self._complete_calls() if self.ended else ()
        chunk = CompletionChunk(
            text=content,
            thinking=thinking,
            thinking_inferred=self._thinking.found,
            tool_calls=calls,
            provider_data=self._kept.data(calls) if self.ended else None,
            logprobs=(
                _logprobs(mapping(choice["logprobs"]), self._logprobs)
                if choice.get("logprobs")
                else ()
            ),
            model=nonempty_text(data.get("model")),
            finish_reason=reason,
            usage=_usage(usage),
            server_timings=_timings(data, usage),
            raw=data,
        )
        self._unread = ""
        # A template must not read records with pieces of tool calls or parts to keep, because these
        # are collected here. It must not read records with messages either, because these are
        # compared with earlier messages.
        return chunk, not (pieces or is_whole_message or is_kept)

    def _check_failed(self, error: Any, reason: Optional[str]) -> None:
        """Raise an error if the choice contains one, or if its finish reason means one."""
        words = read_words({"error": error}) if error else None
        if words is not None:
            raise from_words(words, self._rules)
        check_reason(reason)

    def _source(self, choice: Mapping[str, Any]) -> Tuple[Mapping[str, Any], bool]:
        """Return the fields of the answer, and whether they include fields of a message."""
        delta, message = choice.get("delta") or {}, choice.get("message")
        if not isinstance(delta, dict):
            unexpected("readable delta")
        if message is not None and not isinstance(message, dict):
            unexpected("readable message")
        if self.is_single_record:
            if message is None and "text" not in choice and not delta:
                unexpected("message")
            return message or delta, message is not None
        return (self._completed(delta, message), True) if message else (delta, False)

    def _completed(self, delta: Mapping[str, Any], message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields of the delta, and the message's fields that no delta had so far.

        Raises:
            ProtocolError: The stream has several different messages and no deltas.
        """
        said = _first_of(message, _TEXTS)
        if said and self._message_text not in (None, said) and not self._has_delta_text:
            raise ProtocolError(
                "the response has several messages, which may be pieces or repetitions"
            )
        names = (
            *(() if self._has_text else _TEXTS),
            *(() if self._has_thinking else _REASONINGS),
            *(_CALLS if self._calls.is_empty else ()),
        )
        if not (self._has_text or _first_of(delta, _TEXTS)):
            self._message_text = said
        found = {name: message[name] for name in names if name in message}
        return {**found, **{name: value for name, value in delta.items() if value}}

    def _split(self, choice: Mapping[str, Any], source: Mapping[str, Any]) -> Tuple[str, str]:
        """Return the thinking and the text of a record."""
        content, is_plain = self._content(choice, source)
        thinking = ""
        if content is None:
            content = ""
        elif type(content) is not str:
            thinking, content = _read_parts(content)
        # Most records have a piece of text or of a tool call, and no other field.
        is_alone = len(source) == 1 and (content or "tool_calls" in source)
        reasoning = None if is_alone else _first_of(source, _REASONINGS)
        if reasoning is not None:
            if reasoning is source.get(DETAILS):
                reasoning = text_of_details(reasoning)
            thinking = "".join(_read_parts(reasoning)) + thinking
        if is_plain:
            self._thinking.give_up()
        elif thinking:
            self._has_thinking = True
            self._thinking.separated()
        self._has_text = self._has_text or bool(content)
        split = self._thinking.split(content)
        inner, rest = self._thinking.finish(split) if self.ended else split
        return thinking + inner, rest

    def _content(self, choice: Mapping[str, Any], source: Mapping[str, Any]) -> Tuple[Any, bool]:
        """Return the content of a record, and whether the record belongs to a plain completion.

        If a delta has text, the field `text` beside it is ignored, because it repeats the delta.
        OpenAI's own service sends a refusal instead of a text.
        """
        content = source.get("content") or source.get("refusal")
        if content:
            self._has_delta_text = self._has_delta_text or bool(choice.get("delta"))
            return content, False
        is_plain = "text" in choice and choice.get("delta") is None and not choice.get("message")
        return None if self._has_delta_text else choice.get("text"), is_plain


def _changing_string(data: Any, kind: str) -> Sequence[Any]:
    """Return a tuple with the only string of a record that changes from record to record."""
    choice = next(iter(mappings(data.get("choices"))), {})
    source = mapping(choice.get("delta"))
    if kind == "thinking":
        return (_first_of(source, _REASONINGS),)
    return (_first_of(source, _TEXTS) or choice.get("text"),)


class _ChoiceIndex:
    """The check that a response has a single choice.

    The index of the choice is the same in all records, or rises with each token (docs/dialects.md,
    "Records").
    """

    def __init__(self) -> None:
        self._last: Optional[int] = None
        #: The index of the first record. Further records with this index need no check.
        self.usual: Any = _NOTHING
        #: Whether two records had the same index.
        self.stays = False
        #: Whether the index rises with each token.
        self.counts = False

    def check(self, index: Any, *, may_count: bool) -> None:
        """Check the index of the next record.

        Args:
            index: The index.
            may_count: Whether a higher index than before can belong to the same choice.

        Raises:
            ProtocolError: The record belongs to another choice than the records before it.
        """
        found = 0 if index is None else count(index)
        if found is None:
            _refuse_choices()
        last, self._last = self._last, found
        if last is None:
            self.usual = index
        elif found == last and not self.counts:
            self.stays = True  # null and 0 are the same
        elif found > last and may_count and not self.stays:
            self.counts, self.usual = True, _NOTHING
        else:
            _refuse_choices()


def _refuse_choices() -> NoReturn:
    raise ProtocolError(
        "the response has several choices, which would be mixed into one text",
        hint="leave n out of extra_body",
    )


def _only_choice(choices: Sequence[Any]) -> Mapping[str, Any]:
    choice = choices[0]
    if not isinstance(choice, dict):
        unexpected("readable choice")
    if len(choices) > 1:
        _refuse_choices()
    return choice


def _reason_of(choice: Mapping[str, Any]) -> Optional[str]:
    """Return the finish reason; None for the string "null", which some servers send."""
    reason = nonempty_text(choice.get("finish_reason"))
    return None if reason == "null" else reason


def _as_piece(call: Any) -> Any:
    """Return the older form of a call as a piece of a tool call."""
    return {"index": 0, "function": call} if call else None


def _first_of(source: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first value that is not empty."""
    for name in names:
        value = source.get(name)
        if value:
            return value
    return None


def _read_parts(content: Any) -> Tuple[str, str]:
    """Return thinking and text of a `content` field: a string, a part or a list of parts.

    Raises:
        ProtocolError: The content has another type. Or one of its parts has neither a type nor
            text, or has text and an unknown type.
    """
    if isinstance(content, str):
        return "", content
    if not isinstance(content, (list, dict)):
        return "", text(content)
    parts = [_read_part(part) for part in (content if isinstance(content, list) else [content])]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


def _read_part(part: Any) -> Tuple[str, str]:
    if not isinstance(part, dict):
        return _read_parts(part)
    kind = part.get("type")
    if kind in _THINKING_PARTS:
        return "".join(_read_parts(_first_of(part, _THINKING_FIELDS))), ""
    if kind in _TEXT_PARTS and (kind is not None or _first_of(part, _TEXT_FIELDS)):
        return _read_parts(_first_of(part, _TEXT_FIELDS))
    if kind is None or _holds_text(part):
        raise ProtocolError("the response has a part of an unknown kind")
    return "", ""


def _holds_text(value: Any) -> bool:
    """Return whether a value contains a string that is not empty, apart from types and ids."""
    if isinstance(value, dict):
        named = {name: inner for name, inner in value.items() if name not in ("type", "id")}
        return any(map(_holds_text, named.values()))
    if isinstance(value, list):
        return any(map(_holds_text, value))
    return isinstance(value, str) and bool(value)


def _logprobs(data: Mapping[str, Any], tally: Tally) -> Tuple[TokenLogprob, ...]:
    """Read the log-probabilities of a chat or of a plain completion.

    A plain completion has one list for the tokens, one for the values and one for alternatives.

    Raises:
        AnswerTooLargeError: The response has too many log-probabilities.
    """
    tokens, values = data.get("tokens"), data.get("token_logprobs")
    if not isinstance(tokens, list):
        return parse_logprobs(data.get("content"), tally)
    if not isinstance(values, list) or len(values) != len(tokens):
        return ()
    tops = data.get("top_logprobs")
    tops = tops if isinstance(tops, list) else []
    return logprobs_of(
        (
            {"token": token, "logprob": value, "top_logprobs": _column(top)}
            for token, value, top in zip_longest(tokens, values, tops[: len(tokens)])
        ),
        tally,
    )


def _column(top: Any) -> List[Mapping[str, Any]]:
    return [{"token": token, "logprob": value} for token, value in mapping(top).items()]


def usage_in(data: Mapping[str, Any]) -> Usage:
    """Return the token counts in a response."""
    return _usage(_usage_record(data)) or Usage()


def _usage_record(
    data: Mapping[str, Any], choice: Mapping[str, Any] = _NOTHING
) -> Mapping[str, Any]:
    """Return the object with the token counts, or an empty object.

    Groq sends the counts in `x_groq`, and Moonshot in the choice.
    """
    usage = data.get("usage") or choice.get("usage")
    if not usage and "x_groq" in data:
        usage = mapping(data["x_groq"]).get("usage")
    return mapping(usage)


# Number of ticks, the units of xAI's prices, in one US dollar.
_TICKS = 10**10


def _usage(found: Mapping[str, Any]) -> Optional[Usage]:
    """Read the token counts and the price."""
    if not found:
        return None
    prompt = mapping(found.get("prompt_tokens_details"))
    completion = mapping(found.get("completion_tokens_details"))
    prompt_tokens = _first_count(found, "prompt_tokens", "input_tokens")
    tokens = _first_count(found, "completion_tokens", "output_tokens")
    # SGLang sends this count outside the details.
    thinking = _first_count({**found, **completion}, "reasoning_tokens")
    # xAI's `completion_tokens` do not include the thinking. Only the sum in `total_tokens` shows
    # this.
    total = count(found.get("total_tokens"))
    if thinking and tokens is not None and total == (prompt_tokens or 0) + tokens + thinking:
        tokens += thinking
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=tokens,
        # Moonshot and DeepSeek send these counts outside the details.
        cached_tokens=_first_count({**found, **prompt}, "cached_tokens", "prompt_cache_hit_tokens"),
        thinking_tokens=thinking,
        cache_write_tokens=_first_count(prompt, "cache_write_tokens"),
        cost_usd=_price(found),
    )


def _price(usage: Mapping[str, Any]) -> Optional[float]:
    """Return the price in US dollars, as OpenRouter and xAI report it; otherwise None.

    Other servers may write another currency, so `cost` is read only beside OpenRouter's fields.
    """
    ticks = number(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return ticks / _TICKS
    is_known = "is_byok" in usage or "cost_details" in usage
    return number(usage.get("cost")) if is_known else None


def _first_count(data: Mapping[str, Any], *names: str) -> Optional[int]:
    for name in names:
        found = count(data[name]) if name in data else None
        if found is not None:
            return found
    return None


def _timings(data: Mapping[str, Any], usage: Mapping[str, Any]) -> Optional[ServerTimings]:
    """Read the durations: llama.cpp sends milliseconds, LM Studio and Groq send seconds."""
    if not (usage or "timings" in data or "stats" in data):
        return None
    timings, stats = mapping(data.get("timings")), mapping(data.get("stats"))
    prompt_s = _seconds(timings.get("prompt_ms"))
    generation_s = _seconds(timings.get("predicted_ms"))
    if not timings:
        prompt_s = _first_number(stats.get("time_to_first_token"), usage.get("prompt_time"))
        generation_s = _first_number(stats.get("generation_time"), usage.get("completion_time"))
    total_s = number(usage.get("total_time"))
    if prompt_s is None and generation_s is None and total_s is None:
        return None
    return ServerTimings(prompt_s=prompt_s, generation_s=generation_s, total_s=total_s)


def _first_number(*values: Any) -> Optional[float]:
    return next((found for found in map(number, values) if found is not None), None)


def _seconds(milliseconds: Any) -> Optional[float]:
    duration = number(milliseconds)
    return None if duration is None else duration / 1000
