"""Decisions of the fake servers: answers, checks and refusals are those of the real servers."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Tuple

import pytest
import requests

from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    Reply,
)
from localproviders.testing.decisions import entropy_confidence, published_confidence
from localproviders.testing.faults import FAULTS
from localproviders.testing.faults.decisions import DECISION_FAULTS

_MODELS = (
    FakeModel(name="decider", abilities=("decision",), loaded=True),
    FakeModel(name="seer", abilities=("decision", "vision")),
    FakeModel(name="chat"),
)
_STATE = "I was charged twice for my order."
_QUESTIONS: Dict[str, Any] = {
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
_OPENAI_QUESTIONS = [
    {
        "type": "choice",
        "name": "route",
        "instructions": "Which team should handle this?",
        "choices": [{"value": "shipping"}, {"value": "billing"}, {"value": "technical"}],
    },
    {"type": "predicate", "name": "angry", "instructions": "Is the customer angry?"},
    {
        "type": "score",
        "name": "urgency",
        "instructions": "How urgent is this?",
        "levels": [{"label": "can wait"}, {"label": "this week"}, {"label": "today"}],
    },
]
#: The probabilities and confidences of the recording `systemone_mixed` of llama.cpp.
_ROUTE = (0.8470028915069172, 0.05054635239441186, 0.10245075609867084)
_ANGRY = 0.982647002891295
_URGENCY = (0.47288115060060465, 0.12770086450991644, 0.3994179848894788)
_RECORDED = Reply(
    decisions={
        "route": dict(zip(("shipping", "billing", "technical"), _ROUTE)),
        "angry": _ANGRY,
        "urgency": _URGENCY,
    }
)


@pytest.fixture(params=[FakeOllama, FakeOpenAICompatible, FakeLMStudio])
def fake(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param(_MODELS) as server:
        yield server


@pytest.fixture
def llama_cpp() -> Iterator[FakeOpenAICompatible]:
    with FakeOpenAICompatible(_MODELS) as server:
        server.decision_routes = ("/v1/systemone", "/v1/decisions")
        yield server


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama(_MODELS) as server:
        yield server


def _ask(server: Any, **fields: Any) -> Tuple[int, Any]:
    """Send a request of System One; a field that is `...` is left out."""
    body = {"model": "decider", "state": _STATE, "questions": _QUESTIONS, **fields}
    return _post(server, "/v1/systemone", body)


def _ask_openai(server: Any, **fields: Any) -> Tuple[int, Any]:
    body = {"model": "decider", "input": _STATE, "questions": _OPENAI_QUESTIONS, **fields}
    return _post(server, "/v1/decisions", body)


def _post(server: Any, path: str, body: Dict[str, Any]) -> Tuple[int, Any]:
    sent = {name: value for name, value in body.items() if value is not ...}
    answer = requests.post(server.url + path, json=sent, timeout=5)
    return answer.status_code, answer.json()


def _error(server: Any, **fields: Any) -> str:
    """Return the text of the refusal of a request, which has status 400."""
    status, body = _ask(server, **fields)
    assert status == 400
    error = body["error"]
    return error if isinstance(error, str) else error["message"]


def _question(**fields: Any) -> Dict[str, Any]:
    return {"a": {"type": "noul", "instructions": "q", **fields}}


# --- answers --------------------------------------------------------------------------------


def test_llama_cpp_answers_as_recorded(llama_cpp: FakeOpenAICompatible) -> None:
    llama_cpp.reply_with(_RECORDED)
    status, body = _ask(llama_cpp)
    assert status == 200
    assert list(body) == ["model", "answers", "usage"]
    assert list(body["answers"]) == ["route", "angry", "urgency"]
    route, angry, urgency = body["answers"].values()
    assert route == {
        "type": "choice",
        "choice": "shipping",
        "probabilities": {"shipping": _ROUTE[0], "billing": _ROUTE[1], "technical": _ROUTE[2]},
        "confidence": pytest.approx(0.7705043372603758, abs=1e-12),
    }
    assert angry == {"type": "noul", "noul": _ANGRY}
    assert urgency == {
        "type": "score",
        "score": pytest.approx(0.9265368342888741, abs=1e-12),
        "legend": {"0": "can wait", "1": "this week", "2": "today"},
        "probabilities": dict(zip("012", _URGENCY)),
        "confidence": 0.0,
    }
    assert body["usage"]["output_tokens"] == 0


def test_each_server_has_its_own_confidence(fake: Any) -> None:
    fake.reply_with(Reply(decisions={"route": [0.5, 0.25, 0.25]}))
    route = _ask(fake)[1]["answers"]["route"]
    expected = 0.05360536 if isinstance(fake, FakeOllama) else 0.25
    assert route["confidence"] == pytest.approx(expected, abs=1e-6)


def test_the_formulas_of_the_confidence() -> None:
    assert published_confidence("choice", [1.0]) == 1.0
    assert published_confidence("score", [0.0, 1.0, 0.0]) == 1.0
    assert published_confidence("score", [0.25, 0.5, 0.25]) == pytest.approx(0.25)
    assert entropy_confidence("choice", [0.0, 1.0]) == 1.0
    assert entropy_confidence("score", [0.5, 0.5]) == 0.0


def test_openais_dialect_has_lists_in_the_order_of_the_questions(
    llama_cpp: FakeOpenAICompatible,
) -> None:
    llama_cpp.reply_with(_RECORDED)
    status, body = _ask_openai(llama_cpp)
    assert status == 200
    route, angry, urgency = body["answers"]
    assert (route["type"], route["name"], route["choice"]) == ("choice", "route", "shipping")
    assert route["probabilities"][1] == {"value": "billing", "probability": _ROUTE[1]}
    assert angry == {"type": "predicate", "name": "angry", "probability": _ANGRY}
    assert urgency["probabilities"][2] == {"value": 2, "label": "today", "probability": _URGENCY[2]}
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] > 0


def test_a_question_without_a_script_has_fixed_probabilities_that_sum_to_one(fake: Any) -> None:
    first, second = _ask(fake)[1], _ask(fake)[1]
    assert first == second
    for name in ("route", "urgency"):
        assert sum(first["answers"][name]["probabilities"].values()) == pytest.approx(1.0)
    assert 0 < first["answers"]["angry"]["noul"] < 1
    assert _ask(fake, state="Thank you.")[1]["answers"] != first["answers"]


def test_one_question_can_be_refused_in_openais_dialect(llama_cpp: FakeOpenAICompatible) -> None:
    llama_cpp.reply_with(Reply(decisions={"angry": None}))
    answers = _ask_openai(llama_cpp)[1]["answers"]
    assert answers[1] == {"type": "refusal", "name": "angry"}
    assert [answer["type"] for answer in answers] == ["choice", "refusal", "score"]


def test_choices_of_openais_dialect_may_be_booleans(llama_cpp: FakeOpenAICompatible) -> None:
    choices = [{"value": True}, {"value": "true"}, {"value": False}]
    question = {"type": "choice", "instructions": "q", "choices": choices}
    (answer,) = _ask_openai(llama_cpp, questions=[question])[1]["answers"]
    assert [row["value"] for row in answer["probabilities"]] == [True, "true", False]
    assert answer["name"] is None


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        ({"angry": None}, "only OpenAI's dialect"),
        ({"route": {"shipping": 1.0}}, "whose options are"),
        ({"urgency": [0.5, 0.5]}, "whose options are"),
        ({"route": 0.5}, "whose options are"),
    ],
)
def test_a_script_that_does_not_fit_fails_the_test(decisions: Any, words: str) -> None:
    server = FakeOpenAICompatible(_MODELS)
    with pytest.raises(ValueError, match=words), server:
        server.reply_with(Reply(decisions=decisions))
        assert _ask(server)[0] == 500


def test_functions_and_refusals_answer_decisions_too(fake: Any) -> None:
    fake.reply_with(
        lambda exchange: Reply(decisions={"angry": 0.25 if exchange.json["state"] else 0}),
        Refusal(status="503 Service Unavailable", body={"error": "busy"}),
        Reply(model="another"),
    )
    assert _ask(fake)[1]["answers"]["angry"] == {"type": "noul", "noul": 0.25}
    assert _ask(fake)[0] == 503
    assert _ask(fake)[1]["model"] == "another"


# --- checks ---------------------------------------------------------------------------------

_MANY = {f"o{at}": None for at in range(53)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": ...}, '"state" must be provided'),
        ({"state": None}, '"state" must be provided'),
        ({"questions": ...}, '"questions" must be a non-empty object'),
        ({"questions": []}, '"questions" must be a non-empty object'),
        ({"questions": {}}, '"questions" must be a non-empty object'),
        ({"questions": {"a": 1}}, "questions.a: must be an object"),
        (
            {"questions": _question(instructions=None)},
            'questions.a: "instructions" must be provided',
        ),
        (
            {"questions": _question(type="boolean")},
            'questions.a: "type" must be one of: choice, score, noul',
        ),
        (
            {"questions": _question(type="choice", criteria=["a", "b"])},
            'questions.a: "criteria" must be a non-empty object',
        ),
        (
            {"questions": _question(type="score", criteria=["one"])},
            'questions.a: "criteria" must be an array of 2 to 10 levels',
        ),
        ({"questions": _question(criteria=[])}, 'questions.a: "criteria" must be an object'),
        (
            {"questions": _question(type="choice", criteria=_MANY)},
            "questions.a: too many options (53), this model supports at most 52",
        ),
        ({"images": "x"}, '"images" must be an array'),
        (
            {"images": ["aGk="]},
            "images must be data URLs (data:image/...;base64,... or data:audio/...;base64,...)",
        ),
        ({"files": ["data:image/png;base64,"] * 9}, "too many images, the maximum is 8"),
        ({"videos": ["x"]}, '"videos" is not supported'),
    ],
)
def test_llama_cpps_refusals(
    llama_cpp: FakeOpenAICompatible, fields: Dict[str, Any], words: str
) -> None:
    assert _error(llama_cpp, **fields) == words


@pytest.mark.parametrize(
    "fields",
    [
        {"state": 7},
        {"state": ""},
        {"state": {"messages": [{"role": "user", "content": "Hi"}]}},
        {"questions": _question(criteria=None)},
        {"questions": _question(instructions="")},
        {"questions": _question(type="choice", criteria={"only": None})},
        {"questions": _question(type="score", criteria=["a", None])},
        {"images": [], "stream": True, "keep_alive": "soon", "nonsense": 1},
        {"model": "nope"},
        {"model": ...},
    ],
)
def test_what_llama_cpp_accepts(llama_cpp: FakeOpenAICompatible, fields: Dict[str, Any]) -> None:
    status, body = _ask(llama_cpp, **fields)
    assert (status, body["model"]) == (200, "decider")


def test_llama_cpp_refuses_images_without_a_projector(llama_cpp: FakeOpenAICompatible) -> None:
    image = "data:image/png;base64,aGk="
    part = {"type": "image_url", "image_url": {"url": image}}
    chat = [{"role": "user", "content": [part]}]
    for fields in ({"images": [image]}, {"state": chat}, {"state": {"messages": chat}}):
        status, body = _ask(llama_cpp, **fields)
        assert (status, body["error"]["type"]) == (501, "not_supported_error")
        assert body["error"]["message"].startswith("This server does not support image input")
        assert _ask(llama_cpp, model="seer", **fields)[0] == 200


def test_a_chat_model_is_refused_before_the_body_is_read() -> None:
    with FakeOpenAICompatible(["chat"]) as server:
        answer = requests.post(server.url + "/v1/systemone", data=b"nonsense", timeout=5)
    assert answer.status_code == 501
    error = {
        "code": 501,
        "message": "This model is not a decision model",
        "type": "not_supported_error",
    }
    assert answer.json() == {"error": error}


def test_llama_cpp_refuses_what_is_not_json(llama_cpp: FakeOpenAICompatible) -> None:
    answer = requests.post(llama_cpp.url + "/v1/systemone", data=b"nonsense", timeout=5)
    assert answer.status_code == 400
    assert "parse_error.101" in answer.json()["error"]["message"]


def test_llama_cpp_tells_a_context_overflow(llama_cpp: FakeOpenAICompatible) -> None:
    status, body = _ask(llama_cpp, state="word " * 5000)
    assert (status, body["error"]["type"]) == (400, "exceed_context_size_error")
    assert body["error"]["n_ctx"] == 4096 < body["error"]["n_prompt_tokens"]


def test_llama_cpp_answers_other_methods_and_old_servers_with_404(
    llama_cpp: FakeOpenAICompatible,
) -> None:
    answer = requests.get(llama_cpp.url + "/v1/systemone", timeout=5)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "File Not Found")
    llama_cpp.decision_routes = ()
    assert _ask(llama_cpp)[0] == _ask_openai(llama_cpp)[0] == 404


def test_llama_cpp_lists_a_decision_model_and_lets_it_chat(llama_cpp: FakeOpenAICompatible) -> None:
    rows = requests.get(llama_cpp.url + "/v1/models", timeout=5).json()["data"]
    assert [row["architecture"] for row in rows] == [
        {"input_modalities": ["text"], "output_modalities": ["decisions"]},
        {"input_modalities": ["text", "image"], "output_modalities": ["decisions"]},
        {"input_modalities": ["text"], "output_modalities": ["text"]},
    ]
    body: Any = {"model": "decider", "messages": [{"role": "user", "content": "Hi"}]}
    assert _post(llama_cpp, "/v1/chat/completions", body)[1]["model"] == "decider"
    body["model"] = "nope"
    assert _post(llama_cpp, "/v1/chat/completions", body)[1]["model"] == "chat"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": " "}, "model is required"),
        ({"model": ...}, "model is required"),
        ({"model": "chat"}, '"chat" does not support decision'),
        ({"state": ...}, "state: must be a string, object, or array"),
        ({"state": 7}, "state: must be a string, object, or array"),
        ({"state": " "}, "state must not be empty"),
        ({"questions": {}}, "questions must contain 1–64 fields"),
        (
            {"questions": {f"q{at}": {} for at in range(65)}},
            "questions must contain 1–64 fields",
        ),
        ({"questions": {" ": {}}}, 'question " ": field name must not be empty'),
        ({"images": ["aGk="]}, "this decision model does not support images"),
        (
            {"model": "seer", "images": ["data:image/png;base64,aGk="]},
            "illegal base64 data at input byte 4",
        ),
        ({"videos": ["x"]}, "video inputs are not supported"),
        ({"keep_alive": "soon"}, 'time: invalid duration "soon"'),
        ({"questions": _question(type="x")}, 'question "a": type must be choice, noul, or score'),
        *(
            (
                {"questions": _question(instructions=text)},
                'question "a": instructions must be a nonempty string, object, or array',
            )
            for text in ("", None, 7)
        ),
        *(
            (
                {"questions": _question(criteria=given)},
                'question "a": noul criteria must be an object of true/false descriptions',
            )
            for given in (None, [], {"true": 1})
        ),
        (
            {"questions": _question(criteria={"true": None})},
            'question "a": noul descriptions must be strings',
        ),
        (
            {"questions": _question(criteria={"yes": "y"})},
            'question "a": unknown noul criterion "yes"',
        ),
        (
            {"questions": _question(type="choice", criteria=["a", "b"])},
            'question "a": choice criteria must map option keys to descriptions or null',
        ),
        (
            {"questions": _question(type="choice", criteria={"a": None, " ": None})},
            'question "a": choice keys must not be empty',
        ),
        (
            {"questions": _question(type="choice", criteria={"a": None})},
            'question "a": criteria must contain 2–26 candidates',
        ),
        (
            {"questions": _question(type="score", criteria={"a": "b"})},
            'question "a": score criteria must be an array of descriptions',
        ),
        (
            {"questions": _question(type="score", criteria=["a", None])},
            'question "a": score descriptions must be strings',
        ),
        (
            {"questions": _question(type="score", criteria=["x"] * 27)},
            'question "a": criteria must contain 2–26 candidates',
        ),
    ],
)
def test_ollamas_refusals(ollama: FakeOllama, fields: Dict[str, Any], words: str) -> None:
    assert _ask(ollama, **fields) == (400, {"error": words})


def test_ollamas_other_statuses(ollama: FakeOllama) -> None:
    missing = {"error": 'model "nope" not found, try pulling it first'}
    assert _ask(ollama, model="nope") == (404, missing)
    assert _ask(ollama, state="x" * 70_000)[0] == 413
    words = "prompt 0 has 5008 tokens; expected 1–4096 (input is never truncated)"
    assert _ask(ollama, state="word " * 5000)[1] == {"error": words}
    ollama.decision_routes = ()
    answer = requests.post(ollama.url + "/v1/systemone", json={}, timeout=5)
    assert (answer.status_code, answer.text) == (404, "404 page not found")


def test_ollama_keeps_a_decision_model_loaded_and_lists_its_only_ability(
    ollama: FakeOllama,
) -> None:
    assert _ask(ollama, model="seer", images=["aGk="], keep_alive="5m")[0] == 200
    assert "seer" in ollama.loaded
    _ask(ollama, model="seer", keep_alive=0)
    requests.get(ollama.url + "/api/ps", timeout=5)
    assert "seer" not in ollama.loaded
    rows = requests.get(ollama.url + "/api/tags", timeout=5).json()["models"]
    assert rows[0]["capabilities"] == ["decision"]
    body: Any = {"model": "decider", "messages": [{"role": "user", "content": "Hi"}]}
    assert _post(ollama, "/api/chat", body) == (
        400,
        {"error": '"decider" does not support chat'},
    )


def test_ollamas_clef_models_accept_more() -> None:
    with FakeOllama(["clef"]) as server:
        assert server.models[0].abilities == ("decision",)
        assert (
            _ask(server, model="clef", state=7, questions={"Is it late?": {"type": "noul"}})[0]
            == 200
        )


def test_lmstudio_has_both_routes_and_its_own_refusals() -> None:
    with FakeLMStudio(_MODELS) as server:
        assert _ask(server)[0] == _ask_openai(server)[0] == 200
        assert _ask(server, model="chat") == (400, {"error": "Model is not a decision model"})
        assert _ask(server, state=...)[1] == {"error": '"state" must be provided'}
        image = {"type": "input_image", "image_url": "http://127.0.0.1/a.png"}
        content = [{"role": "user", "content": [image]}]
        assert _ask_openai(server, input=content)[0] == 400
        image["image_url"] = "data:image/png;base64,aGk="
        refused = (400, {"error": "Model does not support images"})
        assert _ask_openai(server, input=content) == refused
        assert _ask(server, images=[image["image_url"]]) == refused
        assert _ask_openai(server, model="seer", input=content)[0] == 200
        server.generation = "0.3"
        assert "Unexpected endpoint" in _ask(server)[1]["error"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ...}, "model", "missing_required_parameter"),
        ({"model": "chat"}, "model", "unsupported_model"),
        ({"input": ...}, "input", "missing_required_parameter"),
        ({"input": 7}, "input", "invalid_type"),
        ({"questions": {}}, "questions", "invalid_type"),
        ({"questions": []}, "questions", "array_below_min_length"),
        ({"questions": [{}] * 401}, "questions", "array_above_max_length"),
        ({"questions": [7]}, "questions[0]", "invalid_type"),
        (
            {"questions": [{"type": "predicate"}]},
            "questions[0].instructions",
            "missing_required_parameter",
        ),
        (
            {"questions": [{"type": "noul", "instructions": "q"}]},
            "questions[0].type",
            "invalid_value",
        ),
        (
            {"questions": [{"type": "predicate", "instructions": "q", "name": 7}]},
            "questions[0].name",
            "invalid_type",
        ),
        (
            {"questions": [{"type": "choice", "instructions": "q"}]},
            "questions[0].choices",
            "missing_required_parameter",
        ),
        (
            {"questions": [{"type": "score", "instructions": "q", "levels": [{"label": "a"}]}]},
            "questions[0].levels",
            "array_below_min_length",
        ),
        (
            {"questions": [{"type": "score", "instructions": "q", "levels": ["a", "b"]}]},
            "questions[0].levels[0].label",
            "invalid_type",
        ),
        (
            {"questions": [{**_OPENAI_QUESTIONS[0], "choices": [{"value": "a"}] * 2}]},
            "questions[0].choices",
            "invalid_value",
        ),
    ],
)
def test_openais_refusals(
    llama_cpp: FakeOpenAICompatible, fields: Dict[str, Any], param: str, code: str
) -> None:
    status, body = _ask_openai(llama_cpp, **fields)
    assert status == 400
    error = body["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


# --- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", DECISION_FAULTS, ids=str)
def test_each_fault_of_decisions_changes_the_answer(
    llama_cpp: FakeOpenAICompatible, fault: Any
) -> None:
    asks = {"systemone": ("/v1/systemone", _ask), "decisions": ("/v1/decisions", _ask_openai)}
    for kind in fault.kinds:
        path, ask = asks[kind]
        good = ask(llama_cpp)[1]
        llama_cpp.break_next(fault)
        answer = requests.post(llama_cpp.url + path, data=llama_cpp.exchanges[-1].body, timeout=5)
        assert json.dumps(answer.json()) != json.dumps(good)
        assert ask(llama_cpp)[1] == good


def test_the_faults_of_bodies_apply_to_decisions(fake: Any) -> None:
    names = {fault.name for fault in FAULTS if "systemone" in fault.kinds}
    assert {"body cut", "not JSON", "status 503 with HTML", "a missing option"} <= names
    fake.break_next("not JSON", path="/v1/systemone")
    body = {"model": "decider", "state": _STATE, "questions": _QUESTIONS}
    answer = requests.post(fake.url + "/v1/systemone", json=body, timeout=5)
    assert answer.text == "<<<hello>>>"
