"""From Ollama's JSON to our answers."""

from __future__ import annotations

from array import array
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from localproviders._http.framing import parse_json
from localproviders._http.rejection import from_words, read_words
from localproviders._template import Template
from localproviders._thinking import ThinkingSplitter
from localproviders._values import number, text, whole, word
from localproviders._wire import Row, Vectors, parse_logprobs, unexpected
from localproviders._wire import checked as _checked
from localproviders.errors import EmbeddingError, ProtocolError, ToolCallError
from localproviders.ollama.wire.errors import RULES
from localproviders.types.answer import CompletionChunk, ServerTimings, Usage
from localproviders.types.message import ToolCall


class ChunkParser:
    """NDJSON records of a chat or a plain completion, to chunks (§3)."""

    def __init__(self, max_json_depth: int) -> None:
        self._max_depth = max_json_depth
        self._calls = 0
        self._thinking = ThinkingSplitter()
        self._template = Template(_moving, max_json_depth)
        self.quick = self._template.read
        self.ended = False
        self.whole = False

    def parse(self, record: str) -> CompletionChunk:
        """Read one record.

        Raises:
            ProviderError: The record is an error, or no answer's.
        """
        data = parse_json(record, self._max_depth)
        error = read_words(data)  # before anything else, whatever keys stand beside (§3.9)
        if error is not None:
            raise from_words(error, RULES)
        if not isinstance(data, dict) or not isinstance(data.get("done"), bool):
            unexpected("'done' field")
        self._check_end(data)
        message = data.get("message")
        source: Mapping[str, Any] = message if isinstance(message, dict) else data
        thinking = text(source.get("thinking"))
        if message is None or thinking:
            self._thinking.give_up()  # plain text, or a server that keeps reasoning apart
        said = self._thinking.split(text(source.get("content" if message else "response")))
        said = self._thinking.and_end(said) if self.ended else said
        chunk = CompletionChunk(
            text=said[1],
            thinking=thinking + said[0],
            thinking_inferred=self._thinking.found,
            tool_calls=self._tool_calls(source.get("tool_calls")),
            logprobs=parse_logprobs(data.get("logprobs")),
            model=word(data.get("model")),
            finish_reason=word(data.get("done_reason")),
            usage=_usage(data) if self.ended else None,
            server_timings=_timings(data) if self.ended else None,
            raw=data,
        )
        if self._thinking.settled and not self.ended:
            self._template.make(record, chunk)
        return chunk

    @property
    def held(self) -> str:
        """Text that has come, and whose meaning the next record decides."""
        return self._thinking.held

    def _check_end(self, data: Mapping[str, Any]) -> None:
        self.ended = data["done"] is True
        if self.ended and data.get("done_reason") in ("load", "unload"):
            raise ProtocolError("the server loaded the model instead of answering")

    def _tool_calls(self, calls: Any) -> Tuple[ToolCall, ...]:
        """Read calls, which are always whole (§3.6)."""
        if not calls:
            return ()
        if not isinstance(calls, list):
            raise ToolCallError("the tool calls of the answer are no list")
        return tuple(self._tool_call(call) for call in calls)

    def _tool_call(self, call: Any) -> ToolCall:
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise ToolCallError("a tool call of the answer has no name")
        arguments = function.get("arguments")
        if not isinstance(arguments, dict) and arguments is not None:
            raise ToolCallError(f"the arguments of the call of {name!r} are no object")
        self._calls += 1
        return ToolCall(
            id=str(call.get("id") or f"call_{self._calls}"), name=name, arguments=arguments or {}
        )


def _moving(data: Any, kind: str) -> Sequence[Any]:
    """Give the strings in which a record differs from the one before (§3.1)."""
    message = data.get("message")
    source, said = (message, "content") if isinstance(message, dict) else (data, "response")
    words = source.get("thinking" if kind == "thinking" else said)
    return (data["created_at"], words) if "created_at" in data else (words,)


def parse_vectors(data: Any) -> Vectors:
    """Read an embedding answer (§2.7).

    Raises:
        ProviderError: It is an error, or has no vectors.
    """
    rows = checked(data).get("embeddings")
    if not isinstance(rows, (list, array)):
        unexpected("'embeddings' list")
    if not all(isinstance(row, (list, array)) for row in rows):
        raise EmbeddingError("a vector of the answer is no list")
    return Vectors(rows, text(data.get("model")), _usage(data), _timings(data))


def parse_old_vector(data: Any) -> Row:
    """Read the one vector of the superseded route (§2.8).

    Raises:
        ProviderError: It is an error, or has no vector.
    """
    row = checked(data).get("embedding")
    if not isinstance(row, (list, array)):
        unexpected("'embedding' list")
    return row


def old_vectors(rows: List[Row], model: str) -> Vectors:
    """Put together what the superseded route gave; it names no model and counts nothing."""
    warning = "this Ollama is too old for /api/embed; its vectors may differ from length one"
    return Vectors(rows, model, Usage(), ServerTimings(), (warning,), "none")


def checked(data: Any) -> Mapping[str, Any]:
    """Give an answer that is an object and no error.

    Raises:
        ProviderError: It is an error, or no object.
    """
    return _checked(data, RULES)


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=whole(data.get("prompt_eval_count")),
        completion_tokens=whole(data.get("eval_count")),
    )


def _timings(data: Mapping[str, Any]) -> ServerTimings:
    return ServerTimings(
        load_s=_seconds(data.get("load_duration")),
        prompt_s=_seconds(data.get("prompt_eval_duration")),
        generation_s=_seconds(data.get("eval_duration")),
        total_s=_seconds(data.get("total_duration")),
    )


def _seconds(nanoseconds: Any) -> Optional[float]:
    count = number(whole(nanoseconds))
    return None if count is None else count / 1e9
