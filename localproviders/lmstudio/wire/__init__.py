"""What LM Studio says in its own words. Pure; the dialect is in `openai_compatible.wire`."""

from typing import TYPE_CHECKING

from localproviders._doors import door

if TYPE_CHECKING:
    from localproviders.lmstudio.wire.errors import RULES, left_memory
    from localproviders.lmstudio.wire.library import (
        DOWNLOAD_PATH,
        LOAD_PATH,
        UNLOAD_PATH,
        check_unloaded,
        configuration,
        differences,
        download_payload,
        fits,
        is_address,
        load_payload,
        loaded_models,
        parse_job,
        parse_loaded,
        same_repository,
        status_path,
        unload_payload,
    )
    from localproviders.lmstudio.wire.lists import Entry, parse_models, parse_old_models, same_entry
    from localproviders.lmstudio.wire.requests import can_keep, ttl_payload
    from localproviders.lmstudio.wire.stateful import (
        CHAT_PATH,
        EventParser,
        chat_payload,
        check_fields,
        may_be_cut,
        reasoning,
    )

__all__ = [
    "CHAT_PATH",
    "DOWNLOAD_PATH",
    "LOAD_PATH",
    "RULES",
    "UNLOAD_PATH",
    "Entry",
    "EventParser",
    "can_keep",
    "chat_payload",
    "check_fields",
    "check_unloaded",
    "configuration",
    "differences",
    "download_payload",
    "fits",
    "is_address",
    "left_memory",
    "load_payload",
    "loaded_models",
    "may_be_cut",
    "parse_job",
    "parse_loaded",
    "parse_models",
    "parse_old_models",
    "reasoning",
    "same_entry",
    "same_repository",
    "status_path",
    "ttl_payload",
    "unload_payload",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "localproviders.lmstudio.wire.errors": (
            "RULES",
            "left_memory",
        ),
        "localproviders.lmstudio.wire.library": (
            "DOWNLOAD_PATH",
            "LOAD_PATH",
            "UNLOAD_PATH",
            "check_unloaded",
            "configuration",
            "differences",
            "download_payload",
            "fits",
            "is_address",
            "load_payload",
            "loaded_models",
            "parse_job",
            "parse_loaded",
            "same_repository",
            "status_path",
            "unload_payload",
        ),
        "localproviders.lmstudio.wire.lists": (
            "Entry",
            "parse_models",
            "parse_old_models",
            "same_entry",
        ),
        "localproviders.lmstudio.wire.requests": (
            "can_keep",
            "ttl_payload",
        ),
        "localproviders.lmstudio.wire.stateful": (
            "CHAT_PATH",
            "EventParser",
            "chat_payload",
            "check_fields",
            "may_be_cut",
            "reasoning",
        ),
    },
)
