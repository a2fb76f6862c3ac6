"""Decision requests in OpenAI's dialect: the routes ``/v1/systemone`` and ``/v1/decisions``.

A decision request contains a state and typed questions about it. The state is a text or a JSON
value. Each answer has the probability of every option. This module does no I/O.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.decisions import (
    AnswerForm,
    Decided,
    DecisionDialect,
    DecisionRoute,
    Product,
    RouteLimits,
    decided,
    described,
    read_decision,
)
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.systemone import SYSTEMONE, parse_systemone, systemone_payload
from localproviders._dialect.values import mapping, mappings
from localproviders.errors import ProtocolError
from localproviders.openai_compatible.wire.errors import RULES
from localproviders.types.questions import Choice, DecisionMethod, Question, State, YesNo

#: The name of the method that uses the route ``/v1/decisions``.
DECISIONS_METHOD: DecisionMethod = "decisions"

_FORM = AnswerForm(
    DECISIONS_METHOD,
    types={"yes_no": "predicate", "choice": "choice", "score": "score"},
    yes="probability",
)

_PRIVATE = (
    "the form of SGLang's /v1/decisions differs from OpenAI's, but its /v1/systemone has the usual "
    "form"
)


def decisions_payload(
    model: str, request: DecisionRequest, questions: Mapping[str, Question]
) -> Dict[str, Any]:
    """Return the JSON of a request to ``/v1/decisions``.

    Args:
        model: Name of the model.
        request: The request.
        questions: The questions to send: all questions of the request, or some of them.
    """
    asked = [_question(name, question) for name, question in questions.items()]
    return {"model": model, "input": _input(request), "questions": asked}


def _input(request: DecisionRequest) -> Any:
    """Return the state: a text without images as it is, anything else as the parts of a message."""
    if isinstance(request.state, str) and not request.images:
        return request.state
    images = [{"type": "input_image", "image_url": image.data_uri} for image in request.images]
    return [{"type": "message", "role": "user", "content": [_part(request.state), *images]}]


def _part(state: State) -> Dict[str, Any]:
    if isinstance(state, str):
        return {"type": "input_text", "text": state}
    return {"type": "input_json", "data": state}


def _question(name: str, question: Question) -> Dict[str, Any]:
    made = {
        "type": _FORM.types[question.kind],
        "name": name,
        "instructions": question.question,
    }
    if isinstance(question, YesNo):  # this route has no field for the two descriptions
        both = (("Yes", question.yes), ("No", question.no))
        lines = [f"{answer}: {text}" for answer, text in both if text is not None]
        return {**made, "instructions": "\n".join([question.question, *lines])}
    if isinstance(question, Choice):
        return {**made, "choices": [_option(*pair) for pair in described(question).items()]}
    return {**made, "levels": [{"label": level} for level in question.answers]}


def _option(value: str, description: Optional[str]) -> Dict[str, Any]:
    if description is None:
        return {"value": value}
    return {"value": value, "description": description}


def parse_decisions(
    data: Any, questions: Mapping[str, Question], rules: Sequence[Rule] = RULES
) -> Decided:
    """Read the answers of ``/v1/decisions``, which are in the order of the questions.

    Args:
        data: The parsed JSON.
        questions: The questions of the request.
        rules: The rules that choose the error class by the server's text.

    Raises:
        ProviderError: The response is an error; or an answer is missing, or its probabilities are
            incomplete or impossible.
    """
    data = checked(data, rules)
    if isinstance(data.get("answers"), dict):
        raise ProtocolError("the answers are not a list", hint=_PRIVATE)
    records = _in_order(list(questions), mappings(data.get("answers")))
    found = {
        name: read_decision(_FORM, name, question, record)
        for (name, question), record in zip(questions.items(), records)
    }
    return decided(data, found)


def _in_order(
    names: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> List[Mapping[str, Any]]:
    """Return the records in the order of the questions.

    If the records have names, the names decide. Otherwise the records have this order already.

    Raises:
        ProtocolError: A question has no record or several records, or a record has no question.
    """
    if len(records) != len(names):
        unexpected(f"answer to each of the {len(names)} questions")
    sent = [record.get("name") for record in records]
    if sent == [None] * len(names):
        return list(records)
    by_name = {name: record for name, record in zip(sent, records) if isinstance(name, str)}
    if by_name.keys() != {*names}:
        unexpected("answer with the name of each question")
    return [by_name[name] for name in names]


# The limits of several servers (docs/reference/decisions.md, "Limits"). For an unknown server, the
# number of questions must be accepted by all of these servers, and the numbers of options and
# levels by at least one of them.
_MOST_QUESTIONS, _MOST_OPTIONS, _MOST_LEVELS = 64, 255, 10
_UNKNOWN = RouteLimits(_MOST_QUESTIONS, _MOST_OPTIONS, _MOST_LEVELS)
_OPENAI = RouteLimits(400, 255, 10)

#: The known programs, by the value of ``owned_by`` in their list of models.
PRODUCTS: Mapping[str, Product] = {
    "llamacpp": Product(RouteLimits(None, 255, 10, images=8)),
    "vllm": Product(RouteLimits(64, 26, 10, images=0)),
    # Ollama. It reads images in another form than this dialect has.
    "library": Product(RouteLimits(64, 26, 26, images=0)),
    "sglang": Product(
        RouteLimits(None, 255, 10, images=0), lacks=(DECISIONS_METHOD,), instead=_PRIVATE
    ),
}


def read_product(data: Any) -> Optional[str]:
    """Return the owner in a list of models if it is a key of `PRODUCTS`; otherwise None."""
    owners = {record.get("owned_by") for record in mappings(mapping(data).get("data"))}
    return next((owner for owner in owners if owner in PRODUCTS), None)


def routes(prefix: str, rules: Sequence[Rule], *limits: RouteLimits) -> Tuple[DecisionRoute, ...]:
    """Return the two routes of a server.

    Args:
        prefix: Text before the paths.
        rules: The rules that choose the error class by the server's text.
        limits: The limits of ``/v1/systemone`` and of ``/v1/decisions``.
    """
    systemone, decisions = limits
    return (
        DecisionRoute(
            SYSTEMONE,
            f"{prefix}/systemone",
            systemone_payload,
            partial(parse_systemone, rules=rules),
            systemone,
        ),
        DecisionRoute(
            DECISIONS_METHOD,
            f"{prefix}/decisions",
            decisions_payload,
            partial(parse_decisions, rules=rules),
            decisions,
        ),
    )


#: The routes and limits of decision requests to servers that speak OpenAI's dialect.
DECISIONS = DecisionDialect(
    routes=routes("", RULES, _UNKNOWN, _OPENAI),
    unsupported={"keep_alive": "this kind of server keeps its model loaded"},
    listing="/models",
    read_product=read_product,
    products=PRODUCTS,
)
