"""Rules that turn LM Studio's error texts into exceptions of this package."""

from __future__ import annotations

import re
from typing import Tuple

from localproviders._dialect.error_rules import Rule, rule
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    UnsupportedError,
)
from localproviders.openai_compatible.wire.errors import RULES as DIALECT_RULES

#: Hints of incomplete errors about a missing model. The provider adds the names of the server's
#: models to such an error.
NOT_IN_CATALOG = "check the name in LM Studio's catalog"
NOT_IN_MEMORY = "list_models() returns the names of the server's models"

# Fragments of the server's error texts (docs/reference/lmstudio.md, "Error texts"). Only
# fragments are matched, because the wording changes between versions.
RULES: Tuple[Rule, ...] = (
    rule(
        r"Unexpected endpoint or method",
        UnsupportedError,
        "update LM Studio if its version lacks this route, or remove an extra path from the "
        "address",
    ),
    rule(
        r"keep the first \d+ tokens|tokens to keep from the initial prompt"
        r"|Context size has been exceeded|mid-generation context overflow",
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
    rule(r"server is starting", ServerBusyError),
    rule(
        r"previous_response",
        RequestRejectedError,
        "the server stores a response for 30 days, and not at all with store=False; start a new "
        "conversation without previous_response_id",
    ),
    rule(r"job_not_found", RequestRejectedError, "start the download again"),
    rule(
        r"Unrecognized key",
        RequestRejectedError,
        "leave out this field: this version of the server does not accept it",
    ),
    *DIALECT_RULES,
    # This pattern matches the type of an error, and not its text. It is used only for an error
    # without an HTTP status: one inside a stream.
    rule(r"^invalid_request\b", RequestRejectedError),
)

# Error texts for a request that had no effect, because its model left memory.
_EVICTED = r"Model is unloaded|Model reloaded"


def left_memory(error: ProviderError) -> bool:
    """Return whether an error means that a model has left memory since it was loaded."""
    if isinstance(error, ModelNotFoundError):
        return True
    return isinstance(error, ModelLoadError) and bool(
        re.search(_EVICTED, error.server_message or "", re.IGNORECASE)
    )
