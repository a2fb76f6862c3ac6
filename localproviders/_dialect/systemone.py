"""The JSON of the route ``/v1/systemone``, which several kinds of servers have. No I/O."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Sequence

from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.decisions import (
    AnswerForm,
    Decided,
    decided,
    described,
    mass_of,
    read_decision,
)
from localproviders._dialect.error_rules import Rule
from localproviders._dialect.values import mapping
from localproviders.types.decisions import Decision
from localproviders.types.messages import Image
from localproviders.types.questions import NO, YES, Choice, DecisionMethod, Question, Score

#: The decision method that uses this route.
SYSTEMONE: DecisionMethod = "systemone"

# The fields of the JSON with the descriptions of yes and no.
_KEYS: Mapping[str, str] = {YES: "true", NO: "false"}
_FORM = AnswerForm(
    SYSTEMONE, types={"yes_no": "noul", "choice": "choice", "score": "score"}, yes="noul"
)


def systemone_payload(
    model: str,
    request: DecisionRequest,
    questions: Mapping[str, Question],
    image_form: Callable[[Image], str] = lambda image: image.data_uri,
) -> Dict[str, Any]:
    """Return the JSON of a request.

    Args:
        model: Name of the model.
        request: The request.
        questions: The questions to send: those of the request, or some of them.
        image_form: Returns the text that represents an image in the JSON; by default its data URI.
    """
    payload: Dict[str, Any] = {
        "model": model,
        "state": request.state,
        "questions": {name: _question(question) for name, question in questions.items()},
    }
    if request.images:
        payload["images"] = [image_form(image) for image in request.images]
    return payload


def _question(question: Question) -> Dict[str, Any]:
    made: Dict[str, Any] = {
        "type": _FORM.types[question.kind],
        "instructions": question.question,
        "criteria": _criteria(question),
    }
    if not made["criteria"]:  # Ollama refuses null
        del made["criteria"]
    return made


def _criteria(question: Question) -> Any:
    if isinstance(question, Choice):
        return dict(question.options)
    if isinstance(question, Score):
        return list(question.levels)
    texts = {_KEYS[answer]: text for answer, text in described(question).items()}
    return {key: text for key, text in texts.items() if text is not None}


def parse_systemone(data: Any, questions: Mapping[str, Question], rules: Sequence[Rule]) -> Decided:
    """Return the decisions in a response.

    Args:
        data: The parsed JSON.
        questions: The questions of the request.
        rules: The rules that choose the error class from the server's error text.

    Raises:
        ProviderError: The response is an error; or an answer is missing, or its probabilities are
            incomplete or impossible.
    """
    data = checked(data, rules)
    answers, extra = mapping(data.get("answers")), mapping(data.get("diagnostics"))
    found = {
        name: _decision(name, question, answers.get(name), mapping(extra.get(name)))
        for name, question in questions.items()
    }
    return decided(data, found)


def _decision(
    name: str, question: Question, record: Any, diagnostics: Mapping[str, Any]
) -> Decision:
    if not isinstance(record, dict):
        unexpected("answer to one of the questions")
    mass = mass_of({**diagnostics, **record}, "label_mass", "x_label_mass")
    return read_decision(_FORM, name, question, record, mass)
