"""Which errors move a call to the next server, and which count against the server."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Type

from localproviders import errors
from localproviders.errors import ProviderError


class Rule(NamedTuple):
    """What follows from an error that came before the first token.

    Attributes:
        next: Whether another server may do better.
        counts: Whether it counts against the server, for its breaker.
    """

    next: bool
    counts: bool


#: For each class of error; one that is not here follows its base.
RULES: Mapping[Type[ProviderError], Rule] = {
    # Nothing is known about it.
    ProviderError: Rule(next=False, counts=False),
    # The request is impossible everywhere, or nobody may be asked in its place.
    errors.ConfigurationError: Rule(next=False, counts=False),
    errors.LocalityError: Rule(next=False, counts=False),
    # The request is right, and this server cannot take it.
    errors.UnsupportedError: Rule(next=True, counts=False),
    errors.AuthenticationError: Rule(next=True, counts=False),
    errors.DependencyError: Rule(next=True, counts=False),
    # The server is down, stuck, broken, or has too much to do.
    errors.LinkError: Rule(next=True, counts=True),
    errors.ServerError: Rule(next=True, counts=True),
    # It understood the request; another one would have to refuse it, too.
    errors.RequestRejectedError: Rule(next=False, counts=False),
    # What one answer is too large for, the next is, too.
    errors.AnswerTooLargeError: Rule(next=False, counts=False),
    # The model is not there, does not load, or lacks something; the server is well.
    errors.ModelError: Rule(next=True, counts=False),
    # The prompt is the reason.
    errors.ContextOverflowError: Rule(next=False, counts=False),
    # The answer came, and is what it is.
    errors.AnswerError: Rule(next=False, counts=False),
    errors.CancelledError: Rule(next=False, counts=False),
    # All of another `LocalProvider`'s servers.
    errors.AllFailedError: Rule(next=True, counts=True),
}


def rule_of(error: ProviderError) -> Rule:
    """Give the rule of the error's class, or of its nearest base."""
    return next(RULES[cls] for cls in type(error).__mro__ if cls in RULES)
