"""Translation of Anthropic's error texts to this package's errors."""

from __future__ import annotations

import re
from typing import Mapping, Optional, Tuple

from localproviders._dialect.error_answers import explain
from localproviders._dialect.error_rules import Rule, rule
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    UnsupportedError,
)
from localproviders.openai_compatible.wire import errors as dialect

_KEPT_HINT = (
    "pass the messages of answers back unchanged, as answer.message; an answer of another model or "
    "of another conversation has other signatures"
)

#: The rules for error texts of Anthropic's API, and after them the rules of OpenAI's dialect. Local
#: servers report errors in the form of that dialect (docs/reference/anthropic.md, "Errors").
RULES: Tuple[Rule, ...] = (
    rule(
        r"credit balance is too low|^billing_error",
        RequestRejectedError,
        "buy credits, or use a key of another organization",
    ),
    rule(
        r"expected `?thinking`? or `?redacted_thinking|invalid `?signature"
        r"|signature: field required"
        r"|thinking`? .{0,60}blocks? .{0,60}cannot be modified",
        RequestRejectedError,
        _KEPT_HINT,
    ),
    rule(
        r"without `tool_result`|unexpected `tool_use_id`",
        RequestRejectedError,
        "put the result of each tool call directly after the answer with the calls",
    ),
    rule(
        r"max_tokens: \d+ > \d+",
        RequestRejectedError,
        "pass a lower max_tokens: the model list has the highest allowed value",
    ),
    rule(
        r"prompt is too long|exceed context limit|exceeds? the context window",
        ContextOverflowError,
        "shorten the prompt, lower max_tokens, or use a model with a larger context window",
    ),
    rule(r"^not_found_error.{0,20}: model: ", ModelNotFoundError),
    rule(
        r"^forbidden: request not allowed",
        AuthenticationError,
        "the service refuses requests from this network or region",
    ),
    rule(
        r"thinking\.type\.|effort level|does not support .{0,40}(prefill|effort|thinking)"
        r"|tool_choice.{0,80}not supported",
        CapabilityError,
        "leave the field out, or choose another model; model_info() says what a model can do",
    ),
    rule(
        r"^authentication_error",
        AuthenticationError,
        "pass api_key=..., or set ANTHROPIC_API_KEY for Anthropic's own address",
    ),
    rule(
        r"/v1/messages.{0,40}not found|^404 page not found|^file not found",
        UnsupportedError,
        "this server has no route /v1/messages: use the provider for its own API",
    ),
    *dialect.RULES,
)

# A spending limit, which only the owner of the account can raise. The error has the status of a
# rate limit.
_SPENDING = r"(enforced|contract)_spend_limit_reached"
_TOO_MANY = 429


def explain_answer(status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
    """Return the error for a response whose status is not 2xx."""
    error = explain(status, text, headers, RULES)
    error.request_id = request_id_in(text)
    if status == _TOO_MANY and re.search(_SPENDING, text):
        return RequestRejectedError(
            error.message,
            hint="the spending limit is reached: raise it in the console of the service",
            status=status,
            server_message=error.server_message,
            request_id=error.request_id,
        )
    return error


def request_id_in(text: str) -> Optional[str]:
    """Return the id of the request in the JSON of an error; None if the JSON has no id."""
    found = re.search(r'"request_id"\s*:\s*"(req_[A-Za-z0-9]{1,64})"', text)
    return None if found is None else found.group(1)
