"""`ServiceRules`, the differences of one service from other servers of OpenAI's dialect.

`services.py` has the rules of each service. Local servers have the rules `USUAL`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from localproviders._record import FrozenDict

_NOTHING: Mapping[str, Any] = FrozenDict()


class ThinkingRules(NamedTuple):
    """The request fields in which a service expects the value of `thinking`.

    Attributes:
        on: The fields that switch reasoning on; None if the service has no such switch.
        off: The fields that switch reasoning off; None if the service has no such switch.
        level: The JSON keys that lead to the level, the outermost first; empty if the service has
            no levels.
        levels: The levels that the service has; empty if they depend on the model.
        beside: Further fields of a request with a level.
        budget: The JSON keys that lead to `thinking_budget`, the outermost first; empty if the
            service has no budget.
    """

    on: Optional[Mapping[str, Any]] = None
    off: Optional[Mapping[str, Any]] = None
    level: Tuple[str, ...] = ()
    levels: Tuple[str, ...] = ()
    beside: Mapping[str, Any] = _NOTHING
    budget: Tuple[str, ...] = ()

    def fields(self, thinking: Union[bool, str, None], budget: Optional[int]) -> Dict[str, Any]:
        """Return the fields of a request for a value of `thinking`, and for a budget in tokens."""
        found: Dict[str, Any] = {}
        if isinstance(thinking, bool):
            found = dict((self.on if thinking else self.off) or {})
        elif thinking is not None and self.level:
            found = {**self.beside, **_nested(self.level, thinking)}
        return found if budget is None else {**found, **_nested(self.budget, budget)}

    def refusal(self, thinking: Union[bool, str, None]) -> Optional[str]:
        """Return a hint if the service does not support this value; otherwise None."""
        if isinstance(thinking, bool):
            known = self.on if thinking else self.off
            return None if known is not None else "pass a level, such as thinking='low'"
        if thinking is None or not self.levels or thinking in self.levels:
            return None
        return f"pass one of {', '.join(map(repr, self.levels))}"


def _nested(path: Tuple[str, ...], value: Any) -> Dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    found: Dict[str, Any] = value
    return found


def equal_names(one: str, other: str) -> bool:
    """Return whether two names of models are equal."""
    return one == other


class ServiceRules(NamedTuple):
    """The fields and routes in which one service differs from other servers of OpenAI's dialect.

    Attributes:
        hosts: The hosts of the service, in lower case; their subdomains belong to it, too. Empty
            for local servers.
        key_variable: The environment variable with the API key, for hints; or an empty text.
        names: Field names of the service, by this package's names of the same fields. Fields that
            are not in this mapping have the same name in both.
        unsupported: Fields of completion requests that the service does not have, each with a hint.
        ignored_while_thinking: Fields that the service ignores unless thinking is switched off.
        embed_unsupported: Fields of embedding requests that the service does not have, with hints.
        thinking: The fields for `thinking`; None if they are the fields of local servers.
        history: How the thinking of earlier answers is sent: as text in ``reasoning_content``, as
            a list of parts in ``content``, or only as the parts that the service needs back
            (``kept``). It is empty if the thinking is not sent.
        tool_choices: The service's values of `tool_choice`, by this package's values.
        sends_usage: Whether a stream has token counts even if the request does not ask for them.
        can_embed: Whether the service has a route for embeddings.
        can_complete: Whether the service has a route that continues plain text.
        has_base64: Whether the route for embeddings accepts the format base64.
        omits_empty: Whether the service refuses an empty ``content`` in a message with tool calls.
        routes: Whether the service forwards each request to one of several providers, and ignores
            fields that this provider does not support.
        same_model: Function that returns whether its first argument, a name in a list or a
            response, means the same model as its second argument.
        read_wait: Function that reads from the headers of a refusal how many seconds to wait. None
            means that only the usual header is read.
    """

    hosts: Tuple[str, ...] = ()
    key_variable: str = ""
    names: Mapping[str, str] = _NOTHING
    unsupported: Mapping[str, str] = _NOTHING
    ignored_while_thinking: Tuple[str, ...] = ()
    embed_unsupported: Mapping[str, str] = _NOTHING
    thinking: Optional[ThinkingRules] = None
    history: str = "reasoning_content"
    tool_choices: Mapping[str, str] = _NOTHING
    sends_usage: bool = False
    can_embed: bool = True
    can_complete: bool = True
    has_base64: bool = True
    omits_empty: bool = False
    routes: bool = False
    same_model: Callable[[str, str], bool] = equal_names
    read_wait: Optional[Callable[[Mapping[str, str]], Optional[float]]] = None


#: The rules of local servers, and of all other servers that are not in the table of services.
USUAL = ServiceRules()
