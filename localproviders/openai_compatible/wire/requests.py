"""From our requests to the dialect's JSON."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Tuple

from localproviders._http.transport import write_json
from localproviders._wire import tool_payloads
from localproviders.types.message import Message
from localproviders.types.request import CompletionRequest, EmbeddingRequest

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
        payload["tools"] = tool_payloads(request.tools)
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
    if message.images or message.audio:
        payload["content"] = [{"type": "text", "text": message.content}, *_media_parts(message)]
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


def _media_parts(message: Message) -> Iterator[Dict[str, Any]]:
    for image in message.images:
        yield {"type": "image_url", "image_url": {"url": image.data_uri}}
    for sound in message.audio:
        yield {
            "type": "input_audio",
            "input_audio": {"data": sound.base64, "format": sound.format},
        }


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
