"""From the dialect's JSON to our answers."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from itertools import zip_longest
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from localproviders._http.framing import parse_json
from localproviders._http.rejection import Rule, from_words, read_words
from localproviders._template import Template
from localproviders._thinking import ThinkingSplitter
from localproviders._values import mapping, mappings, number, text, whole, word
from localproviders._wire import Vectors, checked, parse_logprobs, unexpected
from localproviders.errors import EmbeddingError, ProtocolError
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.types.answer import CompletionChunk, ServerTimings, TokenLogprob, Usage

#: The last record of a stream.
_END = "[DONE]"


class ChunkParser:
    """The records of a chat or a plain completion, to chunks.

    A whole answer in one JSON body, from a server that does not stream, is read as one
    record.
    """

    def __init__(self, max_json_depth: int, rules: Sequence[Rule]) -> None:
        self._max_depth = max_json_depth
        self._rules = rules
        self._calls = ToolCallAssembler(max_json_depth)
        self._thinking = ThinkingSplitter()
        self._template = Template(_moving, max_json_depth)
        self.quick = self._template.read
        self._reason: Optional[str] = None
        self._began = False
        self.ended = False
        self.whole = False

    def parse(self, record: str) -> Optional[CompletionChunk]:
        """Read one record.

        Raises:
            ProviderError: The record is an error, or no answer's.
        """
        if record.strip() == _END:
            if not self._began:
                raise ProtocolError("the answer ended before it had begun")
            return self._last()
        data = parse_json(record, self._max_depth)
        words = read_words(data)  # before anything else (lmstudio-api §3.8)
        if words is not None:
            raise from_words(words, self._rules)
        if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
            unexpected("'choices' list")
        chunk = self._chunk(data)
        if self._thinking.settled and not self.ended and not self._has_calls(data):
            self._template.make(record, chunk)
        return chunk

    @property
    def held(self) -> str:
        """Text that has come, and whose meaning the next record decides."""
        return self._thinking.held

    def _last(self) -> Optional[CompletionChunk]:
        self.ended = True
        calls = self._calls.whole(self._reason)
        thinking, said = self._thinking.and_end(("", ""))
        if not (calls or thinking or said):
            return None
        return CompletionChunk(
            text=said,
            thinking=thinking,
            thinking_inferred=self._thinking.found,
            tool_calls=calls,
        )

    def _chunk(self, data: Mapping[str, Any]) -> CompletionChunk:
        choice = _only_choice(data["choices"])
        message = choice.get("message")
        source = message if isinstance(message, dict) else choice.get("delta") or {}
        if not isinstance(source, dict):
            unexpected("readable delta")
        self._began = True
        self._calls.add(source.get("tool_calls"))
        self._reason = choice.get("finish_reason") or self._reason
        # A body that holds a message is the whole answer (asked to stream or not).
        self.ended = self.whole or isinstance(message, dict)
        thinking, said = self._said(choice, source)
        return CompletionChunk(
            text=said,
            thinking=thinking,
            thinking_inferred=self._thinking.found,
            tool_calls=self._calls.whole(self._reason) if self.ended else (),
            logprobs=_logprobs(mapping(choice.get("logprobs"))),
            model=word(data.get("model")),
            finish_reason=word(choice.get("finish_reason")),
            usage=_usage(data.get("usage")),
            server_timings=_timings(data.get("timings")),
            raw=data,
        )

    @staticmethod
    def _has_calls(data: Mapping[str, Any]) -> bool:
        """Whether there are pieces of calls, which add up."""
        return any("tool_calls" in mapping(choice.get("delta")) for choice in data["choices"])

    def _said(self, choice: Mapping[str, Any], source: Mapping[str, Any]) -> Tuple[str, str]:
        """Give thinking and text of a record, told apart."""
        thinking = text(source.get("reasoning_content") or source.get("reasoning"))
        if "text" in choice or thinking:
            self._thinking.give_up()  # plain text, or a server that keeps reasoning apart
        content = choice["text"] if "text" in choice else _words_of(source)
        split = self._thinking.split(text(content))
        inner, said = self._thinking.and_end(split) if self.ended else split
        return thinking + inner, said


def _moving(data: Any, kind: str) -> Sequence[Any]:
    """Give the string in which a record differs from the one before."""
    choice = next(iter(mappings(data.get("choices"))), {})
    source = mapping(choice.get("delta"))
    if kind == "thinking":
        return (source.get("reasoning_content") or source.get("reasoning"),)
    return (choice["text"] if "text" in choice else _words_of(source),)


def _only_choice(choices: Sequence[Any]) -> Mapping[str, Any]:
    choice = choices[0] if choices else {}
    if not isinstance(choice, dict):
        unexpected("readable choice")
    if len(choices) > 1 or choice.get("index") not in (None, 0):
        raise ProtocolError(
            "the answer has several choices, which would be mixed into one text",
            hint="leave n out of extra_body",
        )
    return choice


def _words_of(source: Mapping[str, Any]) -> Any:
    """Give the text; OpenAI's own service has a refusal beside it, which was said all the same."""
    return source.get("content") or source.get("refusal")


def _logprobs(data: Mapping[str, Any]) -> Tuple[TokenLogprob, ...]:
    """Read log-probabilities of a chat, or those of a plain completion, which lie in columns.

    Raises:
        ProtocolError: One is misshapen.
    """
    tokens, values = data.get("tokens"), data.get("token_logprobs")
    if not isinstance(tokens, list):
        return parse_logprobs(data.get("content"))
    if not isinstance(values, list) or len(values) != len(tokens):
        unexpected("log-probability for each token")
    tops = data.get("top_logprobs")
    tops = tops if isinstance(tops, list) else []
    return parse_logprobs(
        [
            {"token": token, "logprob": value, "top_logprobs": _column(top)}
            for token, value, top in zip_longest(tokens, values, tops[: len(tokens)])
        ]
    )


def _column(top: Any) -> List[Mapping[str, Any]]:
    return [{"token": token, "logprob": value} for token, value in mapping(top).items()]


def parse_vectors(data: Any, rules: Sequence[Rule]) -> Vectors:
    """Read an embedding answer; each vector is base64 or a list, in the order of `index`.

    Raises:
        ProviderError: It is an error, or has no vectors.
    """
    data = checked(data, rules)
    items = data.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        unexpected("'data' list")
    order = [item.get("index", position) for position, item in enumerate(items)]
    if sorted(map(repr, order)) != sorted(map(repr, range(len(items)))):
        raise EmbeddingError("the vectors of the answer have doubtful positions")
    rows = [_vector(item.get("embedding")) for _, item in sorted(zip(order, items), key=_first)]
    return Vectors(
        rows, text(data.get("model")), _usage(data.get("usage")) or Usage(), ServerTimings()
    )


def _first(pair: Tuple[int, Any]) -> int:
    return pair[0]


def _vector(value: Any) -> Sequence[float]:
    if isinstance(value, (list, array)):
        return value
    if not isinstance(value, str):
        raise EmbeddingError("a vector of the answer is neither a list nor base64")
    try:
        packed = array("f", base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise EmbeddingError("the base64 of a vector is broken") from None
    if sys.byteorder == "big":
        packed.byteswap()  # the wire is little-endian
    return packed


def _usage(data: Any) -> Optional[Usage]:
    if not isinstance(data, dict):
        return None
    prompt = data.get("prompt_tokens_details")
    completion = data.get("completion_tokens_details")
    return Usage(
        prompt_tokens=whole(data.get("prompt_tokens")),
        completion_tokens=whole(data.get("completion_tokens")),
        cached_tokens=whole(prompt.get("cached_tokens")) if isinstance(prompt, dict) else None,
        thinking_tokens=(
            whole(completion.get("reasoning_tokens")) if isinstance(completion, dict) else None
        ),
    )


def _timings(data: Any) -> Optional[ServerTimings]:
    """Read llama.cpp's own durations, in milliseconds."""
    if not isinstance(data, dict):
        return None
    prompt, generation = _seconds(data.get("prompt_ms")), _seconds(data.get("predicted_ms"))
    return ServerTimings(prompt_s=prompt, generation_s=generation)


def _seconds(milliseconds: Any) -> Optional[float]:
    count = number(milliseconds)
    return None if count is None else count / 1000
