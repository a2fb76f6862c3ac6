"""The OpenAI dialect's JSON, there and back. Pure; no spelling leaves this module."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._backend import Vectors, unexpected
from localproviders._http.framing import parse_json
from localproviders._http.rejection import Rule, explain, from_words, read_words, rule
from localproviders._http.transport import write_json
from localproviders._values import mapping, mappings, number, text, whole, word
from localproviders.capabilities import Evidence, detect
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    EmbeddingError,
    ModelNotFoundError,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.openai_compatible.tool_calls import ToolCallAssembler
from localproviders.types.answer import CompletionChunk, ServerTimings, TokenLogprob, Usage
from localproviders.types.message import Message
from localproviders.types.model import ModelInfo
from localproviders.types.request import CompletionRequest, EmbeddingRequest

# --- requests -----------------------------------------------------------------------------

# Fields whose names are the same on both sides. The last three are not OpenAI's; llama.cpp
# and LM Studio read them (lmstudio-api §6.4), and a server that does not answers 400.
_SAME = (
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "repeat_penalty",
)

_TOOL_CHOICES = ("auto", "none", "required")


def completion_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Give path and JSON for a request: a chat, or plain text to continue."""
    payload: Dict[str, Any] = {"model": model}
    if request.prompt is None:
        path = "/chat/completions"
        payload["messages"] = [message_payload(message) for message in request.messages]
        payload.update(_chat_only(request))
    else:
        path = "/completions"
        payload["prompt"] = request.prompt
        if request.suffix is not None:
            payload["suffix"] = request.suffix
        if request.logprobs or request.top_logprobs:
            payload["logprobs"] = request.top_logprobs or 1
    payload.update({name: getattr(request, name) for name in _SAME})
    if request.stop:
        payload["stop"] = list(request.stop)
    payload["stream"] = True
    # Without this a stream has no numbers at all.
    payload["stream_options"] = {"include_usage": True}
    payload.update(request.extra_body)
    return path, {name: value for name, value in payload.items() if value is not None}


def _chat_only(request: CompletionRequest) -> Dict[str, Any]:
    payload: Dict[str, Any] = {}
    if request.tools:
        payload["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if request.tool_choice is not None:
        payload["tool_choice"] = (
            request.tool_choice
            if request.tool_choice in _TOOL_CHOICES
            else {"type": "function", "function": {"name": request.tool_choice}}
        )
    if request.response_schema is not None:
        payload["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": request.response_schema},
        }
    if request.thinking is not None:
        payload["reasoning_effort"] = request.thinking
    if request.logprobs or request.top_logprobs:
        payload["logprobs"] = True
        payload["top_logprobs"] = request.top_logprobs
    return payload


def message_payload(message: Message) -> Dict[str, Any]:
    """Give one message."""
    payload: Dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        parts: List[Dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": image.data_uri}} for image in message.images
        ]
        payload["content"] = [{"type": "text", "text": message.content}, *parts]
    if message.tool_calls:
        payload["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": write_json(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        payload["tool_call_id"] = message.tool_call_id
    if message.thinking:
        payload["reasoning_content"] = message.thinking
    return payload


def embed_payload(request: EmbeddingRequest, model: str) -> Dict[str, Any]:
    """Give the JSON of an embedding request; vectors come as base64 where they can."""
    payload: Dict[str, Any] = {
        "model": model,
        "input": list(request.texts),
        "encoding_format": "base64",
    }
    if request.dimensions is not None:
        payload["dimensions"] = request.dimensions
    return payload


# --- answers ------------------------------------------------------------------------------

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
            self.ended = True
            calls = self._calls.whole(self._reason)
            return CompletionChunk(tool_calls=calls) if calls else None
        data = parse_json(record, self._max_depth)
        words = read_words(data)  # before anything else (lmstudio-api §3.8)
        if words is not None:
            raise from_words(words, self._rules)
        if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
            unexpected("'choices' list")
        return self._chunk(data)

    def _chunk(self, data: Mapping[str, Any]) -> CompletionChunk:
        choice = data["choices"][0] if data["choices"] else {}
        if not isinstance(choice, dict):
            unexpected("readable choice")
        if len(data["choices"]) > 1 or choice.get("index") not in (None, 0):
            raise ProtocolError(
                "the answer has several choices, which would be mixed into one text",
                hint="leave n out of extra_body",
            )
        message = choice.get("message")
        source = message if isinstance(message, dict) else choice.get("delta") or {}
        if not isinstance(source, dict):
            unexpected("readable delta")
        self._began = True
        self._calls.add(source.get("tool_calls"))
        self._reason = choice.get("finish_reason") or self._reason
        # A body that holds a message is the whole answer (asked to stream or not).
        self.ended = self.whole or isinstance(message, dict)
        return CompletionChunk(
            text=text(choice["text"] if "text" in choice else source.get("content")),
            thinking=text(source.get("reasoning_content") or source.get("reasoning")),
            tool_calls=self._calls.whole(self._reason) if self.ended else (),
            logprobs=_logprobs(choice.get("logprobs")),
            model=word(data.get("model")),
            finish_reason=word(choice.get("finish_reason")),
            usage=_usage(data.get("usage")),
            server_timings=_timings(data.get("timings")),
            raw=data,
        )


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
    if isinstance(value, list):
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


def parse_models(data: Any, provider: str, rules: Sequence[Rule]) -> List[ModelInfo]:
    """Read the list of models; `data` is null where there is none (ollama-api §2.20).

    Raises:
        ProviderError: It is an error, or no list.
    """
    data = checked(data, rules)
    if "data" not in data or not isinstance(data["data"] or [], list):
        unexpected("'data' list")
    return [_model_info(model, provider) for model in mappings(data["data"])]


def _model_info(data: Mapping[str, Any], provider: str) -> ModelInfo:
    meta = mapping(data.get("meta"))
    name = text(data.get("id"))
    numbers = {
        "max_context_length": whole(meta.get("n_ctx_train")) or whole(data.get("max_model_len")),
        "loaded_context_length": whole(meta.get("n_ctx")),
        "embedding_length": whole(meta.get("n_embd")),
    }
    return ModelInfo(
        name=name,
        provider=provider,
        size_bytes=whole(meta.get("size")),
        capabilities=detect(name, Evidence(detail="GET /v1/models", numbers=numbers)),
        raw=data,
    )


def checked(data: Any, rules: Sequence[Rule]) -> Mapping[str, Any]:
    """Give an answer that is an object and no error, whatever its status was.

    Raises:
        ProviderError: It is an error, or no object.
    """
    words = read_words(data)
    if words is not None:
        raise from_words(words, rules)
    if not isinstance(data, dict):
        unexpected("JSON object")
    return data


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


def _logprobs(data: Any) -> Tuple[TokenLogprob, ...]:
    return tuple(_logprob(item) for item in mappings(mapping(data).get("content")))


def _logprob(item: Mapping[str, Any]) -> TokenLogprob:
    data, logprob = item.get("bytes"), number(item.get("logprob"))
    if logprob is None:
        unexpected("readable log-probability")
    try:
        return TokenLogprob(
            token=text(item.get("token")),
            logprob=logprob,
            data=bytes(data) if isinstance(data, list) else None,
            top=tuple(_logprob(other) for other in item.get("top_logprobs") or ()),
        )
    except (TypeError, ValueError, AttributeError, OverflowError):
        unexpected("readable log-probability")


def _seconds(milliseconds: Any) -> Optional[float]:
    count = number(milliseconds)
    return None if count is None else count / 1000


# --- errors -------------------------------------------------------------------------------

RULES: Tuple[Rule, ...] = (
    rule(
        r"exceed_context_size|context_length_exceeded|exceeds? the available context"
        r"|maximum context length|too large to process",
        ContextOverflowError,
        "shorten the prompt, or start the server with a larger context",
    ),
    rule(
        r"invalid_api_key|authentication_error|invalid api key",
        AuthenticationError,
        "pass api_key=...",
    ),
    rule(r"model_not_found|model .*(not found|does not exist)", ModelNotFoundError),
    rule(
        r"not_supported_error|does not support|not support embeddings|--embeddings",
        CapabilityError,
        "choose a model, or start the server, so that it can",
    ),
    rule(
        r"unavailable_error|loading model",
        BusyError,
        "the server is loading its model",
        loading=True,
    ),
    rule(r"not_found_error.*(file|path|url) not found|^404 page not found", UnsupportedError),
    rule(r"invalid_request_error", RequestRejectedError),
)


def explain_answer(
    status: int, text: str, headers: Mapping[str, str], rules: Sequence[Rule] = RULES
) -> ProviderError:
    """Make the error for a status that is not 2xx."""
    return explain(status, text, headers, rules)
