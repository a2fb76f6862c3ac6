"""The rules of each service on the internet that speaks OpenAI's dialect.

docs/reference/clouds.md has the facts and their sources.
"""

from __future__ import annotations

import re
from typing import Mapping, Optional

from localproviders._address import is_host_of
from localproviders.openai_compatible.wire.rate_limits import wait_by_durations, wait_by_time
from localproviders.openai_compatible.wire.service_rules import ServiceRules, ThinkingRules

_NO_FIELD = "the service has no such field"
_NO_LOCAL: Mapping[str, str] = {
    "context_length": "the service decides about the context window of its models",
    "keep_alive": "the service keeps its models loaded",
    "grammar": "pass response_schema",
}
_NO_BUDGET: Mapping[str, str] = {"thinking_budget": "pass a level as thinking"}
# The fields of local servers that OpenAI does not have.
_NO_SAMPLERS: Mapping[str, str] = dict.fromkeys(("top_k", "min_p", "repeat_penalty"), _NO_FIELD)
_NO_LOGPROBS: Mapping[str, str] = dict.fromkeys(
    ("logprobs", "top_logprobs"), "the service returns no log-probabilities"
)
_EMBED: Mapping[str, str] = {
    "truncate": "shorten the texts before the call",
    "keep_alive": "the service keeps its models loaded",
}
_NEW_LIMIT: Mapping[str, str] = {"max_tokens": "max_completion_tokens"}
_PENALTY: Mapping[str, str] = {"repeat_penalty": "repetition_penalty"}


def _effort(on: Optional[str], off: Optional[str], *levels: str) -> ThinkingRules:
    """Return the rules of a service with the field `reasoning_effort`.

    Args:
        on: The level for ``thinking=True``; None if there is none.
        off: The level for ``thinking=False``; None if there is none.
        levels: The levels of the service; none if they depend on the model.
    """
    return ThinkingRules(
        on=None if on is None else {"reasoning_effort": on},
        off=None if off is None else {"reasoning_effort": off},
        level=("reasoning_effort",),
        levels=levels,
    )


# The date at the end of a model name. If a request names a model without the date, OpenAI's
# response names it with the date.
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$|-\d{8}$")
# The endings that tell OpenRouter how to choose a provider for a model. OpenRouter's list has no
# names with these endings. A name with another ending, such as `:free`, is a separate model in the
# list.
_ROUTING = re.compile(r":(nitro|floor|exacto|online)$")
_VARIANT = re.compile(r":[a-z]+$")
# Names for which OpenRouter chooses a model.
_CHOOSING = re.compile(r"openrouter/auto|~.*latest")


def _same_dated(one: str, other: str) -> bool:
    return one == other or _DATE.sub("", one) == other


def _same_routed(one: str, other: str) -> bool:
    """Compare model names of OpenRouter. The name in a response may lack the ending of the request.

    It may also have a date that the name in the request lacks.
    """
    if _CHOOSING.match(other) and not _CHOOSING.match(one):
        return True
    if _ROUTING.sub("", one) == _ROUTING.sub("", other):
        return True
    has_variant = bool(_VARIANT.search(one))
    return not has_variant and _DATE.sub("", one) == _DATE.sub("", _ROUTING.sub("", other))


def _same_prefixed(one: str, other: str) -> bool:
    """Compare model names of Gemini, which may begin with ``models/``."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return name[len("models/") :] if name.startswith("models/") else name


OPENAI = ServiceRules(
    # The second host is the parent domain of the hosts of Azure's resources.
    hosts=("api.openai.com", "openai.azure.com"),
    key_variable="OPENAI_API_KEY",
    names=_NEW_LIMIT,
    unsupported={**_NO_LOCAL, **_NO_BUDGET, **_NO_SAMPLERS},
    embed_unsupported=_EMBED,
    thinking=_effort("medium", "none"),
    history="",
    same_model=_same_dated,
    read_wait=wait_by_durations,
)

OPENROUTER = ServiceRules(
    hosts=("openrouter.ai",),
    key_variable="OPENROUTER_API_KEY",
    names={**_NEW_LIMIT, **_PENALTY},
    unsupported=_NO_LOCAL,
    embed_unsupported=_EMBED,
    thinking=ThinkingRules(
        on={"reasoning": {"enabled": True}},
        off={"reasoning": {"effort": "none"}},
        level=("reasoning", "effort"),
        budget=("reasoning", "max_tokens"),
    ),
    history="kept",
    sends_usage=True,
    routes=True,
    same_model=_same_routed,
    read_wait=wait_by_time,
)

_GROQ = ServiceRules(
    hosts=("api.groq.com",),
    key_variable="GROQ_API_KEY",
    names=_NEW_LIMIT,
    unsupported={**_NO_LOCAL, **_NO_BUDGET, **_NO_SAMPLERS, **_NO_LOGPROBS},
    thinking=_effort(None, "none"),
    history="",
    can_embed=False,
    can_complete=False,
    read_wait=wait_by_durations,
)

_MISTRAL = ServiceRules(
    hosts=("api.mistral.ai",),
    key_variable="MISTRAL_API_KEY",
    names={"seed": "random_seed"},
    unsupported={**_NO_LOCAL, **_NO_BUDGET, **_NO_SAMPLERS, **_NO_LOGPROBS},
    embed_unsupported=_EMBED,
    thinking=_effort("high", "none", "high", "none"),
    history="content",
    tool_choices={"required": "any"},
    sends_usage=True,
    can_complete=False,
    has_base64=False,
    omits_empty=True,
)

_DEEPSEEK = ServiceRules(
    hosts=("api.deepseek.com",),
    key_variable="DEEPSEEK_API_KEY",
    unsupported={
        **_NO_LOCAL,
        **_NO_BUDGET,
        **_NO_SAMPLERS,
        "seed": _NO_FIELD,
        "response_schema": "call parse(), which writes the schema into the prompt and checks the "
        "answer",
    },
    ignored_while_thinking=("temperature", "top_p", "presence_penalty", "frequency_penalty"),
    thinking=ThinkingRules(
        on={"thinking": {"type": "enabled"}},
        off={"thinking": {"type": "disabled"}},
        level=("reasoning_effort",),
        levels=("low", "high", "max"),
        beside={"thinking": {"type": "enabled"}},
    ),
    can_embed=False,
    can_complete=False,
)

_TOGETHER = ServiceRules(
    hosts=("api.together.ai", "api.together.xyz"),
    key_variable="TOGETHER_API_KEY",
    names=_PENALTY,
    unsupported={**_NO_LOCAL, **_NO_BUDGET},
    embed_unsupported=_EMBED,
    thinking=ThinkingRules(
        on={"reasoning": {"enabled": True}},
        off={"reasoning": {"enabled": False}},
        level=("reasoning_effort",),
        levels=("low", "medium", "high"),
    ),
    has_base64=False,
)

_FIREWORKS = ServiceRules(
    hosts=("api.fireworks.ai",),
    key_variable="FIREWORKS_API_KEY",
    names=_PENALTY,
    unsupported={**_NO_LOCAL, **_NO_BUDGET},
    embed_unsupported=_EMBED,
    thinking=_effort("high", "none"),
    has_base64=False,
)

_GEMINI = ServiceRules(
    hosts=("generativelanguage.googleapis.com",),
    key_variable="GEMINI_API_KEY",
    unsupported={
        **_NO_LOCAL,
        **_NO_BUDGET,
        **_NO_SAMPLERS,
        "seed": _NO_FIELD,
        "frequency_penalty": _NO_FIELD,
    },
    embed_unsupported=_EMBED,
    thinking=_effort("medium", "none"),
    history="kept",
    can_complete=False,
    has_base64=False,
    same_model=_same_prefixed,
)

_XAI = ServiceRules(
    hosts=("api.x.ai",),
    key_variable="XAI_API_KEY",
    names=_NEW_LIMIT,
    unsupported={**_NO_LOCAL, **_NO_BUDGET, **_NO_SAMPLERS},
    embed_unsupported=_EMBED,
    thinking=_effort("medium", "none"),
    history="",
    can_complete=False,
)

#: The rules of each service, by the service's name. The first two services have provider classes of
#: their own; callers pass the other names as `base_url`.
SERVICES: Mapping[str, ServiceRules] = {
    "openai": OPENAI,
    "openrouter": OPENROUTER,
    "groq": _GROQ,
    "mistral": _MISTRAL,
    "deepseek": _DEEPSEEK,
    "together": _TOGETHER,
    "fireworks": _FIREWORKS,
    "gemini": _GEMINI,
    "xai": _XAI,
}


def rules_at(host: str) -> Optional[ServiceRules]:
    """Return the rules of the service at a host or its parent domain; None if there is none."""
    return next((each for each in SERVICES.values() if is_host_of(host, each.hosts)), None)
