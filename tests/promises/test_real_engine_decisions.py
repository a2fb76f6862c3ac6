"""Tests with a real llama.cpp server and stand-ins for decision models.

The weights are those of an ordinary chat model, so the answers mean nothing. The tests check the
form of the answers and the refusals.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, Mapping, Tuple

import pytest
import requests

from localproviders import (
    CapabilityError,
    Choice,
    ContextOverflowError,
    Image,
    LocalProvider,
    OpenAICompatibleProvider,
    RequestRejectedError,
    Score,
    UnsupportedError,
    YesNo,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine.models import RECIPES, open_model
from localproviders.types import Question, Questions
from tests.support.decision_models import TYPES, make_decision_model

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

STATE = "I was charged twice for my order."
QUESTIONS: Mapping[str, Question] = {
    "route": Choice(
        "Which team should handle this?",
        {"shipping": None, "billing": "payments and refunds", "technical": None},
    ),
    "angry": YesNo("Is the customer angry?"),
    "urgency": Score("How urgent is this?", ["can wait", "this week", "today"]),
}
PICTURE = Image.from_bytes(b"\x89PNG\r\n\x1a\nrest")


@pytest.fixture(scope="module", params=TYPES)
def decider(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenAICompatibleProvider]:
    """Serve a stand-in for each type of decision model, one after another."""
    folder = tmp_path_factory.mktemp("decider")
    file = folder / f"tiny-{request.param}.gguf"
    with open_model(RECIPES["chat"], folder) as source:
        make_decision_model(source, file, request.param)
    with LocalEngine(file, context_length=1024) as provider:
        yield provider
    file.unlink()  # it has 250 MB, and pytest keeps folders of earlier runs


@pytest.fixture(scope="module")
def chatter() -> Iterator[OpenAICompatibleProvider]:
    with LocalEngine("chat", context_length=1024) as provider:
        yield provider


def test_the_list_shows_a_decision_model_and_no_chat_model(
    decider: OpenAICompatibleProvider,
) -> None:
    (info,) = decider.list_models()

    found = info.capabilities
    assert (found.decision, found.chat, found.completion) == (True, False, False)
    words = "GET /v1/models: output_modalities is decisions"
    assert {found.evidence[name].detail for name in ("decision", "chat")} == {words}
    assert {found.evidence[name].source for name in ("decision", "chat")} == {"reported"}
    assert info.raw is not None
    assert info.raw["architecture"]["output_modalities"] == ["decisions"]


def test_the_list_shows_that_a_chat_model_is_no_decision_model(
    chatter: OpenAICompatibleProvider,
) -> None:
    (info,) = chatter.list_models()

    assert (info.capabilities.decision, info.capabilities.chat) == (False, True)


def test_a_prompt_for_a_decision_model_is_refused(decider: OpenAICompatibleProvider) -> None:
    decider.list_models()
    with pytest.raises(CapabilityError) as caught:
        decider.chat("Hello")

    assert caught.value.hint is not None and "decide()" in caught.value.hint


def test_a_decision_model_is_not_chosen_for_text(
    decider: OpenAICompatibleProvider, chatter: OpenAICompatibleProvider
) -> None:
    with LocalProvider([decider, chatter], strategy="largest") as local:
        assert local.chat("Hello", max_tokens=1).provider == chatter.name
    with LocalProvider([chatter, decider], needs={"decision"}) as local:
        with pytest.raises(CapabilityError):
            local.chat("Hello", model=str(chatter.settings.model))


# --- the verb -----------------------------------------------------------------------------------


def test_the_three_kinds_of_questions_are_answered_in_order(
    decider: OpenAICompatibleProvider,
) -> None:
    found = decider.decide(STATE, QUESTIONS)

    assert list(found) == list(QUESTIONS)
    assert (found.model, found.provider) == (decider.settings.model, decider.name)
    assert (found.error, found.warnings, found.attempts) == (None, (), 1)
    assert {each.source for each in found.values()} == {"systemone"}
    route, angry, urgency = found.values()
    assert list(route.probabilities) == ["shipping", "billing", "technical"]
    assert list(angry.probabilities) == ["yes", "no"]
    assert list(urgency.probabilities) == ["can wait", "this week", "today"]
    assert route.choice == max(route.probabilities, key=route.probabilities.__getitem__)
    assert angry.answer is (angry.probability >= 0.5)
    shares = enumerate(urgency.probabilities.values())
    assert urgency.score == pytest.approx(sum(level * share for level, share in shares), abs=1e-6)


def test_probabilities_are_complete_and_those_of_the_server(
    decider: OpenAICompatibleProvider,
) -> None:
    found = decider.decide(STATE, QUESTIONS)

    for decision in found.values():
        assert abs(math.fsum(decision.probabilities.values()) - 1.0) < 1e-6
        assert all(0.0 <= share <= 1.0 for share in decision.probabilities.values())
        assert 0.0 <= decision.confidence <= 1.0
        assert not decision.refused and decision.mass is None
    assert found.raw is not None
    theirs = found.raw["answers"]
    assert found["angry"].probability == pytest.approx(theirs["angry"]["noul"], abs=1e-9)
    assert found["route"].choice == theirs["route"]["choice"]
    assert found["route"].server_confidence == theirs["route"]["confidence"]
    assert found["urgency"].score == pytest.approx(theirs["urgency"]["score"], abs=1e-6)


def test_the_tokens_of_all_questions_are_counted(decider: OpenAICompatibleProvider) -> None:
    whole = decider.decide(STATE, QUESTIONS).usage
    single = decider.decide(STATE, {"angry": QUESTIONS["angry"]}).usage

    assert whole.prompt_tokens is not None and single.prompt_tokens is not None
    # The state is read once for each question.
    assert whole.prompt_tokens > 2 * single.prompt_tokens > 0
    assert (whole.completion_tokens, single.completion_tokens) == (0, 0)


def test_ten_questions_are_answered_in_one_request(decider: OpenAICompatibleProvider) -> None:
    questions: Dict[str, Question] = {
        f"question {number}": (
            YesNo(f"Is it number {number}?"),
            Choice("Which?", [f"option {n}" for n in range(2 + number)]),
            Score("How much?", ["none", "some", "all"]),
        )[number % 3]
        for number in range(10)
    }
    found = decider.decide(STATE, questions)

    assert list(found) == list(questions)
    assert found.raw is not None and list(found.raw["answers"]) == list(questions)
    sizes = [len(decision.probabilities) for decision in found.values()]
    assert sizes == [2, 3, 3, 2, 6, 3, 2, 9, 3, 2]


def test_the_same_request_gets_the_same_numbers(decider: OpenAICompatibleProvider) -> None:
    first, second = (decider.decide(STATE, QUESTIONS) for _ in range(2))

    assert {name: first[name].probabilities for name in first} == {
        name: second[name].probabilities for name in second
    }


def test_a_state_can_be_json_and_a_description_can_be_missing(
    decider: OpenAICompatibleProvider,
) -> None:
    state = {"order": {"id": 7, "paid": [12.5, None]}, "text": "charged twice: \u4f60\u597d"}
    questions: Questions = {"a": YesNo("Is it?", yes="it is"), "b": ["x", "y"], "c": "Is it not?"}
    found = decider.decide(state, questions)

    assert [decision.kind for decision in found.values()] == ["yes_no", "choice", "yes_no"]


# By name: the arguments of `decide`, the class of the error, and a part of its message or hint.
_ERRORS: Dict[str, Tuple[Dict[str, Any], type, str]] = {
    "a long state": ({"state": "word " * 2000}, ContextOverflowError, "1024"),
    "images": ({"images": [PICTURE]}, CapabilityError, "--mmproj"),
    "the other route": ({"method": "decisions"}, UnsupportedError, 'method="systemone"'),
}


@pytest.mark.parametrize("case", _ERRORS)
def test_a_refusal_has_its_class(decider: OpenAICompatibleProvider, case: str) -> None:
    changes, kind, words = _ERRORS[case]
    with pytest.raises(kind) as caught:
        decider.decide(**{"state": STATE, "questions": QUESTIONS, **changes})

    assert type(caught.value) is kind
    assert words in str(caught.value)
    if isinstance(caught.value, ContextOverflowError):
        assert caught.value.context_length == 1024
        assert (caught.value.prompt_tokens or 0) > 2000


def test_too_many_options_are_refused(decider: OpenAICompatibleProvider) -> None:
    """One type reads at most 52 labels; the client knows only the largest number of all types."""
    many = {"a": Choice("Which?", [f"o{number}" for number in range(53)])}
    if decider.settings.model == "tiny-openjev":
        with pytest.raises(RequestRejectedError, match="at most 52"):
            decider.decide(STATE, many)
    else:
        assert len(decider.decide(STATE, many)["a"].probabilities) == 53
    with pytest.raises(UnsupportedError, match="at most 255"):
        decider.decide(STATE, {"a": Choice("Which?", [f"o{number}" for number in range(256)])})


def test_a_state_that_is_too_long_is_an_error_of_its_own_result(
    decider: OpenAICompatibleProvider,
) -> None:
    found = list(decider.decide_many([STATE, "word " * 2000, "Thanks."], QUESTIONS))

    assert [type(each.error) for each in found] == [type(None), ContextOverflowError, type(None)]
    assert found[0]["route"].probabilities != found[2]["route"].probabilities


@pytest.mark.parametrize("method", [None, "systemone"])
def test_a_chat_model_is_refused_with_the_other_way(
    chatter: OpenAICompatibleProvider, method: Any
) -> None:
    with pytest.raises(CapabilityError) as caught:
        chatter.decide(STATE, QUESTIONS, method=method)

    assert caught.value.evidence == "This model is not a decision model"
    assert caught.value.hint is not None and 'method="logprobs"' in caught.value.hint


def test_a_decision_is_routed_to_the_decision_model(
    decider: OpenAICompatibleProvider, chatter: OpenAICompatibleProvider
) -> None:
    with LocalProvider([chatter, decider], needs={"decision"}, strategy="largest") as local:
        assert local.decide(STATE, QUESTIONS).provider == decider.name


# --- the wire -----------------------------------------------------------------------------------

# Requests that the package does not send, or sends only with the caller's own mistakes. The fake
# servers give the same answers.


def ask(provider: OpenAICompatibleProvider, **body: Any) -> Tuple[int, Any]:
    """Send a decision request, and return the status and the JSON of the response."""
    key = provider.settings.api_key
    assert key is not None
    response = requests.post(
        f"{provider.settings.endpoint.url}/v1/systemone",
        json={"state": STATE, "questions": _QUESTION, **body},
        headers={"Authorization": f"Bearer {key.reveal()}"},
        timeout=120,
        proxies={"http": ""},
    )
    return response.status_code, response.json()


_QUESTION = {"a": {"type": "noul", "instructions": "Is it?"}}


def _question(**fields: Any) -> Dict[str, Any]:
    return {"questions": {"a": {**_QUESTION["a"], **fields}}}


_CHOICE = '"criteria" must be a non-empty object'
_IMAGES = {"images": ["data:image/png;base64,iVBORw0KGgo="]}

# By name: the changes to the request, and the status, the type and the text of the refusal.
_REFUSALS: Dict[str, Tuple[Dict[str, Any], int, str, str]] = {
    "no questions": (
        {"questions": {}}, 400, "invalid_request_error", '"questions" must be a non-empty object',
    ),
    "an unknown type": (
        _question(type="box"), 400, "invalid_request_error",
        'questions.a: "type" must be one of: choice, score, noul',
    ),
    "no instructions": (
        _question(instructions=None), 400, "invalid_request_error",
        'questions.a: "instructions" must be provided',
    ),
    "no options": (
        _question(type="choice", criteria={}), 400, "invalid_request_error",
        f"questions.a: {_CHOICE}",
    ),
    "one level": (
        _question(type="score", criteria=["low"]), 400, "invalid_request_error",
        'questions.a: "criteria" must be an array of 2 to 10 levels',
    ),
    "too many options": (
        _question(type="choice", criteria={f"o{n}": None for n in range(300)}), 400,
        "invalid_request_error", "questions.a: too many options (300), this model supports at most",
    ),
    "a long state": (
        {"state": "word " * 2000}, 400, "exceed_context_size_error",
        "exceeds the available context size (1024 tokens), try increasing it",
    ),
    "images": (
        {**_question(), **_IMAGES}, 501, "not_supported_error",
        "This server does not support image input for decisions.",
    ),
    "videos": ({"videos": ["x"]}, 400, "invalid_request_error", '"videos" is not supported'),
}  # fmt: skip


@pytest.mark.parametrize("case", _REFUSALS)
def test_a_request_that_the_server_refuses(decider: OpenAICompatibleProvider, case: str) -> None:
    changes, status, kind, words = _REFUSALS[case]
    code, data = ask(decider, **changes)

    error = data["error"]
    assert (code, error["code"], error["type"]) == (status, status, kind)
    assert words in error["message"]
    if kind == "exceed_context_size_error":
        assert error["n_prompt_tokens"] > error["n_ctx"] == 1024


def test_only_one_type_of_decision_model_needs_no_state(decider: OpenAICompatibleProvider) -> None:
    status, data = ask(decider, state=None)

    if decider.settings.model == "tiny-lfm2-d1":
        assert (status, list(data["answers"])) == (200, ["a"])
    else:
        assert (status, data["error"]["message"]) == (400, '"state" must be provided')


def test_a_chat_model_is_refused_before_the_body_is_read(
    chatter: OpenAICompatibleProvider,
) -> None:
    status, data = ask(chatter, state=None, questions=None)

    assert (status, data["error"]["type"]) == (501, "not_supported_error")
    assert data["error"]["message"] == "This model is not a decision model"
