"""The checks of probabilities, and both shapes in which servers write them."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import pytest

from localproviders import Choice, ProtocolError, Score, YesNo
from localproviders._decision_verbs import DecisionRequest
from localproviders._dialect.decisions import (
    checked_probabilities,
    read_choice,
    read_score,
    read_yes_no,
    split,
    texts_of,
)

_AB = Choice("Which?", ["a", "b"])
_LEVELS = Score("How?", ["low", "middle", "high"])


def test_probabilities_come_in_the_order_of_the_question() -> None:
    found = checked_probabilities(("b", "a"), {"a": 0.25, "b": 0.75})
    assert list(found.items()) == [("b", 0.75), ("a", 0.25)]


@pytest.mark.parametrize("total", [0.99, 1.01, 0.98, 1.02])
def test_rounded_probabilities_are_normalised(total: float) -> None:
    found = checked_probabilities(("a", "b"), {"a": total - 0.25, "b": 0.25})
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert found["b"] == pytest.approx(0.25 / total)


def test_exact_probabilities_are_not_changed() -> None:
    numbers = {"a": 0.8470028915069172, "b": 0.05054635239441186, "c": 0.10245075609867084}
    assert checked_probabilities(tuple(numbers), numbers) == numbers


def test_the_tolerance_grows_with_the_number_of_answers() -> None:
    answers = tuple(map(str, range(20)))
    numbers = dict.fromkeys(answers, 0.0455)  # the sum is 0.91
    assert sum(checked_probabilities(answers, numbers).values()) == pytest.approx(1)
    with pytest.raises(ProtocolError, match=r"the sum 0\.88"):
        checked_probabilities(answers, dict.fromkeys(answers, 0.044))


@pytest.mark.parametrize(
    "found",
    [
        {"a": 1.0},
        {"a": 0.5, "c": 0.5},
        {"a": 0.5, "b": 0.25, "c": 0.25},
        {"a": 0.5, "b": None},
        {"a": 0.5, "b": "0.5"},
        {"a": 0.5, "b": True},
        {"a": 0.5, "b": float("nan")},
        {"a": 0.5, "b": float("inf")},
        {"a": 1.5, "b": -0.5},
        {"a": 0.5, "b": 0.4},
        {"a": 0.6, "b": 0.5},
        {},
    ],
)
def test_incomplete_or_impossible_probabilities_are_an_error(found: Dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        checked_probabilities(("a", "b"), found)


@pytest.mark.parametrize(
    "record",
    [
        {"noul": 0.75},
        {"noul": 0.75, "probabilities": {"yes": 0.75, "no": 0.25}},
        {"probabilities": {"true": 0.75, "false": 0.25}},
        {
            "probabilities": [
                {"value": True, "probability": 0.75},
                {"value": False, "probability": 0.25},
            ]
        },
    ],
)
def test_yes_and_no_are_read_in_all_shapes(record: Dict[str, Any]) -> None:
    assert read_yes_no(record, "noul") == {"yes": 0.75, "no": 0.25}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"noul": 1.5},
        {"noul": "0.5"},
        {"noul": 0.75, "probabilities": {"yes": 0.25, "no": 0.75}},
        {"noul": 0.5, "probabilities": {"yes": 0.5, "no": 0.25, "unknown": 0.25}},
    ],
)
def test_an_impossible_yes_or_no_is_an_error(record: Dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_yes_no(record, "noul")


@pytest.mark.parametrize("name", ["choice", "label"])
def test_the_named_option_must_be_the_likeliest(name: str) -> None:
    numbers = {"probabilities": {"a": 0.25, "b": 0.75}}
    assert read_choice(_AB, {**numbers, name: "b"}) == numbers["probabilities"]
    for wrong in ("a", "c", 5):
        with pytest.raises(ProtocolError, match="not the likeliest"):
            read_choice(_AB, {**numbers, name: wrong})


def test_equal_options_may_be_named_in_any_order() -> None:
    rounded = {"probabilities": {"a": 0.5, "b": 0.5}, "choice": "b"}
    assert read_choice(_AB, rounded) == {"a": 0.5, "b": 0.5}


def test_two_probabilities_of_one_option_are_an_error() -> None:
    twice = [{"value": "a", "probability": 0.5}, {"value": "a", "probability": 0.5}]
    with pytest.raises(ProtocolError, match="two probabilities"):
        read_choice(_AB, {"probabilities": twice})


_SHARES = {"low": 0.25, "middle": 0.25, "high": 0.5}
_BY_INDEX: Mapping[str, Any] = {"0": 0.25, "1": 0.25, "2": 0.5}


@pytest.mark.parametrize(
    "record",
    [
        {"probabilities": _BY_INDEX},
        {"probabilities": _BY_INDEX, "score": 1.25},
        {"probabilities": _BY_INDEX, "legend": {"0": "low", "1": "middle", "2": "high"}},
        {"probabilities": _BY_INDEX, "legend": ["low", "middle", "high"]},
        {"probabilities": _BY_INDEX, "legend": {"0": None, "1": None, "2": None}},
        {"probabilities": _BY_INDEX, "legend": ["lo", "mid", "hi"]},
        {
            "probabilities": [
                {"value": number, "label": level, "probability": _SHARES[level]}
                for number, level in enumerate(_SHARES)
            ]
        },
    ],
)
def test_the_levels_of_a_score_are_read_in_all_shapes(record: Dict[str, Any]) -> None:
    assert read_score(_LEVELS, record) == _SHARES


@pytest.mark.parametrize(
    "record",
    [
        {"probabilities": _BY_INDEX, "score": 2.25},
        {"probabilities": _BY_INDEX, "legend": ["high", "middle", "low"]},
        {
            "probabilities": [
                {"value": number, "label": level, "probability": _SHARES[level]}
                for number, level in enumerate(reversed(list(_SHARES)))
            ]
        },
        {"probabilities": [{"value": [], "label": "low", "probability": 1.0}]},
        {"probabilities": {"1": 0.25, "2": 0.25, "3": 0.5}},
        {"probabilities": {"0": 0.5, "1": 0.5}},
        {"probabilities": {"low": 0.25, "middle": 0.25, "high": 0.5}},
        {},
    ],
)
def test_a_score_of_other_levels_is_an_error(record: Dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_score(_LEVELS, record)


def test_questions_are_split_into_few_groups() -> None:
    questions = {str(number): YesNo("q") for number in range(5)}
    assert [list(part) for part in split(questions, 2)] == [["0", "1"], ["2", "3"], ["4"]]
    assert split(questions, None) == split(questions, 5) == [questions]


def test_the_texts_of_a_request_include_those_in_a_state_of_json() -> None:
    request = DecisionRequest(
        questions={"name": Choice("text", {"option": "description", "other": None})},
        state={"key": ["deep", {"x": "deeper"}]},
    )
    texts = {"name", "text", "option", "other", "description", "deep", "deeper"}
    assert {*texts_of(request)} == texts
