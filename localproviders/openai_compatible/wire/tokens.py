"""How servers of this dialect count tokens: beside it, each in its own way."""

from __future__ import annotations

from typing import Any, Dict

from localproviders._http.transport import Payload
from localproviders._values import whole
from localproviders._wire import checked, tool_payloads, unexpected
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.openai_compatible.wire.requests import message_payload
from localproviders.types.request import CompletionRequest


def conversation_payload(request: CompletionRequest, model: str) -> Dict[str, Any]:
    """Give the JSON of a conversation to count, as it would be sent to be answered."""
    payload: Dict[str, Any] = {
        "model": model,
        "messages": [message_payload(message) for message in request.messages],
    }
    if request.tools:
        payload["tools"] = tool_payloads(request.tools)
    return Payload(payload)


def templated_payload(data: Any, model: str) -> Dict[str, Any]:
    """Turn the answer of llama.cpp's ``/apply-template`` into a question to ``/tokenize``.

    Special tokens are added and read as they are for a chat.

    Raises:
        ProviderError: It is an error, or has no prompt.
    """
    prompt = checked(data, RULES).get("prompt")
    if not isinstance(prompt, str):
        unexpected("'prompt' text")
    return Payload(model=model, content=prompt, add_special=True, parse_special=True)


def parse_tokens(data: Any) -> int:
    """Count what llama.cpp's ``/tokenize`` gives.

    Raises:
        ProviderError: It is an error, or has no tokens.
    """
    tokens = checked(data, RULES).get("tokens")
    if not isinstance(tokens, list):
        unexpected("'tokens' list")
    return len(tokens)


def parse_count(data: Any) -> int:
    """Read the answer of vLLM's ``/tokenize``.

    Raises:
        ProviderError: It is an error, or has no count.
    """
    count = whole(checked(data, RULES).get("count"))
    return unexpected("'count'") if count is None else count
