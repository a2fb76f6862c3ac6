"""Translation of this package's requests to Ollama's JSON.

The requests that change the server's models are in `library`.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Hashable,
    Mapping,
    Optional,
    Tuple,
)

from localproviders._dialect.common import check_extra_body, tool_payloads
from localproviders._lazy import LazyModule
from localproviders.errors import UnsupportedError
from localproviders.types.messages import Message
from localproviders.types.requests import CompletionRequest, EmbeddingRequest

if TYPE_CHECKING:
    from localproviders._dialect import refused_schemas
else:
    refused_schemas = LazyModule("localproviders._dialect.refused_schemas")

# The options with which a model is loaded (docs/reference/ollama.md, "Options").
_LOAD_OPTIONS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"),
    "draft_num_predict",
)

# Fields of this package and their names in `options` (docs/reference/ollama.md, "Options").
_OPTION_NAMES = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "context_length": "num_ctx",
}

# Fields of this package and their top-level names (docs/reference/ollama.md, "Chat").
_TOP_LEVEL_FIELDS = {
    "thinking": "think",
    "response_schema": "format",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
}


def completion_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat, or of a plain text that the model continues."""
    payload: Dict[str, Any] = {"model": model, "stream": True}
    if request.prompt is None:
        path = "/api/chat"
        payload["messages"] = [message_payload(message) for message in request.messages]
    else:
        path = "/api/generate"
        payload["prompt"] = request.prompt
        # A prompt with a suffix needs the model's template, which marks the gap to fill. A prompt
        # without a suffix is sent without the template (`raw`).
        payload.update({"raw": True} if request.suffix is None else {"suffix": request.suffix})
    payload.update(_settings_payload(request))
    check_extra_body(request.extra_body)
    return path, merge_extra_body(payload, request.extra_body)


def render_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat for which the server returns the rendered prompt.

    A server that does not know the field ``_debug_render_only`` generates an answer. So the answer
    is limited to one token.
    """
    # Described in docs/reference/ollama.md, "Rendered prompts".
    path, payload = completion_payload(request, model)
    payload.update({"stream": False, "_debug_render_only": True})
    payload["options"] = {**payload.get("options", {}), "num_predict": 1}
    return path, payload


def _settings_payload(request: CompletionRequest) -> Dict[str, Any]:
    get = vars(request).get  # a dictionary is faster than attributes
    top: Dict[str, Any] = {wire: get(ours) for ours, wire in _TOP_LEVEL_FIELDS.items()}
    options = {wire: get(ours) for ours, wire in _OPTION_NAMES.items()}
    if request.top_logprobs and request.logprobs is None:
        # Without `logprobs`, the server returns no alternatives
        # (docs/reference/ollama.md, "Log probabilities").
        top["logprobs"] = True
    top["options"] = {name: value for name, value in options.items() if value is not None}
    if request.stop:
        top["options"]["stop"] = list(request.stop)
    if request.tools:
        top["tools"] = tool_payloads(request.tools)
    if request.keep_alive is not None:
        top["keep_alive"] = keep_alive(request.keep_alive)
    # By default the server drops the oldest messages without notice
    # (docs/reference/ollama.md, "Context window").
    top["truncate"] = {"error": False, "truncate": True, "allow": None}[request.overflow]
    # By default a full context window slides: the server drops the beginning of the text. `shift`
    # is a property of the loaded model, so a request with another value makes the server reload the
    # model. `shift` is therefore sent only in requests that also set the window, because a new
    # window makes the server reload the model anyway. If each request contained `shift`, two
    # programs that use the same model would make the server reload it in turns.
    if request.context_length is not None and request.overflow == "error":
        top["shift"] = False
    if not top["options"]:
        del top["options"]
    return {name: value for name, value in top.items() if value is not None}


def load_options(payload: Mapping[str, Any]) -> Hashable:
    """Return those fields of a request whose change makes the server load the model again."""
    # Described in docs/reference/ollama.md, "Options".
    if "options" not in payload and "shift" not in payload:
        return None  # most requests
    options = payload.get("options")
    fields = options if isinstance(options, dict) else {}
    return repr([payload.get("shift"), *map(fields.get, _LOAD_OPTIONS)])


def schema_in_words(payload: Dict[str, Any]) -> bool:
    """Move the schema of a chat into a message; return whether the request had a schema."""
    schema = payload.pop("format", None)
    if schema is not None and "messages" in payload:
        payload["messages"] = refused_schemas.with_words(payload["messages"], schema)
    return schema is not None


def keep_alive(seconds: float) -> float:
    """Return the keep-alive for the server's JSON, where a negative number means for ever."""
    # Described in docs/reference/ollama.md, "Keep-alive".
    return -1 if seconds == float("inf") else seconds


def message_payload(message: Message) -> Dict[str, Any]:
    """Return the JSON of one message."""
    # Described in docs/reference/ollama.md, "Chat".
    payload: Dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        payload["thinking"] = message.thinking
    if message.images or message.audio:  # the server has one list for both
        payload["images"] = [media.base64 for media in (*message.images, *message.audio)]
    if message.tool_calls:
        payload["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_name is not None:
        payload["tool_name"] = message.tool_name
    if message.tool_call_id is not None:
        payload["tool_call_id"] = message.tool_call_id
    return payload


def merge_extra_body(payload: Dict[str, Any], extra: Mapping[str, Any]) -> Dict[str, Any]:
    """Add the caller's `extra_body`; objects such as `options` are merged one level deep."""
    for name, value in extra.items():
        ours = payload.get(name)
        are_objects = isinstance(ours, dict) and isinstance(value, Mapping)
        payload[name] = {**ours, **value} if are_objects and ours is not None else value
    return payload


def check_old_embed(request: EmbeddingRequest) -> None:
    """Check that the older route, ``/api/embeddings``, supports all fields of a request.

    Raises:
        UnsupportedError: The route does not support a field that is set.
    """
    for name in ("dimensions", "truncate"):
        if getattr(request, name):
            raise UnsupportedError(
                f"this Ollama server does not support {name}: it has no /api/embed",
                hint="update the server",
            )


def old_embed_payload(
    request: EmbeddingRequest, index: int, model: str, window: Optional[int]
) -> Dict[str, Any]:
    """Return the JSON that embeds one of the texts with the older route."""
    payload: Dict[str, Any] = {"model": model, "prompt": request.texts[index]}
    return {**payload, **memory_fields(window, request.keep_alive)}


def embed_payload(
    request: EmbeddingRequest, model: str, window: Optional[int] = None
) -> Dict[str, Any]:
    """Return the JSON of an embedding request; `window` is the model's context window."""
    payload: Dict[str, Any] = {
        "model": model,
        "input": list(request.texts),
        "truncate": request.truncate,
    }
    if request.dimensions is not None:
        payload["dimensions"] = request.dimensions
    return {**payload, **memory_fields(window, request.keep_alive)}


def memory_fields(context_length: Optional[int], keep_alive_s: Optional[float]) -> Dict[str, Any]:
    """Return the fields for the context window and the keep-alive of a loaded model."""
    fields: Dict[str, Any] = {}
    if context_length is not None:
        fields["options"] = {"num_ctx": context_length}
    if keep_alive_s is not None:
        fields["keep_alive"] = keep_alive(keep_alive_s)
    return fields
