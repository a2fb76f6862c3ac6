"""Request fields that some servers refuse, and that a request can do without.

If a server refuses such a field, the request can be sent again without the field. This package adds
most of these fields to requests by itself. docs/dialects.md, "Fields that servers refuse", lists
the fields with the servers.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

from localproviders._dialect.refused_schemas import with_words
from localproviders._http_provider.sending import SYSTEM_MESSAGES, OwnField, schema_field

_STREAM_OPTIONS = r"(stream[_ -]?options?\b|include[_ ]?usage)"

# "stream" is an ordinary word, so the error text must also have a word of refusal near it. An error
# text that names `stream_options` refuses that field, even if the text also mentions `stream`.
_WORD = r"(\bstream(ing|ed)?\b|流式)"
_DENIAL = (
    r"(\b(not|no|none|cannot|unable|only|without|false|invalid|extra|additional|remove|disabled?"
    r"|must be verified|disallowed|forbidden|prohibited|rejected"
    r"|un(supported|available|implemented|known|expected|recogni[sz]ed))\b|n't\b|不支持)"
)
_STREAM = rf"\A(?!.*{_STREAM_OPTIONS}).*({_WORD}.{{0,60}}?{_DENIAL}|{_DENIAL}.{{0,60}}?{_WORD})"

_ENCODING = r"encoding[_ -]?format|\bbase64\b"

# An error text that demands `reasoning_content` also names this field, but does not refuse it. For
# example, DeepSeek demands the field while a model thinks.
_NEEDED = (
    r"(reasoning_content.{0,80}(\bmissing\b|\brequired\b|must be (passed|provided|included|sent))"
    r"|\b(missing|requires?|provide|include)\b.{0,40}reasoning_content)"
)
_THINKING = rf"\A(?!.*{_NEEDED}).*reasoning[_ ]?(content|details)"
_THINKING_KEYS = ("reasoning_content", "reasoning_details")


def _without(key: str, *others: str) -> Callable[[Dict[str, Any]], bool]:
    """Return a function that removes these keys from a request, and tells whether it had `key`."""

    def leave_out(payload: Dict[str, Any]) -> bool:
        for other in others:
            payload.pop(other, None)
        return payload.pop(key, None) is not None

    return leave_out


def _without_thinking(payload: Dict[str, Any]) -> bool:
    messages = payload.get("messages", ())
    payload["messages"] = [
        {key: value for key, value in message.items() if key not in _THINKING_KEYS}
        for message in messages
    ]
    return any(key in message for message in messages for key in _THINKING_KEYS)


def _with_new_limit(payload: Dict[str, Any]) -> bool:
    """Rename `max_tokens` to OpenAI's newer name; return whether the request had this limit."""
    limit = payload.pop("max_tokens", None)
    if limit is not None:
        payload["max_completion_tokens"] = limit
    return limit is not None


# The server's chat template reads these fields even in requests that the model does not answer,
# such as requests that count tokens.
_OF_PROMPTS: Tuple[OwnField, ...] = (
    OwnField(
        name="reasoning_content",
        refusal=_THINKING,
        keys=("messages",),
        leave_out=_without_thinking,
        lost="the model does not see the thinking of earlier answers",
    ),
    SYSTEM_MESSAGES,
)

_OF_ANSWERS: Tuple[OwnField, ...] = (
    OwnField(
        name="stream",
        refusal=_STREAM,
        keys=("stream", "stream_options"),
        leave_out=_without("stream", "stream_options"),
        lost="the answer comes in one piece, and the limit for its first token is the limit for "
        "all of it",
        combined=r"\btools?\b|tool_call|\bfunctions?\b|response_format|\bjson[ _]|logprobs",
    ),
    OwnField(
        name="stream_options",
        refusal=_STREAM_OPTIONS,
        keys=("stream_options",),
        leave_out=_without("stream_options"),
        lost="the response may lack the token counts, without which an overflow of the context "
        "window is not noticed",
    ),
    OwnField(
        name="max_tokens",
        refusal=r"\bmax_completion_tokens\b",
        keys=("max_tokens", "max_completion_tokens"),
        leave_out=_with_new_limit,
        lost="the limit also counts the thinking",
        done="it was sent as max_completion_tokens",
    ),
    *_OF_PROMPTS,
)

_OF_VECTORS: Tuple[OwnField, ...] = (
    OwnField(
        name="encoding_format",
        refusal=_ENCODING,
        keys=("encoding_format",),
        leave_out=_without("encoding_format"),
        lost="the vectors come as decimal numbers, which take longer to send and to read",
    ),
)


def _schema_in_words(payload: Dict[str, Any]) -> bool:
    wanted = payload.pop("response_format", None)
    if wanted is None:
        return False
    payload["messages"] = with_words(payload["messages"], wanted["json_schema"]["schema"])
    return True


#: The caller's fields that may be left out if the request is not strict.
OPTIONAL: Tuple[OwnField, ...] = (
    schema_field(("response_format", "messages"), _schema_in_words),
    OwnField(
        name="thinking",
        refusal=r"chat[ _]?template|enable[ _]?thinking",
        keys=("chat_template_kwargs",),
        leave_out=_without("chat_template_kwargs"),
        lost="the model may reason",
        hint="pass a level that the server knows, such as thinking='none' or 'low', or its own "
        "switch in extra_body; or pass strict=False",
    ),
    OwnField(
        name="thinking",
        refusal=r"reasoning[ _]?effort",
        keys=("reasoning_effort",),
        leave_out=_without("reasoning_effort"),
        lost="the server or the model decides whether and how much the model reasons",
        combined=r"\bvalues?\b|one of|must be|expected|\btools?\b|\bfunctions?\b",
        hint="pass a level that the server and the model know, or leave out thinking; or pass "
        "strict=False",
    ),
)


# The caller's fields that some models of services refuse, although others accept them. Reasoning
# models refuse most of them. No list says which model refuses which field.
_OF_MODELS = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop"),
    *("logprobs", "top_logprobs", "max_tokens", "top_k", "min_p", "repeat_penalty"),
)


def of_service(names: Mapping[str, str]) -> Sequence[OwnField]:
    """Return the caller's fields that a model of a service may refuse.

    Args:
        names: Field names of the service, by this package's names of the same fields.
    """
    return (_SWITCH, *(_of_model(name, names.get(name, name)) for name in _OF_MODELS))


# The possible names of the field that switches thinking on or off. Models that cannot stop thinking
# and models that cannot think may refuse the field.
_SWITCH_KEYS = ("reasoning", "thinking", "reasoning_effort")


def _without_switch(payload: Dict[str, Any]) -> bool:
    switches = [payload.pop(key, None) for key in _SWITCH_KEYS]
    return any(switch is not None for switch in switches)


_SWITCH = OwnField(
    name="thinking",
    refusal=r"\breasoning\b|\bthinking\b",
    keys=_SWITCH_KEYS,
    leave_out=_without_switch,
    lost="the service or the model decides whether and how much the model reasons",
    combined=r"\bvalues?\b|one of|must be|expected|\btools?\b|\bfunctions?\b",
    hint="leave out thinking, or pass a value that the model supports; or pass strict=False",
    of_model=True,
)


def _of_model(name: str, key: str) -> OwnField:
    words = "[_ ]?".join(key.split("_"))  # xAI writes frequencyPenalty
    return OwnField(
        name=name,
        refusal=rf"\b{words}\b",
        keys=(key,),
        leave_out=_without(key),
        lost="the model uses its default value",
        combined=r"\bvalues?\b|one of|must be|expected|at least|at most|less than|greater than",
        hint=f"leave out {name}, because this model refuses it; or pass strict=False",
        of_model=True,
    )


def of_path(path: str) -> Sequence[OwnField]:
    """Return the fields that can be left out of requests to a path if the server refuses them."""
    if path.endswith("/embeddings"):
        return _OF_VECTORS
    if path.endswith("/completions"):
        return _OF_ANSWERS
    return _OF_PROMPTS if path.endswith(("/apply-template", "/tokenize")) else ()
