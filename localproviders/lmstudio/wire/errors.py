"""From LM Studio's words to our errors."""

from __future__ import annotations

import re
from typing import Tuple

from localproviders._http.rejection import Rule, rule
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.openai_compatible.wire import RULES as DIALECT_RULES

# Parts of the server's sentences (lmstudio-api §4.3); its wording changes with versions.
RULES: Tuple[Rule, ...] = (
    rule(
        r"Unexpected endpoint or method",
        UnsupportedError,
        "this version lacks it, or the address has a path too many",
    ),
    rule(
        r"keep the first \d+ tokens|tokens to keep from the initial prompt"
        r"|Context size has been exceeded",
        ContextOverflowError,
        "shorten the prompt, or load the model with a larger context",
    ),
    rule(r"API token", AuthenticationError, "set LM_API_TOKEN, or pass api_key=..."),
    rule(
        r"No models loaded|Multiple models are loaded",
        ModelNotFoundError,
        "load a model in LM Studio, or switch on Just in Time Model Loading",
    ),
    rule(
        r"Invalid model identifier|model_not_found|instance identifier .* is not loaded",
        ModelNotFoundError,
    ),
    rule(r"Failed to load|has crashed|Model is unloaded|Model reloaded", ModelLoadError),
    rule(r"does not support images|Vision add-on", CapabilityError),
    rule(r"must be a base64 encoded image", RequestRejectedError, "send PNG or JPEG"),
    rule(r"server is starting", BusyError),
    rule(
        r"previous_response",
        RequestRejectedError,
        "the server keeps an answer for 30 days, and none that was asked for with store=False; "
        "begin anew without previous_response_id",
    ),
    rule(r"job_not_found", RequestRejectedError, "start the download again"),
    rule(
        r"Unrecognized key", RequestRejectedError, "this version of the server takes other fields"
    ),
    *DIALECT_RULES,
    rule(r"^invalid_request\b", RequestRejectedError),  # the kind, where no status says so
)

# A model was there, and is not any more: the request itself has done nothing.
_GONE = r"Model is unloaded|Model reloaded"


def left_memory(error: ProviderError) -> bool:
    """Whether an error says that a model which was in memory has left it (§4.3)."""
    if isinstance(error, ModelNotFoundError):
        return True
    return isinstance(error, ModelLoadError) and bool(
        re.search(_GONE, error.server_message or "", re.IGNORECASE)
    )
