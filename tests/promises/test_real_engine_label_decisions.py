"""Decisions of a real chat model, from the probabilities of the labels of the answers."""

from __future__ import annotations

import math
from typing import Iterator, List

import pytest

from localproviders import (
    CapabilityError,
    Choice,
    ContextOverflowError,
    Image,
    OpenAICompatibleProvider,
    Score,
    YesNo,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.types import Questions

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_STATE = "I was charged twice for my order."
_QUESTIONS: Questions = {
    "team": Choice("Which team?", {"shipping": None, "billing": "payments", "technical": None}),
    "angry": YesNo("Is the customer angry?"),
    "urgent": Score("How urgent is this?", ["can wait", "this week", "today"]),
}
# More options than the first request lists, so that a second one is necessary.
_MANY: Questions = {"many": Choice("Which number?", [f"option {index}" for index in range(120)])}


@pytest.fixture(scope="module")
def chat() -> Iterator[OpenAICompatibleProvider]:
    with LocalEngine("chat", context_length=4096) as provider:
        yield provider


def test_the_probabilities_are_complete_and_the_mass_is_told(
    chat: OpenAICompatibleProvider,
) -> None:
    found = chat.decide(_STATE, _QUESTIONS, method="logprobs")

    assert list(found) == [*_QUESTIONS]
    assert list(found["team"].probabilities) == ["shipping", "billing", "technical"]
    for name in found:
        decision = found[name]
        assert decision.source == "logprobs"
        assert abs(math.fsum(decision.probabilities.values()) - 1.0) < 1e-6
        assert all(0.0 < each < 1.0 for each in decision.probabilities.values())
        # The begun answer makes even this small model write a label.
        assert decision.mass is not None and 0.5 <= decision.mass <= 1.0
    assert found.warnings == ()
    assert found.usage.prompt_tokens and found.usage.completion_tokens == 3


def test_an_answer_is_restricted_to_many_options(chat: OpenAICompatibleProvider) -> None:
    decision = chat.decide(_STATE, _MANY, method="logprobs", min_mass=0.0)["many"]

    assert len(decision.probabilities) == 120
    assert abs(math.fsum(decision.probabilities.values()) - 1.0) < 1e-6
    # The mass is that of the free answer, although the restricted one has nothing else.
    assert decision.mass is not None and 0.0 < decision.mass < 0.9


def test_a_small_mass_is_refused_with_the_likeliest_tokens(chat: OpenAICompatibleProvider) -> None:
    with pytest.raises(CapabilityError) as caught:
        chat.decide(_STATE, _QUESTIONS, method="logprobs", min_mass=0.999)

    error = caught.value
    assert error.mass is not None and 0.0 < error.mass < 0.999
    assert len(error.likeliest) == 3
    assert [each.logprob for each in error.likeliest] == sorted(
        (each.logprob for each in error.likeliest), reverse=True
    )
    assert "min_mass is 0.999" in error.message


@pytest.mark.slow
def test_the_same_request_gives_the_same_decision(chat: OpenAICompatibleProvider) -> None:
    # A prompt that the server has kept can change the digits, so the first decision does not count.
    found = [chat.decide(_STATE, _QUESTIONS, method="logprobs") for _ in range(3)]
    _, first, second = found

    for name in first:
        assert first[name].probabilities == pytest.approx(second[name].probabilities, abs=1e-6)


def test_an_image_for_a_model_that_cannot_see_is_a_missing_ability(
    chat: OpenAICompatibleProvider,
) -> None:
    image = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(CapabilityError, match="cannot see images"):
        chat.decide(_STATE, _QUESTIONS, method="logprobs", images=[image])


@pytest.mark.slow
def test_many_states_keep_the_error_of_one_that_is_too_long(chat: OpenAICompatibleProvider) -> None:
    states: List[str] = ["Thanks!", "word " * 9000, _STATE]
    found = list(chat.decide_many(states, {"angry": YesNo("Angry?")}, method="logprobs"))

    assert [type(each.error) for each in found] == [
        type(None), ContextOverflowError, type(None)
    ]  # fmt: skip
    assert found[2]["angry"].source == "logprobs"


@pytest.mark.slow
def test_the_begun_answer_skips_the_thinking_of_a_template() -> None:
    with LocalEngine("thinking") as provider:
        found = provider.decide(_STATE, _QUESTIONS, method="logprobs")

    assert all(found[name].mass and found[name].mass > 0.5 for name in found)
