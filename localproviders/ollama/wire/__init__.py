"""Ollama's JSON, there and back. Pure; no spelling of the server leaves this room."""

from typing import TYPE_CHECKING

from localproviders._doors import door

if TYPE_CHECKING:
    from localproviders._values import parse_date
    from localproviders.ollama.wire.answers import (
        ChunkParser,
        checked,
        old_vectors,
        parse_old_vector,
        parse_vectors,
    )
    from localproviders.ollama.wire.errors import RULES, explain_answer, lacks_embed, refuse_cloud
    from localproviders.ollama.wire.library import (
        Recipe,
        blob_path,
        check_done,
        copy_payload,
        create_payload,
        delete_payload,
        refuse_push,
        transfer_payload,
    )
    from localproviders.ollama.wire.models import (
        check_embed_residence,
        check_residence,
        embed_residence_payload,
        joined,
        parse_cloud_disabled,
        parse_details,
        parse_files,
        parse_loaded,
        parse_models,
        parse_parameters,
        parse_show,
        parse_version,
        residence_payload,
        show_payload,
    )
    from localproviders.ollama.wire.places import parse_places, remote_host
    from localproviders.ollama.wire.progress import SUCCESS, parse_progress, transfers
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
    "SUCCESS",
    "ChunkParser",
    "Recipe",
    "blob_path",
    "check_done",
    "check_embed_residence",
    "check_old_embed",
    "check_residence",
    "checked",
    "completion_payload",
    "copy_payload",
    "create_payload",
    "delete_payload",
    "embed_payload",
    "embed_residence_payload",
    "explain_answer",
    "joined",
    "keep_alive",
    "lacks_embed",
    "merged",
    "message_payload",
    "old_embed_payload",
    "old_vectors",
    "parse_cloud_disabled",
    "parse_date",
    "parse_details",
    "parse_files",
    "parse_loaded",
    "parse_models",
    "parse_old_vector",
    "parse_parameters",
    "parse_places",
    "parse_progress",
    "parse_show",
    "parse_vectors",
    "parse_version",
    "refuse_cloud",
    "refuse_push",
    "remote_host",
    "residence_payload",
    "show_payload",
    "transfer_payload",
    "transfers",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "localproviders._values": ("parse_date",),
        "localproviders.ollama.wire.answers": (
            "ChunkParser",
            "checked",
            "old_vectors",
            "parse_old_vector",
            "parse_vectors",
        ),
        "localproviders.ollama.wire.errors": (
            "RULES",
            "explain_answer",
            "lacks_embed",
            "refuse_cloud",
        ),
        "localproviders.ollama.wire.library": (
            "Recipe",
            "blob_path",
            "check_done",
            "copy_payload",
            "create_payload",
            "delete_payload",
            "refuse_push",
            "transfer_payload",
        ),
        "localproviders.ollama.wire.models": (
            "check_embed_residence",
            "check_residence",
            "embed_residence_payload",
            "joined",
            "parse_cloud_disabled",
            "parse_details",
            "parse_files",
            "parse_loaded",
            "parse_models",
            "parse_parameters",
            "parse_show",
            "parse_version",
            "residence_payload",
            "show_payload",
        ),
        "localproviders.ollama.wire.places": ("parse_places", "remote_host"),
        "localproviders.ollama.wire.progress": (
            "SUCCESS",
            "parse_progress",
            "transfers",
        ),
        "localproviders.ollama.wire.requests": (
            "check_old_embed",
            "completion_payload",
            "embed_payload",
            "keep_alive",
            "merged",
            "message_payload",
            "old_embed_payload",
        ),
    },
)
