"""Translation of the error texts of OpenAI's dialect to this package's errors."""

from __future__ import annotations

from typing import Mapping, Sequence, Tuple

from localproviders._dialect.error_answers import explain
from localproviders._dialect.error_rules import NO_CREDIT, Rule, certain, rule
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ToolCallError,
    UnsupportedError,
)

RULES: Tuple[Rule, ...] = (
    # The texts of llama.cpp, LM Studio, Ollama and Groq if they could not parse a tool call that
    # the model wrote. This rule is the first, because such a text may quote the whole answer of
    # the model, which could match another rule.
    rule(
        r"failed to parse input at pos \d|failed to (parse|generate) (a )?tool.?call"
        r"|error parsing tool call|XML syntax error on line"
        r"|tool_use_failed|failed to call a function",
        ToolCallError,
    ),
    rule(
        r"exceed_context_size|context_length_exceeded|exceeds? the available context"
        r"|maximum (context|prompt) length|too large to process|context length exceeded"
        r"|context limit: \d|prompt (too long|超长)"
        r"|exceed(s|ed)? (the )?(model's )?(max\w* )?(context|sequence) (window|length|size)"
        r"|exceeds? (the )?(model's )?max\w* context"
        r"|(prompt|input) is too (long|large)|longer than the (model's )?(maximum )?context"
        r"|input token count.{0,40} exceeds|`inputs` (tokens \+|must have less)|too many tokens: "
        r"|input length .{0,80}exceeds? .{0,80}(length|tokens)|context_window_exceeded"
        r"|reduce the length of the (messages|prompt|input)|context window exceeds limit"
        r"|prompt \([^()]{0,60}\) is (too long|longer than)|too long for the \d+ token"
        r"|^model_max_prompt_tokens|exceeded model token limit|input token length too long"
        r"|range of input length should be|exceeds? max message tokens|prompt exceeds max length"
        r"|token count is \d+ but model only supports|larger than the model input length limit"
        r"|configured context size is \d|exceeds maximum allowed token size|tokens_limit_reached"
        r"|tokens to keep from the initial prompt|keep the first \d+ tokens"  # LM Studio
        r"|must be less than max_seq_len|is greater than max_seq_len|text cannot exceed \d+ tokens"
        # Ollama, for models that answer decision requests
        r"|input is never truncated|text and schema must not exceed",
        ContextOverflowError,
        "shorten the prompt, or start the server with a larger context",
    ),
    # OpenRouter refuses a request while other requests still run and use up the budget. The refusal
    # says when to send the request again.
    rule(
        r"\bopenrouter_in_flight_budget\b",
        ServerBusyError,
        "send fewer requests at the same time",
    ),
    certain(
        r"\bfree-models-per-day|\bopenrouter_free_tier_daily\b",
        RequestRejectedError,
        "the free requests of this day are used up: use a model without :free, or wait for the "
        "next day",
    ),
    # The status can be 429, but the same request will fail again.
    certain(
        r"\binsufficient_(quota|credits|balance|funds)\b|\binsufficient (credits|balance|funds)\b"
        r"|\bpayment_required\b|\bbilling_(hard_limit_reached|not_active)\b"
        r"|\bmore credits, or fewer max_tokens\b",
        RequestRejectedError,
        NO_CREDIT,
    ),
    # The service refuses the content. The status can be 403, which usually means that the API key
    # lacks a permission.
    certain(
        r"\bcontent_policy_violation\b|\bcontent_filter\b|\bResponsibleAIPolicyViolation\b"
        r"|\binput was flagged\b|content management policy|\brequires moderation\b",
        RequestRejectedError,
        "the service refuses the content of the prompt: change it, or use another model",
    ),
    rule(
        r"\bno endpoints found that\b",
        CapabilityError,
        "leave out the field that the "
        "model does not support, or choose another model; with strict=False, OpenRouter ignores it",
    ),
    rule(
        r"\bno endpoints (found|available) matching|\bno allowed providers\b"
        r"|\ball providers have been ignored\b",
        RequestRejectedError,
        "check the routing in extra_body={'provider': ...}, and the account's privacy settings",
    ),
    rule(r"\bis not a valid model ID\b|\bno endpoints found for\b", ModelNotFoundError),
    rule(
        r"invalid_api_key|authentication_error|invalid api[ _-]?key|incorrect api key"
        r"|api key (not valid|is invalid|is missing|not found|required|has expired)"
        r"|no api[ _-]key (was )?(provided|passed|given|found)|API_KEY_INVALID"
        r"|^(AuthenticationError|PermissionDenied\w*|permission_error|UNAUTHENTICATED)\b"
        r"|^base_resp (1004|2049)\b",
        AuthenticationError,
        "pass api_key=...",
    ),
    rule(
        r"model_not_found|DeploymentNotFound|model .*(not found|does not exist)", ModelNotFoundError
    ),
    # The server refuses a schema. The status can be 500; in a stream, there is no status. The model
    # lacks no ability, because it answers the same request without the schema.
    rule(
        r"not support (response.?format|json|structured)"
        r"|(response.?format|json.?schema|structured.?outputs?)\b.{0,60}\bnot supported"
        r"|failed to (parse|compile)\b.{0,20}\bgrammar|initialize samplers"
        r"|schema conversion failed",
        RequestRejectedError,
        "simplify the schema of the answer or of the tools, or leave it out",
    ),
    rule(
        r"not_supported_error|does not support|not support embeddings|--embeddings"
        r"|(image|audio|video) input is not supported",  # llama.cpp, with status 500
        CapabilityError,
        "choose a model with this ability, or start the server with the option for it",
    ),
    rule(
        r"unavailable_error|loading model",
        ServerBusyError,
        "wait until the server has loaded its model",
        loading=True,
    ),
    rule(r"\brequest too large\b", RequestRejectedError),  # Groq adds rate_limit_exceeded
    rule(
        r"^(rate_limit\w*|RateLimitError|overloaded_error|RESOURCE_EXHAUSTED|too_many_requests)\b"
        r"|\brate_limit_exceeded\b|\brate limit (was |has been |is )?(exceeded|reached)"
        r"|too many requests"
        r"|^base_resp (1001|1002|1039|1041)\b",
        ServerBusyError,
    ),
    rule(r"not_found_error.*(file|path|url) not found|^404 page not found", UnsupportedError),
    # Error types. They are used if neither a status nor a code is more precise, as in a stream.
    rule(
        r"invalid_request_error|^(BadRequestError|invalid_request|UnprocessableEntityError)\b"
        r"|^INVALID_ARGUMENT\b|^base_resp 2013\b",
        RequestRejectedError,
    ),
)


def explain_answer(
    status: int, text: str, headers: Mapping[str, str], rules: Sequence[Rule] = RULES
) -> ProviderError:
    """Return the error for a response whose status is not 2xx."""
    return explain(status, text, headers, rules)
