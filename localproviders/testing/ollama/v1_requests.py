"""Conversion of requests in OpenAI's dialect to Ollama's own API, for the fake Ollama."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping

from localproviders.testing.ollama.answers import RefusedError
from localproviders.testing.ollama.requests import go_type

_SAMPLING = {
    "max_tokens": "int",
    "seed": "int",
    "stop": "any",
    "temperature": "float64",
    "top_p": "float64",
    "frequency_penalty": "float64",
    "presence_penalty": "float64",
}
_SHARED = {
    "model": "string",
    "stream": "bool",
    "stream_options": "openai.StreamOptions",
    **_SAMPLING,
}
#: The Go types of the fields of each sort of request.
CHAT = {
    **_SHARED,
    "messages": "[]openai.Message",
    "response_format": "openai.ResponseFormat",
    "tools": "api.Tools",
    "reasoning": "openai.Reasoning",
    "reasoning_effort": "string",
    "logprobs": "bool",
    "top_logprobs": "int",
}
COMPLETION = {**_SHARED, "prompt": "string", "suffix": "string", "logprobs": "int"}
EMBEDDING = {
    "model": "string",
    "input": "any",
    "dimensions": "int",
    "encoding_format": "string",
}

_LEVELS: Mapping[str, Any] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "ultra": "max",
    "max": "max",
}
_IMAGES = tuple(f"data:image/{kind};base64," for kind in ("jpeg", "jpg", "png", "webp"))


def native_chat(body: Mapping[str, Any]) -> Dict[str, Any]:
    """Convert a chat request. Fields that the server does not know have no effect.

    Raises:
        RefusedError: The request has no messages, or a value that the server refuses.
    """
    messages = [native for message in body.get("messages", []) for native in _messages(message)]
    if not messages:
        raise RefusedError("[] is too short - 'messages'")
    native = {**_base(body), "messages": messages}
    native.update(
        {name: body[name] for name in ("tools", "logprobs", "top_logprobs") if name in body}
    )
    effort = body.get("reasoning_effort") or body.get("reasoning", {}).get("effort")
    if effort:
        if effort not in _LEVELS:
            levels = '"high", "medium", "low", "max", or "none"'
            raise RefusedError(f"invalid reasoning value: '{effort}' (must be {levels})")
        native["think"] = _LEVELS[effort]
    form = body.get("response_format", {})
    if form.get("type") == "json_object":
        native["format"] = "json"
    elif form.get("type") == "json_schema":
        native["format"] = (form.get("json_schema") or {}).get("schema")
    return native


def native_generate(body: Mapping[str, Any]) -> Dict[str, Any]:
    """Convert a completion request."""
    return {**_base(body), "prompt": body.get("prompt", ""), "suffix": body.get("suffix", "")}


def _base(body: Mapping[str, Any]) -> Dict[str, Any]:
    options: Dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}
    options.update({name: body[name] for name in _SAMPLING if name in body})
    if "max_tokens" in options:
        options["num_predict"] = options.pop("max_tokens")
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    native = {name: body[name] for name in ("model",) if name in body}
    return {**native, "stream": body.get("stream", False), "options": options}


def _messages(message: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    """Yield Ollama's messages for one message of OpenAI's: one for each part of its content."""
    content = message.get("content")
    role = {"role": message.get("role", "")}
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        yield {**role, "content": content or ""}
    elif isinstance(content, list):
        yield from ({**role, **_part(part)} for part in content)
    else:
        raise RefusedError(f"invalid message content type: {go_type(content)}")


def _part(part: Any) -> Dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"content": part["text"]}
    if kind == "image_url":
        given = part.get("image_url")
        url = given.get("url") if isinstance(given, dict) else given
        return {"content": "", "images": [_image(url)]}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        data = part["input_audio"].get("data")
        if isinstance(data, str):
            return {"content": "", "images": [data]}
    raise RefusedError("invalid message format")


def _image(url: Any) -> str:
    """Return the base64 data of an image.

    Raises:
        RefusedError: The address of the image is not a data URL of a known type.
    """
    starts: List[str] = [*_IMAGES, "data:;base64,"]
    found = next((s for s in starts if isinstance(url, str) and url.startswith(s)), None)
    if found is None:
        raise RefusedError("invalid image input")
    return str(url)[len(found) :]
