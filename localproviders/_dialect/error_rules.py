"""Rules that map the error texts of servers to error classes."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Mapping, NamedTuple, Optional, Type

from localproviders.errors import ProviderError

_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


class Rule(NamedTuple):
    """A mapping from a server's error text to an error class.

    Attributes:
        pattern: Regular expression that is searched in the text, ignoring case. `re` compiles it
            when a server reports an error, because compiling all patterns at import would take
            3 ms.
        error: The error class for the text.
        hint: A suggestion for the user, or None.
        facts: Further arguments for the constructor of the error class.
        is_certain: Whether the rule decides even if the HTTP status means a more precise class.
    """

    pattern: str
    error: Type[ProviderError]
    hint: Optional[str] = None
    facts: Mapping[str, Any] = _NO_FACTS
    is_certain: bool = False


def rule(
    pattern: str, error: Type[ProviderError], hint: Optional[str] = None, **facts: Any
) -> Rule:
    """Make a `Rule`. Further keyword arguments become the `facts` of the rule."""
    return Rule(pattern=pattern, error=error, hint=hint, facts=facts)


def certain(pattern: str, error: Type[ProviderError], hint: Optional[str] = None) -> Rule:
    """Make a `Rule` that decides even if the HTTP status means a more precise class."""
    return Rule(pattern=pattern, error=error, hint=hint, is_certain=True)


#: The end of the hint for a model that cannot chat. The server does not say what the model can do
#: instead, so the hint names both possible uses.
OTHER_USES = "call decide() with a decision model, or embed() with an embedding model"

#: The hint of an error about the account of a service.
NO_CREDIT = (
    "the account has no credit left, or its limit on spending is reached: add credit, raise the "
    "limit, or use another API key"
)
