"""Parsers of stream records that only llama.cpp sends: prompt progress, and native completions."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence

from localproviders._dialect.common import (
    checked,
    logprob_tally,
    parse_logprobs,
    parse_record,
    unexpected,
)
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import count, mapping, nonempty_text, number
from localproviders._http.framing import Look
from localproviders.openai_compatible.wire.responses import ChunkParser
from localproviders.types.models import Progress
from localproviders.types.responses import CompletionChunk, ServerTimings, Usage

#: Called without arguments, each time the model has read further tokens of the prompt.
OnRead = Callable[[], None]

_PROGRESS = "prompt_progress"
_READING = "reading the prompt"
# llama.cpp's own finish reasons, each with the finish reason of the dialect.
_REASONS: Mapping[str, str] = {"limit": "length", "eos": "stop", "word": "stop", "none": "stop"}


class _Reading:
    """The progress of reading a prompt.

    Args:
        on_read: Function that is called when further tokens have been read.
    """

    def __init__(self, on_read: OnRead) -> None:
        self._on_read = on_read
        self._most = -1

    def report(self, data: Mapping[str, Any]) -> Optional[Progress]:
        """Return the progress in a record; None if the record has none."""
        found = mapping(data.get(_PROGRESS))
        done, total = count(found.get("processed")), count(found.get("total"))
        if done is None:
            return None
        if done > self._most:
            self._most = done
            self._on_read()
        fraction = min(done / total, 1.0) if total else None
        return Progress(status=_READING, fraction=fraction, raw=data)


class ReadingParser(ChunkParser):
    """A parser of the records of a chat or a plain completion, with the progress of the prompt.

    Args:
        max_json_depth: Deepest nesting of a record.
        rules: Rules that translate the server's error texts.
        look: Function that checks the limits of the call.
        on_read: Function that is called when further tokens of the prompt have been read.
    """

    def __init__(
        self, max_json_depth: int, rules: Sequence[Rule], look: Look, on_read: OnRead
    ) -> None:
        super().__init__(max_json_depth, rules, look)
        self._reading = _Reading(on_read)

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Parse one record, and add the progress of reading the prompt to the chunk.

        Raises:
            ProviderError: The record is an error, or not part of a response.
        """
        chunk = super().parse(record)
        # Progress comes only before the text. After that, it is not searched for, because the text
        # itself may contain "prompt_progress".
        if chunk is not None and not self._has_text and _PROGRESS in record:
            chunk.progress = self._reading.report(mapping(chunk.raw))
        return chunk


class NativeParser:
    """A parser of the records of llama.cpp's own completion routes, such as ``/infill``.

    The stream has no ``[DONE]``: a field of its last record marks the end. The arguments are those
    of `ReadingParser`.
    """

    def __init__(
        self, max_json_depth: int, rules: Sequence[Rule], look: Look, on_read: OnRead
    ) -> None:
        self._max_depth, self._rules, self._look = max_json_depth, rules, look
        self._tally = logprob_tally(look)
        self._reading = _Reading(on_read)
        self.ended: bool = False
        self.is_single_record = False
        #: No text is held back, because the answer has neither thinking nor tool calls.
        self.held = ""

    def quick(self, record: str) -> Optional[CompletionChunk]:
        """Return None: these records have no fast path."""
        return None

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Parse one record; return None for a record without content.

        Raises:
            ProviderError: The record is an error, or not part of a response.
        """
        if not record.strip():
            return None
        data = checked(parse_record(record, self._max_depth, self._look), self._rules)
        content = data.get("content")
        if not isinstance(content, str):
            unexpected("'content' string")
        self.ended = data.get("stop") is True or self.is_single_record
        timings = mapping(data.get("timings"))
        return CompletionChunk(
            text=content,
            logprobs=parse_logprobs(data.get("completion_probabilities"), self._tally),
            model=nonempty_text(data.get("model")),
            finish_reason=_reason(data) if self.ended else None,
            usage=_usage(data, timings) if self.ended else None,
            server_timings=_server_timings(timings) if timings else None,
            progress=self._reading.report(data),
            raw=data,
        )


def _reason(data: Mapping[str, Any]) -> Optional[str]:
    word = nonempty_text(data.get("stop_type"))
    return None if word is None else _REASONS.get(word, word)


def _usage(data: Mapping[str, Any], timings: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=count(data.get("tokens_evaluated")),
        completion_tokens=count(data.get("tokens_predicted")),
        cached_tokens=count(timings.get("cache_n")),
    )


def _server_timings(timings: Mapping[str, Any]) -> ServerTimings:
    return ServerTimings(
        prompt_s=_seconds(timings.get("prompt_ms")),
        generation_s=_seconds(timings.get("predicted_ms")),
    )


def _seconds(milliseconds: Any) -> Optional[float]:
    duration = number(milliseconds)
    return None if duration is None else duration / 1000
