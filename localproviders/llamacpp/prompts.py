"""The routes of llama.cpp that render a prompt or count its tokens, and generate no answer."""

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
    """Return whether a message has a document, which chats with this server do not support."""
    return any(message.documents for message in request.messages)


class Prompts(PromptRoutes):
    """Client of llama.cpp's routes that render a prompt, or count its tokens.

    The count is the length of the prompt of a chat with the same arguments, including tools and
    images. Old servers have no route that counts the tokens of a chat. On them, one request renders
    the prompt as text, and another counts the tokens of this text. This works for text and tools
    only.

    The arguments are those of `PromptRoutes`.
    """

    all_methods: Mapping[str, Method] = {
        f"the server's {COUNT_PATH}": Method(_count_chat, _has_documents),
        **BY_TEMPLATE,
    }
