"""The OpenAI dialect's JSON, there and back. Pure; no spelling leaves this room."""

from typing import TYPE_CHECKING

from localproviders._doors import door

if TYPE_CHECKING:
    from localproviders.openai_compatible.wire.answers import (
        ChunkParser,
        parse_vectors,
    )
    from localproviders.openai_compatible.wire.errors import RULES, explain_answer
    from localproviders.openai_compatible.wire.models import parse_models
    from localproviders.openai_compatible.wire.requests import (
        completion_payload,
        embed_payload,
        message_payload,
    )
    from localproviders.openai_compatible.wire.tokens import (
        conversation_payload,
        parse_count,
        parse_tokens,
        templated_payload,
    )

__all__ = [
    "RULES",
    "ChunkParser",
    "completion_payload",
    "conversation_payload",
    "embed_payload",
    "explain_answer",
    "message_payload",
    "parse_count",
    "parse_models",
    "parse_tokens",
    "parse_vectors",
    "templated_payload",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "localproviders.openai_compatible.wire.answers": (
            "ChunkParser",
            "parse_vectors",
        ),
        "localproviders.openai_compatible.wire.errors": (
            "RULES",
            "explain_answer",
        ),
        "localproviders.openai_compatible.wire.models": ("parse_models",),
        "localproviders.openai_compatible.wire.requests": (
            "completion_payload",
            "embed_payload",
            "message_payload",
        ),
        "localproviders.openai_compatible.wire.tokens": (
            "conversation_payload",
            "parse_count",
            "parse_tokens",
            "templated_payload",
        ),
    },
)
