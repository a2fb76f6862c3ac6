"""Ollama's JSON, there and back. Pure; no spelling of the server leaves this room."""

from localproviders._values import parse_date
from localproviders.ollama.wire.answers import (
    ChunkParser,
    checked,
    old_vectors,
    parse_details,
    parse_models,
    parse_old_vector,
    parse_vectors,
)
from localproviders.ollama.wire.capabilities import capabilities, remote_host
from localproviders.ollama.wire.errors import RULES, explain_answer, lacks_embed, refuse_cloud
from localproviders.ollama.wire.requests import (
    check_old_embed,
    completion_payload,
    embed_payload,
    keep_alive,
    merged,
    message_payload,
    old_embed_payload,
)

__all__ = [
    "RULES",
    "ChunkParser",
    "capabilities",
    "check_old_embed",
    "checked",
    "completion_payload",
    "embed_payload",
    "explain_answer",
    "keep_alive",
    "lacks_embed",
    "merged",
    "message_payload",
    "old_embed_payload",
    "old_vectors",
    "parse_date",
    "parse_details",
    "parse_models",
    "parse_old_vector",
    "parse_vectors",
    "refuse_cloud",
    "remote_host",
]
