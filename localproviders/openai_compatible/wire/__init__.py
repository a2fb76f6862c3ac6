"""The OpenAI dialect's JSON, there and back. Pure; no spelling leaves this room."""

from localproviders.openai_compatible.wire.answers import ChunkParser, parse_models, parse_vectors
from localproviders.openai_compatible.wire.errors import RULES, explain_answer
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
