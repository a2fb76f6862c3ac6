"""Decision requests to the fake servers: questions, probabilities, and answers in both dialects.

A decision request has a state, such as a mail, and typed questions about it. The response has the
probability of each possible answer. One dialect is System One (``/v1/systemone``), the other is
OpenAI's (``/v1/decisions``).
"""

from __future__ import annotations

import zlib
from math import log
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from localproviders.testing.answers import dumps
from localproviders.testing.fake import count_tokens
from localproviders.testing.values import Reply

#: The routes of decision requests.
SYSTEM_ONE = "/v1/systemone"
DECISIONS = "/v1/decisions"

#: The possible answers to a question about yes or no.
YES_NO = ("true", "false")
# If probabilities are not scripted, they are made from weights between 1 and this number.
_WEIGHTS = 1000


class Question(NamedTuple):
    """A question of a decision request.

    Attributes:
        id: The id (System One) or the name (OpenAI) of the question; None if it has no name.
        kind: ``noul`` (yes or no), ``choice`` or ``score``. These names of System One are used for
            OpenAI's dialect, too.
        text: The instructions of the question.
        options: The possible answers: `YES_NO`, the options of a choice, or the texts of the levels
            of a score.
    """

    id: Optional[str]
    kind: str
    text: str
    options: Tuple[Any, ...]


class BadRequestError(Exception):
    """An exception for a wrong field of a decision request. Each server makes its own response.

    Args:
        words: The error text of the response.
        param: The wrong field, for OpenAI's dialect.
        code: The code of the error, for OpenAI's dialect.
    """

    def __init__(self, words: str, param: Optional[str] = None, code: Optional[str] = None) -> None:
        super().__init__(words)
        self.words = words
        self.param = param
        self.code = code


def text_of(value: Any) -> str:
    """Return a state or instructions as a text. A value that is not a text becomes JSON."""
    return value if isinstance(value, str) else dumps(value)


def tokens_of(state: str, question: Question) -> int:
    """Return the number of tokens of the prompt that asks a question about a state."""
    options = " ".join(text_of(option) for option in question.options)
    return count_tokens(f"{state} {question.text} {options}")


# --- probabilities --------------------------------------------------------------------------


def probabilities_of(question: Question, state: str, reply: Reply) -> Optional[List[float]]:
    """Return the probabilities of a question's options, in the order of the options.

    If the reply refuses to answer the question, the result is None.

    Raises:
        ValueError: The scripted probabilities do not fit the question.
    """
    if question.id is None or question.id not in reply.decisions:
        return _usual(question, state)
    given = reply.decisions[question.id]
    if given is None:
        return None
    if question.kind == "noul" and isinstance(given, (int, float)):
        return [float(given), 1.0 - given]
    names = [text_of(option) for option in question.options]
    if isinstance(given, Mapping) and set(given) == set(names):
        return [float(given[name]) for name in names]
    if isinstance(given, Sequence) and len(given) == len(names):
        return [float(number) for number in given]
    raise ValueError(
        f"the reply has {given!r} for the question {question.id!r}, whose options are {names}"
    )


def _usual(question: Question, state: str) -> List[float]:
    """Return probabilities that sum to 1 and depend only on the texts of the request."""
    texts = (f"{state}\n{question.text}\n{text_of(option)}" for option in question.options)
    weights = [zlib.crc32(text.encode("utf-8", "replace")) % _WEIGHTS + 1 for text in texts]
    return [weight / sum(weights) for weight in weights]


#: Function that returns the confidence of an answer from the question's kind (``choice`` or
#: ``score``) and the probabilities.
Confidence = Callable[[str, Sequence[float]], float]


def published_confidence(kind: str, probabilities: Sequence[float]) -> float:
    """Return the confidence by the formulas of System One's authors, which llama.cpp uses."""
    number = len(probabilities)
    if number == 1:
        return 1.0
    most = max(probabilities)
    if kind == "choice":
        return (most - 1 / number) / (1 - 1 / number)
    mode = list(probabilities).index(most)
    spread = sum(p * abs(at - mode) for at, p in enumerate(probabilities))
    even = sum(abs(at - (number - 1) / 2) for at in range(number)) / number
    return max(0.0, 1 - spread / even)


def entropy_confidence(_: str, probabilities: Sequence[float]) -> float:
    """Return the confidence by Ollama's formula: how far the entropy is below its maximum."""
    entropy = -sum(p * log(p) for p in probabilities if p > 0)
    return max(0.0, min(1.0, 1 - entropy / log(len(probabilities))))


def _mean(probabilities: Sequence[float]) -> float:
    return sum(at * p for at, p in enumerate(probabilities))


def _likeliest(question: Question, probabilities: Sequence[float]) -> Any:
    return question.options[list(probabilities).index(max(probabilities))]


# --- answers --------------------------------------------------------------------------------


def system_one_answers(
    questions: Sequence[Question], state: str, reply: Reply, confidence: Confidence
) -> Dict[str, Any]:
    """Return the answers of System One by the ids of the questions.

    Raises:
        ValueError: The scripted probabilities do not fit a question, or the reply refuses one.
    """
    found: Dict[str, Any] = {}
    for question in questions:
        probabilities = probabilities_of(question, state, reply)
        if probabilities is None:
            raise ValueError(
                f"the reply refuses the question {question.id!r}, but only OpenAI's dialect "
                f"({DECISIONS}) has refusals"
            )
        found[str(question.id)] = _system_one_answer(question, probabilities, confidence)
    return found


def _system_one_answer(
    question: Question, probabilities: List[float], confidence: Confidence
) -> Dict[str, Any]:
    if question.kind == "noul":
        return {"type": "noul", "noul": probabilities[0]}
    end = {"confidence": confidence(question.kind, probabilities)}
    if question.kind == "choice":
        by_option = dict(zip(question.options, probabilities))
        choice = _likeliest(question, probabilities)
        return {"type": "choice", "choice": choice, "probabilities": by_option, **end}
    levels = [str(at) for at in range(len(probabilities))]
    return {
        "type": "score",
        "score": _mean(probabilities),
        "legend": dict(zip(levels, question.options)),
        "probabilities": dict(zip(levels, probabilities)),
        **end,
    }


def openai_answers(questions: Sequence[Question], state: str, reply: Reply) -> List[Dict[str, Any]]:
    """Return the answers of OpenAI's dialect in the order of the questions.

    Raises:
        ValueError: The scripted probabilities do not fit a question.
    """
    return [_openai_answer(q, probabilities_of(q, state, reply)) for q in questions]


def _openai_answer(question: Question, probabilities: Optional[List[float]]) -> Dict[str, Any]:
    name = {"name": question.id}
    if probabilities is None:
        return {"type": "refusal", **name}
    if question.kind == "noul":
        return {"type": "predicate", **name, "probability": probabilities[0]}
    head = {"type": question.kind, **name}
    end = {"confidence": published_confidence(question.kind, probabilities)}
    rows: List[Dict[str, Any]]
    if question.kind == "choice":
        rows = [{"value": o, "probability": p} for o, p in zip(question.options, probabilities)]
        choice = _likeliest(question, probabilities)
        return {**head, "choice": choice, **end, "probabilities": rows}
    rows = [
        {"value": at, "label": label, "probability": p}
        for at, (label, p) in enumerate(zip(question.options, probabilities))
    ]
    return {**head, "score": _mean(probabilities), **end, "probabilities": rows}


def openai_usage(tokens: int) -> Dict[str, Any]:
    """Return the usage of a decision in OpenAI's dialect."""
    return {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
