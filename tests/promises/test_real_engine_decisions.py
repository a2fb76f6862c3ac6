"""Tests with a real llama.cpp server and stand-ins for decision models.

The weights are those of an ordinary chat model, so the answers mean nothing. The tests check the
form of the answers and the refusals.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Tuple

import pytest
import requests

from localproviders import CapabilityError, LocalProvider, OpenAICompatibleProvider
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine.models import RECIPES, open_model
from tests.support.decision_models import TYPES, make_decision_model

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

STATE = "I was charged twice for my order."
QUESTIONS: Dict[str, Any] = {
    "route": {
        "type": "choice",
        "instructions": "Which team should handle this?",
        "criteria": {"shipping": None, "billing": "payments and refunds", "technical": None},
    },
    "angry": {"type": "noul", "instructions": "Is the customer angry?"},
    "urgency": {
        "type": "score",
        "instructions": "How urgent is this?",
        "criteria": ["can wait", "this week", "today"],
    },
}


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


def ask(provider: OpenAICompatibleProvider, **body: Any) -> Tuple[int, Any]:
    """Send a decision request, and return the status and the JSON of the response."""
    key = provider.settings.api_key
    assert key is not None
    response = requests.post(
        f"{provider.settings.endpoint.url}/systemone",
        json={"state": STATE, "questions": QUESTIONS, **body},
        headers={"Authorization": f"Bearer {key.reveal()}"},
        timeout=120,
        proxies={"http": ""},
    )
    return response.status_code, response.json()


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


def test_the_three_kinds_of_questions_are_answered_in_order(
    decider: OpenAICompatibleProvider,
) -> None:
    status, data = ask(decider)

    assert status == 200
    assert data["model"] == decider.settings.model
    assert list(data["answers"]) == list(QUESTIONS)
    route, angry, urgency = data["answers"].values()
    assert (route["type"], angry["type"], urgency["type"]) == ("choice", "noul", "score")
    assert list(route["probabilities"]) == ["shipping", "billing", "technical"]
    assert route["choice"] == max(route["probabilities"], key=route["probabilities"].get)
    assert sum(route["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert 0 <= angry["noul"] <= 1 and "probabilities" not in angry
    assert urgency["legend"] == {"0": "can wait", "1": "this week", "2": "today"}
    shares = urgency["probabilities"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    mean = sum(int(level) * share for level, share in shares.items())
    assert urgency["score"] == pytest.approx(mean, abs=1e-6)
    assert data["usage"]["input_tokens"] > 30
    assert data["usage"]["output_tokens"] == 0


def _question(**fields: Any) -> Dict[str, Any]:
    return {"questions": {"a": {"type": "noul", "instructions": "Is it?", **fields}}}


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
        assert (status, list(data["answers"])) == (200, list(QUESTIONS))
    else:
        assert (status, data["error"]["message"]) == (400, '"state" must be provided')


def test_a_chat_model_is_refused_before_the_body_is_read(
    chatter: OpenAICompatibleProvider,
) -> None:
    status, data = ask(chatter, state=None, questions=None)

    assert (status, data["error"]["type"]) == (501, "not_supported_error")
    assert data["error"]["message"] == "This model is not a decision model"


def test_the_same_request_gets_the_same_numbers(decider: OpenAICompatibleProvider) -> None:
    assert ask(decider) == ask(decider)
