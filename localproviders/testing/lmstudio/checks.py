"""The checks that LM Studio makes on requests.

The texts of the refusals are in docs/reference/lmstudio.md, "Error texts".
"""

from __future__ import annotations

import re
from typing import Any, FrozenSet, Mapping, Optional

from localproviders.testing.openai_requests import RefusedError, json_type, parts_of
from localproviders.testing.values import FakeModel

_IMAGE = re.compile(r"data:image/(?!webp)[\w.+-]+;base64,")
_NUMBERS = (
    *("temperature", "top_p", "min_p", "top_k", "repeat_penalty", "presence_penalty"),
    *("max_output_tokens", "context_length", "eval_batch_size", "num_experts", "parallel"),
)
_BOOLEANS = (
    *("stream", "store", "flash_attention", "offload_kv_cache_to_gpu", "echo_load_config"),
)
_TEXTS = ("model", "system_prompt", "reasoning", "previous_response_id", "quantization")
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(_NUMBERS, "number"),
    **dict.fromkeys(_BOOLEANS, "boolean"),
    **dict.fromkeys(_TEXTS, "string"),
}


def check_chat(body: Mapping[str, Any]) -> None:
    """Check a chat of the OpenAI dialect.

    Raises:
        RefusedError: The messages are missing or malformed, or the tool choice or the response
            format is one that LM Studio refuses.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError({"error": "'messages' field is required"})
    if not all(map(_is_message, messages)):
        raise RefusedError({"error": "Invalid 'messages' in payload"})
    if isinstance(body.get("tool_choice"), dict):
        words = "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
        raise RefusedError({"error": words})
    given = body.get("response_format")
    kind = given.get("type", "text") if isinstance(given, dict) else given or "text"
    if kind not in ("json_schema", "text"):
        words = "'response_format.type' must be 'json_schema' or 'text'"
        raise RefusedError({"error": words})


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return all(isinstance(part, dict) for part in content)
    return content is None or isinstance(content, str)


def check_images(body: Mapping[str, Any], model: FakeModel) -> None:
    """Check the images of a chat of the OpenAI dialect.

    Raises:
        RefusedError: An image is a web address, or has a format that LM Studio cannot read; or the
            model cannot read images.
    """
    for part in parts_of(body):
        if part.get("type") != "image_url":
            continue
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str) or not _IMAGE.match(url):
            raise RefusedError({"error": "'url' field must be a base64 encoded image."})
        if not model.can("vision"):
            raise RefusedError({"error": "Model does not support images"})


def check_fields(body: Mapping[str, Any], known: FrozenSet[str]) -> None:
    """Check the names and types of the fields of a request to a route below ``/api/v1``.

    Raises:
        RefusedError: A field is unknown, or has a wrong type.
    """
    unknown = ", ".join(f"'{name}'" for name in body if name not in known)
    if unknown:
        raise invalid(f"Unrecognized key(s) in object: {unknown}", code="unrecognized_keys")
    for name, value in body.items():
        found, wanted = json_type(value), _TYPES.get(name)
        if wanted is not None and found != wanted:
            # This text is inferred. The server checks requests with the library zod: its known
            # refusals have zod's texts. This is zod's text for a wrong type.
            raise invalid(f"Expected {wanted}, received {found}", code="invalid_type", param=name)


def check_item(item: Any) -> None:
    """Check an item of the input of a native chat.

    Raises:
        RefusedError: The type of the item is unknown, or the item has no content.
    """
    if not isinstance(item, dict) or item.get("type") not in ("text", "image"):
        raise invalid(
            "Invalid discriminator value. Expected 'text' | 'image'",
            code="invalid_union",
            param="input",
        )
    field = "content" if item["type"] == "text" else "data_url"
    if not isinstance(item.get(field), str):
        raise invalid(f'"{field}" is required', code="missing_required_parameter", param="input")


def invalid(
    message: str, *, code: Optional[str] = None, param: Optional[str] = None
) -> RefusedError:
    """Return the exception for an error response of LM Studio's own routes."""
    more = {"code": code, "param": param}
    error = {"message": message, "type": "invalid_request"}
    return RefusedError({"error": {**error, **{k: v for k, v in more.items() if v is not None}}})
