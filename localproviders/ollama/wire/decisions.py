"""Decision requests to Ollama, on the route ``/v1/systemone``. This module does no I/O.

A decision request contains a state and typed questions about it. The state is a text or a JSON
value. Each answer has the probability of every option.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, Mapping

from localproviders._address import allows
from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.decisions import DecisionDialect, DecisionRoute, RouteLimits
from localproviders._dialect.systemone import SYSTEMONE, parse_systemone, systemone_payload
from localproviders.ollama.names import is_cloud
from localproviders.ollama.wire.errors import RULES, refuse_cloud
from localproviders.ollama.wire.requests import keep_alive
from localproviders.types.questions import Question


def decision_payload(
    model: str, request: DecisionRequest, questions: Mapping[str, Question]
) -> Dict[str, Any]:
    """Return the JSON of a decision request.

    Args:
        model: Name of the model.
        request: The request.
        questions: The questions to send: all questions of the request, or some of them.
    """
    # Described in docs/reference/decisions.md, "Ollama".
    payload = systemone_payload(model, request, questions, lambda image: image.base64)
    if request.keep_alive is not None:
        payload["keep_alive"] = keep_alive(request.keep_alive)
    return payload


def _check_model(model: str, locality: str) -> None:
    """Raise `LocalityError` for a cloud model, unless the locality allows it."""
    if is_cloud(model) and not allows(locality, "any"):
        raise refuse_cloud(model, None, locality)


#: The route and the limits of decision requests to Ollama.
DECISIONS = DecisionDialect(
    routes=(
        DecisionRoute(
            SYSTEMONE,
            "/v1/systemone",
            decision_payload,
            partial(parse_systemone, rules=RULES),
            RouteLimits(questions=64, options=26, levels=26),
        ),
    ),
    check_model=_check_model,
)
