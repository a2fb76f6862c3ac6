"""Ollama's JSON, there and back. Pure; no spelling of the server leaves this room."""

from localproviders._values import parse_date
from localproviders.ollama.wire.answers import (
    ChunkParser,
    capabilities,
    checked,
    parse_details,
    parse_models,
    parse_vectors,
    remote_host,
)
from localproviders.ollama.wire.errors import RULES, explain_answer, refuse_cloud
from localproviders.ollama.wire.requests import (
    completion_payload,
    embed_payload,
    keep_alive,
    merged,
    message_payload,
)

__all__ = [
    "RULES",
    "ChunkParser",
    "capabilities",
    "checked",
    "completion_payload",
    "embed_payload",
    "explain_answer",
    "keep_alive",
    "merged",
    "message_payload",
    "parse_date",
    "parse_details",
    "parse_models",
    "parse_vectors",
    "refuse_cloud",
    "remote_host",
]
