"""From the dialect's words to our errors."""

from __future__ import annotations

from typing import Mapping, Sequence, Tuple

from localproviders._http.rejection import Rule, explain, rule
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)

RULES: Tuple[Rule, ...] = (
    rule(
        r"exceed_context_size|context_length_exceeded|exceeds? the available context"
        r"|maximum context length|too large to process",
        ContextOverflowError,
        "shorten the prompt, or start the server with a larger context",
    ),
    rule(
        r"invalid_api_key|authentication_error|invalid api key",
        AuthenticationError,
        "pass api_key=...",
    ),
    rule(r"model_not_found|model .*(not found|does not exist)", ModelNotFoundError),
    rule(
        r"not_supported_error|does not support|not support embeddings|--embeddings",
        CapabilityError,
        "choose a model, or start the server, so that it can",
    ),
    rule(
        r"unavailable_error|loading model",
        BusyError,
        "the server is loading its model",
        loading=True,
    ),
    rule(r"not_found_error.*(file|path|url) not found|^404 page not found", UnsupportedError),
    rule(r"invalid_request_error", RequestRejectedError),
)


def explain_answer(
    status: int, text: str, headers: Mapping[str, str], rules: Sequence[Rule] = RULES
) -> ProviderError:
    """Make the error for a status that is not 2xx."""
    return explain(status, text, headers, rules)
