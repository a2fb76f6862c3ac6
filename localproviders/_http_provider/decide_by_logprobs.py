"""Decisions of a chat model, from the probabilities of its next token."""

from __future__ import annotations

from typing import Any

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.decisions import Decided
from localproviders._http.deadline import Call
from localproviders.errors import CapabilityError


def decide(provider: Any, request: DecisionRequest, model: str, call: Call) -> Decided:
    """Answer the questions about one state with a chat model.

    Args:
        provider: The provider.
        request: The request. Its state is not empty.
        model: Name of the model. The locality allows sending the state to it.
        call: The deadline and the cancellation state.

    Raises:
        CapabilityError: The server gives no log-probabilities, or the share of the possible
            answers is below `min_mass`.
        ProviderError: A request failed.
    """
    raise CapabilityError(
        f"{provider.name} cannot make decisions by log-probabilities",
        hint="use a decision model, and a server with the route /v1/systemone",
    )
