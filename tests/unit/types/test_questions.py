"""Questions and states: their short forms, and what is refused before anything is sent."""

from __future__ import annotations

import pickle
import traceback
from datetime import date
from enum import Enum
from typing import Any, Callable, Dict, List

import pytest

from localproviders import Choice, Score, YesNo
from localproviders.types import Question, Questions
from localproviders.types.questions import as_questions, as_state, check_mass, check_method

_QUESTIONS: List[Question] = [
    YesNo("Is it late?"),
    YesNo("Is it late?", yes="after noon", no="before"),
    Choice("Which?", ["a", "b"]),
    Choice("Which?", {"a": "the first", "b": None}),
    Score("How?", ["low", "middle", "high"]),
]


@pytest.mark.parametrize("question", _QUESTIONS, ids=repr)
def test_a_question_comes_back_from_a_dictionary_a_pickle_and_a_copy(question: Question) -> None:
    assert Question.from_dict(question.to_dict()) == question
    assert type(question).from_dict(question.to_dict()) == question
    assert pickle.loads(pickle.dumps(question)) == question == question.replace()
    assert hash(question.replace()) == hash(question)
    assert "late" not in repr(question)


def test_answers_are_the_keys_of_the_probabilities_in_their_order() -> None:
    assert YesNo("q").answers == ("yes", "no")
    assert Choice("q", {"b": None, "a": "first"}).answers == ("b", "a")
    assert Score("q", ("low", "high")).answers == ("low", "high")


def test_short_forms_are_questions() -> None:
    short: Questions = {"late": "Is it late?", "team": ["a", "b"], "how": Score("How?", ["l", "h"])}

    assert as_questions(short) == {
        "late": YesNo("Is it late?"),
        "team": Choice("team", ["a", "b"]),
        "how": Score("How?", ["l", "h"]),
    }


_REFUSED: Dict[str, Callable[[], Any]] = {
    "question is empty": lambda: YesNo("  "),
    "question is int, and must be text": lambda: YesNo(5),  # type: ignore[arg-type]
    "yes is empty": lambda: YesNo("q", yes=""),
    "options is one text": lambda: Choice("q", "ab"),
    "options is int": lambda: Choice("q", 5),  # type: ignore[arg-type]
    "at least 2 options, not 1": lambda: Choice("q", ["a"]),
    "one of the options occurs twice": lambda: Choice("q", ["a", "a"]),
    "one of the options is empty": lambda: Choice("q", ["a", ""]),
    "one of the options is int": lambda: Choice("q", [1, 2]),  # type: ignore[list-item]
    "a description is int": lambda: Choice("q", {"a": 1, "b": None}),  # type: ignore[dict-item]
    "levels is one text": lambda: Score("q", "ab"),
    "levels is dict": lambda: Score("q", {"a": 1, "b": 2}),  # type: ignore[arg-type]
    "at least 2 levels, not 0": lambda: Score("q", []),
    "one of the levels occurs twice": lambda: Score("q", ["a", "a"]),
    "questions is one text": lambda: as_questions("q"),  # type: ignore[arg-type]
    "questions is list": lambda: as_questions(["q"]),  # type: ignore[arg-type]
    "there is no question": lambda: as_questions({}),
    "the name of a question is empty": lambda: as_questions({"": "q"}),
    "a question is int": lambda: as_questions({"a": 5}),  # type: ignore[dict-item]
    "write Choice": lambda: as_questions({"a": {"x": None}}),  # type: ignore[dict-item]
    "state is empty": lambda: as_state({}),
    "call decide_many": lambda: as_state(["a"]),  # type: ignore[arg-type]
    'pass {"messages"': lambda: as_state(["a"]),  # type: ignore[arg-type]
    "did you mean 'logprobs'": lambda: check_method("logprob"),
    "min_mass is 2": lambda: check_mass(2),
    "min_mass is True": lambda: check_mass(True),
    "kind is 'choise', and must be .* did you mean 'choice'": lambda: Question.from_dict(
        {"kind": "choise", "question": "q"}
    ),
}


@pytest.mark.parametrize("message", _REFUSED)
def test_a_wrong_value_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _REFUSED[message]()


def test_a_misspelt_keyword_names_the_right_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'levels'"):
        Score("q", level=["a", "b"])  # type: ignore[call-arg]


def test_a_refusal_shows_no_content_in_its_traceback() -> None:
    with pytest.raises(ValueError, match="is empty") as caught:
        Choice("needle", ["needle", ""])

    frames = traceback.StackSummary.extract(
        traceback.walk_tb(caught.tb), capture_locals=True, lookup_lines=False
    )
    ours = [frame for frame in frames if "localproviders" in frame.filename.split("tests")[0]]
    assert "needle" not in repr([frame.locals for frame in ours if "/tests/" not in frame.filename])


def test_a_state_becomes_plain_json() -> None:
    assert as_state("text") == "text"
    assert as_state({"at": date(2026, 1, 2), "n": (1, 2)}) == {"at": "2026-01-02", "n": [1, 2]}
    with pytest.raises(ValueError, match="number that cannot be written"):
        as_state({"x": float("nan")})


class _Team(str, Enum):
    BILLING = "billing"
    SHIPPING = "shipping"


def test_texts_of_a_subclass_become_plain_texts() -> None:
    """Their `format` can be another text, which a prompt would show."""
    found = as_questions({_Team.BILLING: Choice(_Team.BILLING, list(_Team))})

    question = found["billing"]
    assert [type(text) for text in (*found, question.question, *question.answers)] == [str] * 4
    assert question.answers == ("billing", "shipping")
    assert type(as_state(_Team.BILLING)) is str


@pytest.mark.parametrize("state", [{1: "a", "1": "b"}, {"in": [{None: 1, "None": 2}]}])
def test_keys_that_become_the_same_text_are_refused(state: Dict[Any, Any]) -> None:
    """Otherwise, a part of the state would be lost."""
    with pytest.raises(ValueError, match="two keys"):
        as_state(state)


def test_a_number_of_numpy_is_a_threshold() -> None:
    numpy = pytest.importorskip("numpy")
    assert check_mass(numpy.float32(0.5)) == 0.5
