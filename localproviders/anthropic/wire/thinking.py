"""Translation of a request's `thinking` to the JSON fields that a model accepts.

Models accept different types of thinking, and refuse the others (docs/reference/anthropic.md,
"Thinking"). The service reports the types that each model accepts. If this report is missing, the
name of the model decides.
"""

from __future__ import annotations

import re
from typing import Any, Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders._dialect.values import mapping
from localproviders.anthropic.wire.servers import Server
from localproviders.types.requests import CompletionRequest

_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
#: The levels of effort, the lowest first.
EFFORTS = ("low", "medium", "high", "xhigh", "max")

# The smallest budget of manual thinking, in tokens. Thinking is manual if the request sets the
# budget (type ``enabled``).
_LEAST_BUDGET = 1024
_OFF, _ON = ("off", "none"), ("on",)

# Pattern of the names of models that accept only manual thinking. The second pattern matches the
# only one of these models that accepts a level of effort.
_MANUAL = (
    r"claude-(3-7|(opus|sonnet)-4-(0|1|2\d{7})|(opus|sonnet|haiku)-4-5)|claude-(opus|sonnet)-4$"
)
_WITH_EFFORTS = r"claude-opus-4-5"


class ThinkingFacts(NamedTuple):
    """The types and levels of thinking that a model accepts.

    Attributes:
        types: The accepted values of `thinking.type`.
        efforts: The accepted levels of effort; None if they are not known.
    """

    types: FrozenSet[str]
    efforts: Optional[FrozenSet[str]] = None


class Unwritable(NamedTuple):
    """A value in a request that the server or the model does not accept.

    Attributes:
        what: The field and its value, for the error.
        hint: Advice on what to pass instead.
        names: The fields to leave out if the request is not strict.
    """

    what: str
    hint: str
    names: Tuple[str, ...] = ("thinking",)


#: Fields of the request body, or the reason why they cannot be written.
Written = Union[Dict[str, Any], Unwritable]


def facts_of(model: str, record: Mapping[str, Any]) -> ThinkingFacts:
    """Return the types and levels of thinking that a model accepts.

    They are read from the model's record in the list, or inferred from its name.
    """
    capabilities = mapping(record.get("capabilities"))
    listed, efforts = mapping(capabilities.get("thinking")), mapping(capabilities.get("effort"))
    if not listed:
        return _by_name(model)
    types = mapping(listed.get("types"))
    return ThinkingFacts(
        frozenset(name for name in _TYPES if _is_supported(types.get(name))),
        frozenset(name for name in EFFORTS if _is_supported(efforts.get(name)))
        if efforts
        else None,
    )


def _is_supported(fact: Any) -> bool:
    return mapping(fact).get("supported") is True


def _by_name(model: str) -> ThinkingFacts:
    if not re.search(_MANUAL, model):
        return ThinkingFacts(frozenset(("adaptive", "disabled")))
    efforts = EFFORTS[:3] if re.search(_WITH_EFFORTS, model) else ()
    return ThinkingFacts(frozenset(("enabled", "disabled")), frozenset(efforts))


def thinking_fields(request: CompletionRequest, facts: ThinkingFacts, server: Server) -> Written:
    """Return the fields `thinking` and `output_config` for a request.

    Args:
        request: The request, with its `max_tokens`, and `thinking` or a budget.
        facts: The types and levels of thinking that the model accepts.
        server: The kind of the server.
    """
    wanted: Union[bool, str, None] = request.thinking
    wanted = False if wanted in _OFF else True if wanted in _ON else wanted
    if server.has_levels_only and isinstance(wanted, str):
        return {"output_config": {"effort": wanted}}
    if wanted is False:
        return _switched_off(facts, server)
    level = wanted if isinstance(wanted, str) else None
    if level is not None and facts.efforts is not None and level not in facts.efforts:
        return _no_level(level, facts.efforts)
    made = _switched_on(request, facts, server)
    if isinstance(made, dict) and level is not None:
        return {**made, "output_config": {"effort": level}}
    return made


def _switched_off(facts: ThinkingFacts, server: Server) -> Written:
    if not server.is_service or "disabled" in facts.types:
        return {"thinking": {"type": "disabled"}}
    if "between_tools" in facts.types:
        return {"thinking": {"type": "between_tools"}}
    if not facts.types:
        return {}  # the model never thinks
    return Unwritable("thinking=False", "this model always thinks: pass thinking='low'")


def _no_level(level: str, efforts: FrozenSet[str]) -> Unwritable:
    known = ", ".join(name for name in EFFORTS if name in efforts)
    hint = f"the levels of this model are {known}" if known else "pass True, or thinking_budget"
    return Unwritable(f"thinking={level!r}", hint)


def _switched_on(request: CompletionRequest, facts: ThinkingFacts, server: Server) -> Written:
    if not server.is_service or "enabled" in facts.types:
        if request.thinking_budget is not None or "adaptive" not in facts.types:
            return _with_budget(request)
        if not server.is_service:
            return _with_budget(request)
    if request.thinking_budget is not None:
        hint = "this model chooses the budget itself: pass a level as thinking, such as 'low'"
        return Unwritable("thinking_budget", hint, ("thinking_budget",))
    if "adaptive" in facts.types:
        # Without `display`, newer models send their thinking without its text.
        return {"thinking": {"type": "adaptive", "display": "summarized"}}
    return Unwritable(f"thinking={request.thinking!r}", "choose a model that can think")


def _with_budget(request: CompletionRequest) -> Written:
    """Return the fields of manual thinking. The budget is a part of `max_tokens`."""
    most = request.max_tokens or 0
    budget = request.thinking_budget
    if budget is None:
        budget = max(_LEAST_BUDGET, most // 2)
    if budget >= most:
        return Unwritable(
            f"thinking with max_tokens={most}",
            f"pass a max_tokens above {budget}, because it includes the thinking",
            ("thinking", "thinking_budget"),
        )
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
