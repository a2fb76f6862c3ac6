"""Decisions: the answer of each kind, refused questions, errors, dictionaries."""

from __future__ import annotations

import json
import pickle
from typing import Any, Dict

import pytest

from localproviders import AnswerError, CapabilityError, Decisions, ProviderError
from localproviders.types import Decision, TokenLogprob


def _decision(kind: str, probabilities: Dict[str, float], **more: Any) -> Decision:
    facts = {"name": "q", "source": "systemone", **more}
    return Decision(kind=kind, probabilities=probabilities, **facts)


_YES_NO = _decision("yes_no", {"yes": 0.75, "no": 0.25})
_CHOICE = _decision("choice", {"a": 0.25, "b": 0.5, "c": 0.25})
_SCORE = _decision("score", {"low": 0.25, "middle": 0.25, "high": 0.5})
_REFUSED = _decision("choice", {}, refused=True)


def test_each_kind_has_its_answer() -> None:
    assert _YES_NO.answer is True
    assert _YES_NO.probability == 0.75
    assert _CHOICE.answer == _CHOICE.choice == "b"
    assert _SCORE.answer == _SCORE.score == 1.25
    assert _decision("yes_no", {"yes": 0.5, "no": 0.5}).answer is True
    assert _decision("yes_no", {"yes": 0.49, "no": 0.51}).answer is False


def test_confidence_is_the_distance_of_the_two_likeliest_answers() -> None:
    assert (_YES_NO.confidence, _CHOICE.confidence, _SCORE.confidence) == (0.5, 0.25, 0.25)
    assert _decision("choice", {"a": 0.5, "b": 0.5}).confidence == 0
    assert _decision("choice", {"a": 1.0, "b": 0.0}).confidence == 1


@pytest.mark.parametrize(
    ("decision", "attribute", "right"),
    [
        (_YES_NO, "choice", "probability"),
        (_YES_NO, "score", "probability"),
        (_CHOICE, "probability", "choice"),
        (_SCORE, "choice", "score"),
        (_REFUSED, "score", "choice"),
    ],
)
def test_the_attribute_of_another_kind_names_the_right_one(
    decision: Decision, attribute: str, right: str
) -> None:
    with pytest.raises(TypeError, match=f"use {right}$"):
        getattr(decision, attribute)


@pytest.mark.parametrize("decision", [_YES_NO, _CHOICE, _REFUSED])
def test_a_decision_is_no_condition(decision: Decision) -> None:
    """``if found["angry"]:`` would be true for each answer."""
    with pytest.raises(TypeError, match=r"write \.answer$"):
        bool(decision)


@pytest.mark.parametrize("attribute", ["answer", "choice"])
def test_a_refused_question_has_no_answer(attribute: str) -> None:
    with pytest.raises(AnswerError, match="refused to answer"):
        getattr(_REFUSED, attribute)
    assert str(_REFUSED) == "q: refused"
    assert "answer" not in _REFUSED.to_dict()
    assert Decision.from_dict(_REFUSED.to_dict()) == _REFUSED


def test_a_decision_is_one_line() -> None:
    assert str(_YES_NO) == "q: yes 0.75 (confidence 0.50)"
    assert str(_CHOICE) == "q: b 0.50 (confidence 0.25)"
    assert str(_SCORE) == "q: 1.25 (confidence 0.25)"


_DECISIONS = Decisions(model="m", provider="p", answers={"angry": _YES_NO, "team": _CHOICE})


def test_decisions_are_a_mapping() -> None:
    assert list(_DECISIONS) == ["angry", "team"]
    assert len(_DECISIONS) == 2
    assert dict(_DECISIONS) == {"angry": _YES_NO, "team": _CHOICE}
    assert _DECISIONS.get("anger") is None
    assert "team" in _DECISIONS
    with pytest.raises(KeyError, match="did you mean 'angry'"):
        _DECISIONS["angri"]


def test_decisions_come_back_from_json_and_a_pickle() -> None:
    data = _DECISIONS.to_dict()

    assert data["answers"]["angry"]["answer"] is True
    assert "name" not in data["answers"]["angry"]
    named = {"angry": _YES_NO.replace(name="angry"), "team": _CHOICE.replace(name="team")}
    assert Decisions.from_dict(json.loads(json.dumps(data))) == _DECISIONS.replace(answers=named)
    assert pickle.loads(pickle.dumps(_DECISIONS)) == _DECISIONS


def test_an_error_is_raised_by_every_access() -> None:
    error = CapabilityError(
        "small mass", mass=0.1, likeliest=(TokenLogprob(token="x", logprob=-1.0),)
    )
    failed = Decisions(model="m", provider="p", error=error)

    for access in (lambda: failed["angry"], lambda: list(failed), lambda: failed.get("angry")):
        with pytest.raises(CapabilityError, match="small mass"):
            access()
    assert str(failed) == "CapabilityError: small mass"
    assert "small mass" in failed._repr_markdown_()
    assert len(failed) == 0
    back = Decisions.from_dict(json.loads(json.dumps(failed.to_dict())))
    assert isinstance(back.error, CapabilityError)
    assert back.error.mass == 0.1
    again = pickle.loads(pickle.dumps(failed))
    assert isinstance(again.error, ProviderError)


def test_tokens_of_an_error_are_in_no_message() -> None:
    token = TokenLogprob(token="needle", logprob=-1.0)
    error = CapabilityError("m", mass=0.25, likeliest=(token,))

    assert "needle" not in f"{error} {error!r}"
    assert error.to_dict()["mass"] == 0.25
