"""Functions for the JSON of requests and responses that only llama.cpp has."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.values import count
from localproviders.llamacpp.wire.errors import RULES
from localproviders.openai_compatible.wire.requests import completion_payload, render_payload
from localproviders.types.requests import CompletionRequest

#: The route that fills the gap between a prompt and its suffix.
INFILL_PATH = "/infill"
#: The route that counts the tokens of a chat. A router does not load a model for it.
COUNT_PATH = "/v1/chat/completions/input_tokens"


def text_payload(request: CompletionRequest, model: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path and the JSON of a chat, of a text to continue, or of a gap to fill.

    A gap is sent to llama.cpp's own route, because the completion route of OpenAI's dialect ignores
    the suffix (docs/reference/llamacpp.md, "Completion").
    """
    path, payload = completion_payload(request, model)
    own = {
        "grammar": request.grammar,
        "thinking_budget_tokens": request.thinking_budget,
        "return_progress": True,
    }
    for name, value in own.items():
        if value is not None and name not in request.extra_body:
            payload[name] = value
    if request.suffix is None:
        return f"/v1{path}", payload
    return INFILL_PATH, _infill_payload(payload)


def _infill_payload(payload: Dict[str, Any]) -> Dict[str, Any]:
    payload["input_prefix"], payload["input_suffix"] = payload.pop("prompt"), payload.pop("suffix")
    payload.pop("stream_options", None)
    tokens = payload.pop("logprobs", None)
    if tokens is not None:
        payload["n_probs"] = int(tokens)
    return payload


def count_payload(request: CompletionRequest, model: str) -> Dict[str, Any]:
    """Return the JSON for counting the tokens of a chat: the fields of the chat itself."""
    return render_payload(request, model)


def parse_count(data: Any) -> int:
    """Return the number of tokens from a response of the route that counts them.

    Raises:
        ProviderError: The response is an error, or has no count.
    """
    tokens = count(checked(data, RULES).get("input_tokens"))
    return unexpected("'input_tokens'") if tokens is None else tokens


def quiet(path: str) -> str:
    """Return the path with a parameter that keeps a router from loading the model."""
    return f"{path}?autoload=false"
