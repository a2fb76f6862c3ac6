"""The routes of llama.cpp that count the tokens of a prompt, or render it, without an answer."""

from __future__ import annotations

from functools import partial
from typing import Mapping

from localproviders.llamacpp.wire.requests import COUNT_PATH, count_payload, parse_count, quiet
from localproviders.openai_compatible.prompt_routes import BY_TEMPLATE, Ask, Method, PromptRoutes
from localproviders.types.requests import CompletionRequest


def _count_chat(ask: Ask, request: CompletionRequest, model: str) -> int:
    """Count the tokens of a chat. A router does not load a model for this."""
    payload = partial(count_payload, request, model)
    tokens: int = ask(quiet(COUNT_PATH), payload, parse_count)
    return tokens


def _has_documents(request: CompletionRequest) -> bool:
    """Return whether a message has a document, which a chat with this server refuses."""
    return any(message.documents for message in request.messages)


class Prompts(PromptRoutes):
    """Client of llama.cpp's routes that count the tokens of a prompt, or render it.

    The count is the length of the prompt of a chat with the same arguments, including tools and
    images. Old servers have no route for this. On them, the template is rendered and its tokens are
    counted, which works for texts and tools only.

    The arguments are those of `PromptRoutes`.
    """

    all_methods: Mapping[str, Method] = {
        f"the server's {COUNT_PATH}": Method(_count_chat, _has_documents),
        **BY_TEMPLATE,
    }
