"""The questions of ``decide``, and the thresholds of their answers."""

from __future__ import annotations

import csv
import re
from argparse import Namespace
from typing import Any, Dict, List, Mapping

from localproviders._did_you_mean import did_you_mean
from localproviders.cli.json_files import read_json
from localproviders.cli.usage import UsageError
from localproviders.cli.values import number
from localproviders.types.decisions import Decision
from localproviders.types.questions import (
    DECISION_METHODS,
    Choice,
    Question,
    Score,
    YesNo,
    as_questions,
)

_NUMBER = re.compile(r"[0-9]{0,9}\.?[0-9]{1,18}", re.ASCII)


def add_method(group: Any) -> None:
    """Add the options that say how questions are decided."""
    words = ", ".join(DECISION_METHODS)
    group.add_argument("--method", metavar="M", choices=DECISION_METHODS, help=words)
    group.add_argument(
        "--min-mass",
        metavar="P",
        type=number(0, 1),
        help="least total probability of the answers (0.5)",
    )


def read_questions(arguments: Namespace) -> Dict[str, Question]:
    """Return the questions that the arguments contain, by the names of the questions.

    Raises:
        UsageError: A question is malformed, or the file of ``--questions`` cannot be used.
    """
    _check_lists(arguments)
    if arguments.questions is not None:
        return read_question_file(arguments.questions)
    if arguments.yes_no is not None:
        name, options = "yes_no", []
    else:
        name = "choice" if arguments.choice is not None else "score"
        options = _split(arguments.options if name == "choice" else arguments.levels)
    question = getattr(arguments, name)
    try:
        return {name: _KINDS[name](question, *([options] if name != "yes_no" else []))}
    except ValueError as error:
        raise UsageError(f"--{name.replace('_', '-')}: {error}") from None


_KINDS: Mapping[str, Any] = {"yes_no": YesNo, "choice": Choice, "score": Score}


def _check_lists(arguments: Namespace) -> None:
    """Check that ``--choice`` has ``--options``, and that ``--score`` has ``--levels``."""
    for name, listed in (("choice", "options"), ("score", "levels")):
        has_name = getattr(arguments, name) is not None
        has_list = getattr(arguments, listed) is not None
        if has_name and not has_list:
            raise UsageError(f"--{name} needs --{listed}", hint=f"--{listed} 'first, second'")
        if has_list and not has_name:
            raise UsageError(f"--{listed} needs --{name}", hint=f"--{name} QUESTION")


def _split(text: str) -> List[str]:
    """Split a list at its commas. An item that contains a comma must be in double quotes."""
    try:
        (items,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):  # a quote that is not closed, or a line feed
        raise UsageError(f"{text!r} is no list: write A,B,C on one line") from None
    return [item.strip() for item in items]


def read_question_file(path: str) -> Dict[str, Question]:
    """Return the questions of the file of ``--questions`` by name.

    Raises:
        UsageError: The file cannot be used, or a question is malformed.
    """
    found = read_json(path, "--questions")
    if not isinstance(found, dict):
        raise UsageError(
            f"--questions: {path!r} must be a JSON object from names to questions",
            hint='such as {"angry": "Is the customer angry?"}',
        )
    made: Dict[str, Question] = {}
    for name, given in found.items():
        try:
            question = Question.from_dict(given) if isinstance(given, dict) else given
            made.update(as_questions({name: question}))
        except (TypeError, ValueError) as error:
            raise UsageError(f"--questions: {path!r}: question {name!r}: {error}") from None
    if not made:
        raise UsageError(f"--questions: {path!r} has no question")
    return made


# --- thresholds ----------------------------------------------------------------------------


def read_thresholds(texts: List[str], questions: Mapping[str, Question]) -> Dict[str, float]:
    """Return the thresholds of ``--threshold`` by the name of the question.

    Raises:
        UsageError: A threshold is no number, is out of range, or names an unknown question; or it
            names no question although there are several.
    """
    found: Dict[str, float] = {}
    for text in texts:
        name, _, words = text.rpartition("=")
        name = name or _only(text, questions)
        if name not in questions:
            known = list(questions)
            raise UsageError(
                f"--threshold {text!r}: no question has the name {name!r}"
                f"{did_you_mean(name, known)}",
                hint=f"the questions are {', '.join(known)}",
            )
        found[name] = _threshold(text, words, questions[name])
    return found


def _only(text: str, questions: Mapping[str, Question]) -> str:
    names = list(questions)
    if len(names) > 1:
        raise UsageError(
            f"--threshold {text!r}: there are {len(names)} questions",
            hint=f"name one: --threshold {names[0]}={text}",
        )
    return names[0]


def _threshold(text: str, words: str, question: Question) -> float:
    highest = len(question.answers) - 1 if question.kind == "score" else 1
    if not _NUMBER.fullmatch(words) or float(words) > highest:
        raise UsageError(f"--threshold {text!r}: write a number from 0 to {highest}")
    return float(words)


def reaches(decision: Decision, least: float) -> bool:
    """Return whether an answer reaches a threshold; a refused answer does not.

    The threshold is compared with the probability of yes, the probability of the chosen option, or
    the score.
    """
    if decision.refused or not decision.probabilities:
        return False
    if decision.kind == "choice":
        return decision.probabilities[decision.choice] >= least
    return float(decision.probability if decision.kind == "yes_no" else decision.score) >= least
