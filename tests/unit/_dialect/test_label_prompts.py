"""Prompts that ask for a label."""

from __future__ import annotations

from typing import List

import pytest

from localproviders import Choice, Score, YesNo
from localproviders._dialect.label_prompts import (
    CUE,
    candidates_for,
    choose_labels,
    label_prompt,
)
from localproviders.errors import ConfigurationError
from localproviders.types import Question


def _prompt(question: Question, state: object = "I was charged twice.") -> str:
    labels = choose_labels(question)
    assert labels is not None
    return label_prompt(state, question, labels)  # type: ignore[arg-type]  # also wrong states


def test_the_prompt_of_a_choice() -> None:
    question = Choice("Which team?", {"shipping": None, "billing": "payments", "technical": None})

    assert _prompt(question) == (
        "Read the text, then answer the question about it.\n\n"
        "Text:\nI was charged twice.\n\n"
        "Question: Which team?\n"
        "A. shipping\nB. billing: payments\nC. technical\n\n"
        "Answer with one label only: A, B or C."
    )


def test_the_prompt_of_a_question_for_yes_or_no() -> None:
    plain, described = YesNo("Angry?"), YesNo("Angry?", yes="insults", no="all else")

    assert "A. yes\nB. no\n\nAnswer with one label only: A or B." in _prompt(plain)
    assert "A. yes: insults\nB. no: all else\n" in _prompt(described)


def test_the_levels_of_a_score_are_numbered() -> None:
    assert "0. low\n1. mid\n2. high\n" in _prompt(Score("How urgent?", ["low", "mid", "high"]))


def test_labels_are_in_brackets_if_the_answer_begins_with_one() -> None:
    text = label_prompt("Hi.", YesNo("Angry?"), ("A", "B"), has_cue=True)

    assert "\n(A) yes\n(B) no\n\nAnswer with one label only: A or B." in text
    assert CUE.endswith("(")


def test_a_state_in_json_is_compact_and_keeps_its_order() -> None:
    text = _prompt(YesNo("Angry?"), {"to": "é", "from": {"b": [1, None], "a": True}})

    assert 'Text:\n{"to":"é","from":{"b":[1,null],"a":true}}\n' in text


def test_a_state_that_json_cannot_express_is_an_error() -> None:
    with pytest.raises(ConfigurationError):
        _prompt(YesNo("Angry?"), {"x": float("nan")})


def test_the_state_comes_before_all_that_differs_between_questions() -> None:
    """So a server that keeps the beginning of earlier prompts reads the state once."""
    prompts = [_prompt(YesNo("Angry?")), _prompt(Choice("Team?", ["a", "b", "c"]))]
    same = prompts[0].partition("Question:")[0]

    assert all(prompt.startswith(same) and "charged twice" in same for prompt in prompts)


def _options(count: int) -> List[str]:
    return [f"option {index}" for index in range(count)]


@pytest.mark.parametrize(
    ("question", "first", "last"),
    [
        (YesNo("?"), "A", "B"),
        (Score("?", _options(10)), "0", "9"),
        (Score("?", _options(11)), "A", "K"),
        (Choice("?", _options(26)), "A", "Z"),
        (Choice("?", _options(52)), "A", "z"),
    ],
)
def test_labels_are_single_characters(question: Question, first: str, last: str) -> None:
    labels = choose_labels(question)

    assert labels is not None
    assert (labels[0], labels[-1]) == (first, last)
    assert len({*labels}) == len(labels) == len(question.answers)


def test_more_answers_need_labels_that_are_known_to_be_tokens() -> None:
    question = Choice("?", _options(60))
    pairs = candidates_for(question)

    assert choose_labels(question) is None
    assert choose_labels(question, {*pairs[::7]}) == tuple(pairs[::7][:60])
    assert choose_labels(question, {*pairs[:59]}) is None


def test_a_letter_that_is_no_token_is_not_a_label() -> None:
    assert choose_labels(Choice("?", _options(3)), {"A", "C", "D", "x"}) == ("A", "C", "D")


@pytest.mark.parametrize("count", [2, 10, 11, 52, 53, 255])
def test_no_label_is_the_beginning_of_another_one(count: int) -> None:
    for question in (Choice("?", _options(count)), Score("?", _options(count))):
        labels = candidates_for(question)
        assert len({*map(len, labels)}) == 1
        assert len(labels) >= count
