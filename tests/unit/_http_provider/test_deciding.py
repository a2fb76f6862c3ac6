"""`decide` with recorded and documented responses: routes, limits, requests, errors."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List, Tuple

import pytest

import localproviders
from localproviders import (
    CallEvent,
    CapabilityError,
    Choice,
    ConfigurationError,
    ContextOverflowError,
    Image,
    LocalityError,
    LocalProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    Score,
    UnsupportedError,
    WrongModelError,
    YesNo,
)
from localproviders._dialect.decisions import Product, RouteLimits
from localproviders.openai_compatible.wire.decisions import DECISIONS
from localproviders.testing import ScriptedServer, http_answer
from localproviders.types import Question, Usage
from tests.support.decisions import (
    PROVIDERS,
    QUESTIONS,
    STATE,
    Script,
    documented,
    errors,
    even_answers,
    load,
    question_of,
    recorded,
    recording,
)

_PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
_ASK = {"angry": "Is the customer angry?"}
_SHORTER = "shorten the state or the questions, or load the model with a larger context window"
_ANSWERED = [name for name in recorded() if recording(name).status == 200]


@contextmanager
def _serving(kind: str, answer: Any, **options: Any) -> Iterator[Tuple[Any, Script]]:
    script = Script(answer, options.pop("owner", "me"))
    make, path = PROVIDERS[kind]
    with ScriptedServer(script) as server, make(server.url + path, **options) as provider:
        yield provider, script


# --- recordings ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _ANSWERED)
def test_a_recorded_answer_reads_exactly(name: str) -> None:
    found = recording(name)
    questions = {key: question_of(data) for key, data in found.request["questions"].items()}
    model = found.request.get("model", "tiny-decider")

    with _serving("openai-compatible", found.raw, model=model) as (provider, script):
        decisions = provider.decide(found.request["state"], questions)

    path, sent = script.asked[0]
    assert (path, sent) == ("/v1/systemone", {"model": model, **found.request})
    assert decisions.model == found.body["model"]
    assert decisions.usage.prompt_tokens == found.body["usage"]["input_tokens"]
    assert list(decisions) == list(questions)
    assert bool(decisions.warnings) == (model != found.body["model"])
    for key, record in found.body["answers"].items():
        decision = decisions[key]
        assert decision.raw == record
        assert decision.source == "systemone"
        assert decision.server_confidence == record.get("confidence")
        assert sum(decision.probabilities.values()) == pytest.approx(1, abs=1e-9)
        if record["type"] == "noul":
            assert decision.probability == record["noul"]
        else:
            assert list(decision.probabilities.values()) == list(record["probabilities"].values())
        if record["type"] == "choice":
            assert decision.choice == record["choice"]
        if record["type"] == "score":
            assert decision.score == pytest.approx(record["score"], abs=1e-9)


_REFUSALS: Dict[str, str] = {
    "decisions_route_missing": "UnsupportedError",
    "systemone_method": "UnsupportedError",
    "systemone_context_overflow": "ContextOverflowError",
    "systemone_error_choice_criteria": "RequestRejectedError",
    "systemone_error_levels": "RequestRejectedError",
    "systemone_error_no_questions": "RequestRejectedError",
    "systemone_error_no_state": "RequestRejectedError",
    "systemone_error_options": "RequestRejectedError",
    "systemone_error_type": "RequestRejectedError",
    "systemone_images_unsupported": "CapabilityError",
    "systemone_not_a_decision_model": "CapabilityError",
}


def test_every_recording_is_used() -> None:
    assert {*recorded()} == {*_ANSWERED, *_REFUSALS}


@pytest.mark.parametrize("name", _REFUSALS)
def test_a_recorded_refusal_has_its_class(name: str) -> None:
    method = "decisions" if name == "decisions_route_missing" else "systemone"
    with _serving("openai-compatible", recording(name).raw, model="m") as (provider, _):
        with pytest.raises(ProviderError) as caught:
            provider.decide(STATE, _ASK, method=method)

    error = caught.value
    assert type(error).__name__ == _REFUSALS[name]
    assert STATE not in str(error)
    if isinstance(error, ContextOverflowError):
        assert (error.prompt_tokens, error.context_length) == (3018, 2048)
    is_other_way = name == "systemone_not_a_decision_model"
    assert ("logprobs" in str(error.hint)) == (is_other_way or type(error) is UnsupportedError)


# --- servers that cannot run here ---------------------------------------------------------------


@pytest.mark.parametrize("name", documented())
def test_a_documented_exchange_is_made_and_read(name: str) -> None:
    found = load(name)
    request = found["request"]
    images = [_PNG] if "iVBORw0KGgo" in json.dumps(request) else []
    state = STATE if "paid" not in json.dumps(request) else {"subject": "order", "paid": 2}
    keep_alive = request.get("keep_alive")

    with _serving(found["kind"], http_answer(found["response"])) as (provider, script):

        def ask() -> Any:
            return provider.decide(
                state,
                QUESTIONS,
                model=request["model"],
                method=found["method"],
                images=images,
                keep_alive=keep_alive,
            )

        if found["expected"] is None:
            with pytest.raises(ProtocolError) as caught:
                ask()
            assert "systemone" in str(caught.value.hint)
            return
        decisions = ask()

    assert script.asked == [(found["path"], request)]
    for key, expected in found["expected"].items():
        decision = decisions[key]
        assert decision.refused == (expected is None)
        assert decision.source == found["method"]
        assert decision.mass == found["mass"].get(key)
        assert dict(decision.probabilities) == pytest.approx(expected or {}, abs=1e-12)
    usage = found["response"].get("usage", {})
    assert decisions.usage.prompt_tokens == usage.get("input_tokens")
    assert decisions["urgency"].score == pytest.approx(1.25, abs=0.02)


_TEN: Dict[str, Question] = {
    f"question {number}": (
        YesNo(f"Is it {number}?", yes="it is" if number else None),
        Choice("Which?", {f"option {n}": None for n in range(2 + number)}),
        Score("How much?", ["none", "some", "much", "all"]),
    )[number % 3]
    for number in range(10)
}


def _numbers(name: str) -> List[float]:
    """Return the probabilities of the answers to one of the ten questions."""
    count, first = len(_TEN[name].answers), list(_TEN).index(name)
    weights = [(3 * first + 5 * index) % 7 + 1 for index in range(count)]
    return [weight / sum(weights) for weight in weights]


def _systemone(product: str) -> Any:
    """Return the response of a product to the ten questions, in its own shape."""

    def answer(body: Dict[str, Any]) -> bytes:
        extra = {"x_label_mass": 0.9} if product == "sglang" else {}
        answers = {name: {**_answer_of(name, product), **extra} for name in body["questions"]}
        made: Dict[str, Any] = {"model": body["model"], "answers": answers}
        if product == "vllm":
            made["diagnostics"] = {name: {"label_mass": 0.9} for name in answers}
        return http_answer(made)

    return answer


def _answer_of(name: str, product: str) -> Dict[str, Any]:
    question, numbers = _TEN[name], _numbers(name)
    if isinstance(question, YesNo):
        both = {"probabilities": dict(zip(("yes", "no"), numbers)), "confidence": 0.1}
        return {"type": "noul", "noul": numbers[0], **(both if product == "vllm" else {})}
    if isinstance(question, Choice):
        chosen = question.answers[numbers.index(max(numbers))]
        found = dict(sorted(zip(question.answers, numbers)))  # clef sorts them
        return {"type": "choice", "choice": chosen, "probabilities": found, "confidence": 0.2}
    levels = list(question.answers)
    return {
        "type": "score",
        "score": sum(index * share for index, share in enumerate(numbers)),
        "legend": levels if product == "pointer" else {str(i): t for i, t in enumerate(levels)},
        "probabilities": {str(index): share for index, share in enumerate(numbers)},
        "confidence": 0.3,
    }


def _decisions(body: Dict[str, Any]) -> bytes:
    """Return the response of ``/v1/decisions`` to the ten questions, in another order."""
    answers = []
    for asked in reversed(body["questions"]):
        shares, kind = _numbers(asked["name"]), asked["type"]
        given = {"type": kind, "name": asked["name"], "probability": shares[0]}
        if kind != "predicate":
            values = [each["value"] for each in asked.get("choices", ())] or range(len(shares))
            rows = [{"value": v, "probability": share} for v, share in zip(values, shares)]
            given = {"type": kind, "name": asked["name"], "probabilities": rows}
        answers.append(given)
    return http_answer({"model": body["model"], "answers": answers})


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("ollama", {"/v1/systemone": _systemone("ollama")}),
        ("ollama", {"/v1/systemone": _systemone("pointer")}),
        ("lmstudio", {"/v1/systemone": _systemone("lmstudio")}),
        ("lmstudio", {"/v1/decisions": _decisions}),
        ("openai-compatible", {"/v1/systemone": _systemone("llamacpp")}),
        ("openai-compatible", {"/v1/systemone": _systemone("vllm")}),
        ("openai-compatible", {"/v1/systemone": _systemone("sglang")}),
        ("openai-compatible", {"/v1/decisions": _decisions}),
    ],
)
@pytest.mark.parametrize("is_local", [False, True])
def test_ten_questions_have_the_same_typed_result_of_each_kind(
    kind: str, answer: Any, is_local: bool
) -> None:
    with _serving(kind, answer, model="nimble") as (provider, _):
        asked = LocalProvider([provider], model="nimble") if is_local else provider
        found = asked.decide(STATE, _TEN)

    (method,) = (path.rpartition("/")[2] for path in answer)
    assert list(found) == list(_TEN)
    for name, question in _TEN.items():
        decision, numbers = found[name], _numbers(name)
        assert (decision.name, decision.kind, decision.refused) == (name, question.kind, False)
        assert decision.source == method
        assert list(decision.probabilities) == list(question.answers)
        assert list(decision.probabilities.values()) == pytest.approx(numbers, abs=1e-12)
        first, second = sorted(numbers)[-1], sorted(numbers)[-2]
        assert decision.confidence == pytest.approx(first - second, abs=1e-12)
        answers = {
            "yes_no": numbers[0] >= 0.5,
            "choice": question.answers[numbers.index(first)],
            "score": pytest.approx(sum(i * p for i, p in enumerate(numbers)), abs=1e-12),
        }
        assert decision.answer == answers[question.kind]


@pytest.mark.parametrize("case", errors(), ids=lambda case: f"{case['kind']}-{case['status']}")
def test_a_documented_error_has_its_class(case: Dict[str, Any]) -> None:
    answer = http_answer(case["body"], status=f"{case['status']} Status")
    with _serving(case["kind"], answer, model="nimble") as (provider, _):
        with pytest.raises(ProviderError) as caught:
            provider.decide(STATE, _ASK, method="systemone")

    error = caught.value
    assert type(error).__name__ == case["error"]
    assert ("logprobs" in str(error.hint)) == bool(case.get("other_way") or case.get("missing")), (
        error.hint
    )
    if case["error"] == "ContextOverflowError":
        assert error.hint == _SHORTER
    if "prompt_tokens" in case:
        assert isinstance(error, ContextOverflowError)
        numbers = (error.prompt_tokens, error.context_length)
        assert numbers == (case["prompt_tokens"], case["context_length"])


# --- routes -----------------------------------------------------------------------------------


def test_the_second_route_is_used_where_the_first_is_missing_and_that_is_remembered() -> None:
    answer = http_answer(load("openai_decisions")["response"])
    with _serving("openai-compatible", {"/v1/decisions": answer}, model="gpt-6-luna") as (
        provider,
        script,
    ):
        decisions = [provider.decide(STATE, QUESTIONS) for _ in range(2)]

    assert [each["angry"].source for each in decisions] == ["decisions", "decisions"]
    paths = [path for path, _ in script.asked]
    assert paths == ["/v1/systemone", "/v1/decisions", "/v1/decisions"]
    assert script.listed == 1


@pytest.mark.parametrize("method", [None, "decisions"])
def test_the_private_route_of_sglang_is_told_apart_before_sending(method: Any) -> None:
    private = http_answer(load("sglang_decisions")["response"])
    with _serving("openai-compatible", {"/v1/decisions": private}, owner="sglang") as (
        provider,
        script,
    ):
        with pytest.raises(ProviderError) as caught:
            provider.decide(STATE, _ASK, model="qwen3", method=method)

    if method is not None:
        assert caught.value.status is None  # no request has had a status
    assert "/v1/decisions" not in [path for path, _ in script.asked]


def test_a_method_that_the_kind_does_not_have_is_unsupported_before_sending() -> None:
    with _serving("ollama", b"", model="nimble") as (provider, script):
        with pytest.raises(UnsupportedError, match="method='decisions'") as caught:
            provider.decide(STATE, _ASK, method="decisions")
    assert caught.value.hint == 'pass method="systemone" or "logprobs"'
    assert script.asked == []


def test_lm_studio_without_the_routes_is_unsupported() -> None:
    unexpected = http_answer({"error": "Unexpected endpoint or method. (POST /v1/systemone)"})
    with _serving("lmstudio", unexpected, model="decider") as (provider, script):
        with pytest.raises(UnsupportedError):
            provider.decide(STATE, _ASK, method="systemone")
    assert len(script.asked) == 1


@pytest.mark.parametrize("method", [None, "systemone"])
def test_a_server_that_is_too_old_for_the_model_has_the_route(method: Any) -> None:
    """The request is not sent again as a chat, and the error keeps the server's reason."""
    old = http_answer({"error": "this model needs a newer version of ollama"}, status="412 Old")
    with _serving("ollama", old, model="nimble") as (provider, script):
        with pytest.raises(UnsupportedError, match="newer version"):
            provider.decide(STATE, _ASK, method=method)
    assert [path for path, _ in script.asked] == ["/v1/systemone"]


# --- limits -----------------------------------------------------------------------------------


def _many(count: int) -> Dict[str, Any]:
    return {f"q{number}": "Is it?" for number in range(count)}


@pytest.mark.parametrize(
    ("kind", "owner", "requests"),
    [
        ("ollama", "", [64, 64, 2]),
        ("lmstudio", "", [64, 64, 2]),
        ("openai-compatible", "me", [64, 64, 2]),
        ("openai-compatible", "vllm", [64, 64, 2]),
        ("openai-compatible", "llamacpp", [130]),
    ],
)
def test_the_questions_go_out_in_as_few_requests_as_the_server_takes(
    kind: str, owner: str, requests: List[int]
) -> None:
    with _serving(kind, even_answers, model="nimble", owner=owner) as (provider, script):
        decisions = provider.decide(STATE, _many(130))

    assert [len(body["questions"]) for _, body in script.asked] == requests
    assert list(decisions) == list(_many(130))
    assert decisions.usage.prompt_tokens == 650


_TOO_MANY: List[Tuple[str, str, Dict[str, Any], str]] = [
    ("ollama", "", {"a": [str(n) for n in range(27)]}, "question 1 has 27 options"),
    ("ollama", "", {"a": "q", "b": Score("q", [str(n) for n in range(27)])}, "question 2 has 27"),
    ("openai-compatible", "me", {"a": Score("q", [str(n) for n in range(11)])}, "11 levels"),
    ("openai-compatible", "me", {"a": [str(n) for n in range(256)]}, "256 options"),
    ("openai-compatible", "vllm", {"a": [str(n) for n in range(27)]}, "27 options"),
    ("openai-compatible", "library", {"a": [str(n) for n in range(27)]}, "27 options"),
]


@pytest.mark.parametrize(
    ("most", "most_of_product", "count", "listed"),
    [
        (None, None, 1, 0),
        (None, None, 500, 0),
        (None, 64, 64, 0),
        (None, 64, 65, 1),
        (64, None, 64, 0),
        (64, None, 65, 1),
        (400, 64, 65, 1),
    ],
)
def test_the_product_is_asked_for_only_if_the_number_of_questions_may_exceed_a_limit(
    most: Any, most_of_product: Any, count: int, listed: int
) -> None:
    class Provider(OpenAICompatibleProvider):
        """A provider whose route and whose only known product have these limits."""

        _decision_wire = SimpleNamespace(
            DECISIONS=DECISIONS._replace(
                routes=(DECISIONS.routes[0]._replace(limits=RouteLimits(most)),),
                products={"llamacpp": Product(RouteLimits(most_of_product))},
            )
        )

    script = Script(even_answers, "llamacpp")
    with ScriptedServer(script) as server, Provider(server.url + "/v1", model="nimble") as provider:
        provider.decide("s", _many(count))
    assert script.listed == listed


@pytest.mark.parametrize(("kind", "owner", "questions", "message"), _TOO_MANY)
def test_more_than_the_server_takes_is_refused_before_sending(
    kind: str, owner: str, questions: Dict[str, Any], message: str
) -> None:
    with _serving(kind, even_answers, model="nimble", owner=owner) as (provider, script):
        with pytest.raises(UnsupportedError, match=message):
            provider.decide(STATE, questions)
    assert script.asked == []


@pytest.mark.parametrize(
    ("owner", "count"), [("vllm", 1), ("sglang", 1), ("llamacpp", 9), ("library", 1)]
)
def test_images_are_refused_where_the_server_takes_none_or_fewer(owner: str, count: int) -> None:
    with _serving("openai-compatible", even_answers, model="m", owner=owner) as (provider, script):
        with pytest.raises(UnsupportedError, match="image"):
            provider.decide(STATE, _ASK, images=[_PNG] * count)
    assert script.asked == []


@pytest.mark.parametrize("kind", ["lmstudio", "openai-compatible"])
def test_keep_alive_is_refused_where_it_cannot_be_sent(kind: str) -> None:
    with _serving(kind, even_answers, model="m") as (provider, script):
        for keep_alive in ("10m", 0):
            with pytest.raises(UnsupportedError, match="keep_alive"):
                provider.decide(STATE, _ASK, keep_alive=keep_alive)
    assert script.asked == []


def test_a_small_mass_is_refused_and_told() -> None:
    found = load("vllm_systemone")
    with _serving("openai-compatible", http_answer(found["response"]), model="qwen3") as (
        provider,
        _,
    ):
        with pytest.raises(CapabilityError, match=r"question 3 have a total .* 0\.75") as caught:
            provider.decide(STATE, QUESTIONS, min_mass=0.8)
        decisions = provider.decide(STATE, QUESTIONS, min_mass=0.75)

    assert caught.value.mass == 0.75
    assert decisions["urgency"].mass == 0.75


# --- the answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"answers": {}},
        {"answers": []},
        {"answers": {"angry": {"type": "box", "box": {}}}},
        {"answers": {"angry": {"type": "noul", "noul": None}}},
        {"answers": {"angry": 0.5}},
        {"no": "answers"},
    ],
)
def test_a_response_without_the_answer_is_an_error(change: Dict[str, Any]) -> None:
    with _serving("ollama", http_answer({"model": "nimble", **change}), model="nimble") as (p, _):
        with pytest.raises(ProtocolError):
            p.decide(STATE, _ASK)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [{"type": "predicate", "name": "sad", "probability": 0.5}],
        [{"type": "choice", "name": "angry", "choice": "a", "probabilities": []}],
    ],
)
def test_a_list_without_the_answer_is_an_error(answers: List[Any]) -> None:
    answer = http_answer({"model": "m", "answers": answers})
    with _serving("lmstudio", answer, model="m") as (provider, _):
        with pytest.raises(ProtocolError):
            provider.decide(STATE, _ASK, method="decisions")


def test_answers_without_names_have_the_order_of_the_questions() -> None:
    answers = [{"type": "predicate", "name": None, "probability": p} for p in (0.25, 0.75)]
    with _serving("lmstudio", http_answer({"model": "m", "answers": answers}), model="m") as (
        provider,
        _,
    ):
        decisions = provider.decide(STATE, {"a": "q", "b": "r"}, method="decisions")
    assert [each.probability for each in decisions.values()] == [0.25, 0.75]


def test_another_model_is_an_error_on_ollama_and_a_warning_elsewhere() -> None:
    answer = http_answer({"model": "other", "answers": {"angry": {"type": "noul", "noul": 0.5}}})
    with _serving("ollama", answer, model="nimble") as (provider, _):
        with pytest.raises(WrongModelError):
            provider.decide(STATE, _ASK)
    with _serving("openai-compatible", answer, model="nimble") as (provider, _):
        assert "other" in provider.decide(STATE, _ASK).warnings[0]


@pytest.mark.parametrize("kind", ["ollama", "lmstudio"])
def test_the_hint_about_another_model_names_no_argument_that_decide_lacks(kind: str) -> None:
    answer = {"model": "other", "answers": {"angry": {"type": "noul", "noul": 0.5}}}
    with _serving(kind, http_answer(answer), model="nimble") as (provider, _):
        with pytest.raises(WrongModelError) as caught:
            provider.decide(STATE, _ASK)
    assert "allow_other_model" not in str(caught.value.hint)


def test_the_result_has_its_facts() -> None:
    events: List[CallEvent] = []
    with _serving("ollama", even_answers, model="nimble", listeners=[events.append]) as (p, _):
        decisions = p.decide(STATE, {**QUESTIONS})

    assert decisions.provider == "ollama"
    assert decisions.endpoint == p.settings.endpoint.url
    assert decisions.usage == Usage(prompt_tokens=15, completion_tokens=0)
    assert decisions.timings.total_s is not None
    assert [event.operation for event in events] == ["decide"] * len(events)
    assert [events[0].kind, events[-1].kind] == ["started", "finished"]
    assert {event.task for event in events} == {"decision"}
    assert events[-1].prompt_tokens == 15


def test_every_call_finds_its_verb_in_the_top_package() -> None:
    for name in ("YesNo", "Choice", "Score", "Decisions"):
        assert name in localproviders.__all__


# --- locality ------------------------------------------------------------------------------------


def test_a_cloud_model_needs_the_widest_locality() -> None:
    with _serving("ollama", even_answers) as (provider, script):
        with pytest.raises(LocalityError, match="cloud"):
            provider.decide(STATE, _ASK, model="nimble:671b-cloud")
        with pytest.raises(LocalityError, match="cloud"):
            provider.decide_many([STATE], _ASK, model="nimble:671b-cloud")
    assert script.asked == []


def test_an_answer_from_another_host_is_refused() -> None:
    answers = {"angry": {"type": "noul", "noul": 0.5}}
    answer = http_answer(
        {"model": "nimble", "remote_host": "https://x.example", "answers": answers}
    )
    with _serving("ollama", answer, model="nimble") as (provider, _):
        with pytest.raises(LocalityError):
            provider.decide(STATE, _ASK)


@pytest.mark.parametrize("make", [OllamaProvider, OpenAICompatibleProvider])
def test_an_address_outside_the_locality_is_refused_in_the_call_of_decide_many(make: Any) -> None:
    with make("http://192.0.2.1:9/v1", model="m") as provider:
        with pytest.raises(LocalityError, match=r"192\.0\.2\.1"):
            provider.decide_many([STATE], _ASK)


def test_no_error_quotes_the_state_or_the_questions() -> None:
    said = f"cannot decide: {STATE} Is the customer angry? shipping 'Ada Lovelace'"
    answer = http_answer({"error": said}, status="400 Bad Request")
    with _serving("ollama", answer, model="nimble") as (provider, _):
        with pytest.raises(ProviderError) as caught:
            provider.decide(
                {"mail": [STATE, {"Ada Lovelace": 1}]},
                {"a": YesNo("Is the customer angry?"), "b": Choice("x", ["shipping", "y"])},
            )

    error = caught.value
    for text in (STATE, "Is the customer angry?", "shipping", "Ada"):
        assert text not in f"{error} {error.server_message}"


@pytest.mark.parametrize("kind", PROVIDERS)
def test_no_error_of_a_text_that_cannot_be_sent_shows_a_name(kind: str) -> None:
    with _serving(kind, even_answers, model="nimble") as (provider, _):
        for state, questions in [
            ({"Ada": "\ud800"}, _ASK),
            ({"Ada": [{"\ud800": 1}]}, _ASK),
            (STATE, {"Ada": Choice("q", ["\ud800", "b"])}),
        ]:
            with pytest.raises(ConfigurationError, match=r"^(state|questions) has half") as caught:
                provider.decide(state, questions)
            assert "Ada" not in str(caught.value)
