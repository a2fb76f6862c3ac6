"""From our requests to Ollama's JSON."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple

from localproviders._wire import tool_payloads
from localproviders.errors import UnsupportedError
from localproviders.types.message import Message
from localproviders.types.request import CompletionRequest, EmbeddingRequest

# Our fields, and where they stand in `options` (ollama-api §4.2).
_OPTIONS = {
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

# Our fields, and their names beside `options` (ollama-api §2.5).
_TOP_LEVEL = {
    "thinking": "think",
    "response_schema": "format",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
}


def completion_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Give path and JSON for a request: a chat, or plain text to continue."""
    payload: Dict[str, Any] = {"model": model, "stream": True}
    if request.prompt is None:
        path = "/api/chat"
        payload["messages"] = [message_payload(message) for message in request.messages]
    else:
        path = "/api/generate"
        payload["prompt"] = request.prompt
        # A suffix needs the model's own template around the gap; otherwise no template.
        payload.update({"raw": True} if request.suffix is None else {"suffix": request.suffix})
    payload.update(_settings_payload(request))
    return path, merged(payload, request.extra_body)


def _settings_payload(request: CompletionRequest) -> Dict[str, Any]:
    top = {wire: getattr(request, ours) for ours, wire in _TOP_LEVEL.items()}
    options = {wire: getattr(request, ours) for ours, wire in _OPTIONS.items()}
    if request.top_logprobs and request.logprobs is None:
        top["logprobs"] = True  # alternatives without it are not given (§3.7)
    top["options"] = {name: value for name, value in options.items() if value is not None}
    if request.stop:
        top["options"]["stop"] = list(request.stop)
    if request.tools:
        top["tools"] = tool_payloads(request.tools)
    if request.keep_alive is not None:
        top["keep_alive"] = keep_alive(request.keep_alive)
    # Unasked, the server drops the oldest messages in silence (§4.7).
    top["truncate"] = {"error": False, "truncate": True, "allow": None}[request.overflow]
    return {name: value for name, value in top.items() if value is not None and value != {}}


def keep_alive(seconds: float) -> float:
    """Give the wire's number: negative is for ever (§4.5)."""
    return -1 if seconds == float("inf") else seconds


def message_payload(message: Message) -> Dict[str, Any]:
    """Give one message (§2.5)."""
    payload: Dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        payload["thinking"] = message.thinking
    if message.images or message.audio:  # one list for both (§4.8)
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


def merged(payload: Dict[str, Any], extra: Mapping[str, Any]) -> Dict[str, Any]:
    """Add a user's own fields; objects such as `options` are merged one level deep."""
    for name, value in extra.items():
        mine = payload.get(name)
        both = isinstance(mine, dict) and isinstance(value, Mapping)
        payload[name] = {**mine, **value} if both and mine is not None else value
    return payload


def check_old_embed(request: EmbeddingRequest) -> None:
    """Refuse what the superseded route cannot do (§2.8).

    Raises:
        UnsupportedError: The request asks for it.
    """
    for name in ("dimensions", "truncate"):
        if getattr(request, name):
            raise UnsupportedError(
                f"this Ollama cannot take {name}: it has no /api/embed", hint="update the server"
            )


def old_embed_payload(
    request: EmbeddingRequest, index: int, model: str, window: Optional[int]
) -> Dict[str, Any]:
    """Give the JSON that asks the superseded route for one of the texts (§2.8)."""
    payload: Dict[str, Any] = {"model": model, "prompt": request.texts[index]}
    return {**payload, **residence_fields(window, request.keep_alive)}


def embed_payload(
    request: EmbeddingRequest, model: str, window: Optional[int] = None
) -> Dict[str, Any]:
    """Give the JSON of an embedding request (§2.7); `window` is the one to load with."""
    payload: Dict[str, Any] = {
        "model": model,
        "input": list(request.texts),
        "truncate": request.truncate,
    }
    if request.dimensions is not None:
        payload["dimensions"] = request.dimensions
    return {**payload, **residence_fields(window, request.keep_alive)}


def residence_fields(
    context_length: Optional[int], keep_alive_s: Optional[float]
) -> Dict[str, Any]:
    """Give the fields that say how a model is to be in memory (§4.2, §4.5)."""
    fields: Dict[str, Any] = {}
    if context_length is not None:
        fields["options"] = {"num_ctx": context_length}
    if keep_alive_s is not None:
        fields["keep_alive"] = keep_alive(keep_alive_s)
    return fields
