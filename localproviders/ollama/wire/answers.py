"""From Ollama's JSON to our answers."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple

from localproviders._http.framing import parse_json
from localproviders._http.rejection import from_words, read_words
from localproviders._thinking import ThinkingSplitter
from localproviders._values import (
    mapping,
    mappings,
    number,
    parse_date,
    text,
    whole,
    word,
    words,
)
from localproviders._wire import Vectors, parse_logprobs, unexpected
from localproviders._wire import checked as _checked
from localproviders.capabilities import Evidence, detect
from localproviders.errors import EmbeddingError, ProtocolError, ToolCallError
from localproviders.ollama.wire.errors import RULES
from localproviders.types.answer import CompletionChunk, ServerTimings, Usage
from localproviders.types.message import ToolCall
from localproviders.types.model import ModelCapabilities, ModelInfo


class ChunkParser:
    """NDJSON records of a chat or a plain completion, to chunks (§3)."""

    def __init__(self, max_json_depth: int) -> None:
        self._max_depth = max_json_depth
        self._calls = 0
        self._thinking = ThinkingSplitter()
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
        return CompletionChunk(
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


def remote_host(data: Optional[Mapping[str, Any]]) -> Optional[str]:
    """Give where a record says that the model really runs; None is here (§6.5)."""
    host = (data or {}).get("remote_host")
    return str(host) if host else None


def parse_vectors(data: Any) -> Vectors:
    """Read an embedding answer (§2.7).

    Raises:
        ProviderError: It is an error, or has no vectors.
    """
    rows = checked(data).get("embeddings")
    if not isinstance(rows, list):
        unexpected("'embeddings' list")
    if not all(isinstance(row, list) for row in rows):
        raise EmbeddingError("a vector of the answer is no list")
    return Vectors(rows, text(data.get("model")), _usage(data), _timings(data))


def parse_models(data: Any, provider: str) -> List[ModelInfo]:
    """Read the list of installed models (§2.2).

    Raises:
        ProviderError: It is an error, or no list.
    """
    models = checked(data).get("models")
    if not isinstance(models, list):
        unexpected("'models' list")
    return [_model_info(model, provider) for model in mappings(models)]


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    details = mapping(data.get("details"))
    name = text(data.get("name") or data.get("model"))
    return ModelInfo(
        name=name,
        provider=provider,
        size_bytes=whole(data.get("size")),
        digest=word(data.get("digest")),
        modified_at=parse_date(data.get("modified_at")),
        architecture=word(details.get("family")),
        parameter_size=word(details.get("parameter_size")),
        quantization=word(details.get("quantization_level")),
        format=word(details.get("format")),
        remote_host=remote_host(data),
        capabilities=capabilities(name, tags=data),
        raw=data,
    )


def parse_details(data: Any, model: str, provider: str) -> ModelInfo:
    """Read the details of one model (§2.4).

    Raises:
        ProviderError: It is an error, or no object.
    """
    data = checked(data)
    details = mapping(data.get("details"))
    return ModelInfo(
        name=model,
        provider=provider,
        modified_at=parse_date(data.get("modified_at")),
        architecture=word(details.get("family")),
        parameter_size=word(details.get("parameter_size")),
        quantization=word(details.get("quantization_level")),
        format=word(details.get("format")),
        remote_host=remote_host(data),
        capabilities=capabilities(model, show=data),
        raw=data,
    )


# The server's words for what a model can do, and ours (§6.1).
_ABILITIES = {
    "completion": ("chat", "completion"),
    "tools": ("tools",),
    "insert": ("insert",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embedding": ("embeddings",),
    "thinking": ("thinking",),
}


def capabilities(
    name: str,
    *,
    tags: Optional[Mapping[str, Any]] = None,
    show: Optional[Mapping[str, Any]] = None,
) -> ModelCapabilities:
    """Say what a model can do from its entry in the list, or from its details.

    The list's shortcut can lack abilities that the details have (§6.2): only the details
    deny anything.
    """
    evidence = []
    if tags is not None:
        details = mapping(tags.get("details"))
        evidence.append(_evidence("GET /api/tags", tags, details, "", denies=False))
    if show is not None:
        info = mapping(show.get("model_info"))
        prefix = f"{info.get('general.architecture')}."
        evidence.append(_evidence("POST /api/show", show, info, prefix, denies=True))
    return detect(name, *evidence)


def _evidence(
    detail: str, data: Mapping[str, Any], numbers: Mapping[str, Any], prefix: str, denies: bool
) -> Evidence:
    known = words(data.get("capabilities"))
    can = frozenset(ours for ability in known for ours in _ABILITIES.get(ability, ()))
    every = frozenset(ours for several in _ABILITIES.values() for ours in several)
    return Evidence(
        detail=detail,
        can=can,
        cannot=every - can if denies and known else frozenset(),
        numbers={
            "max_context_length": whole(numbers.get(prefix + "context_length")),
            "embedding_length": whole(numbers.get(prefix + "embedding_length")),
        },
    )


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
