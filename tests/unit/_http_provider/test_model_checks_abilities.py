"""A request for an ability that the model is known to lack is refused before it is sent."""

from __future__ import annotations

import pickle
from typing import Any, Dict, List

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    CapabilityError,
    CompletionRequest,
    Image,
    LimitError,
    LMStudioProvider,
    LocalityError,
    Message,
    ModelNotFoundError,
    OllamaProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
    Tool,
    UnreachableError,
)
from localproviders._http_provider.model_checks import CapabilityCheck, needs_of
from localproviders.capabilities import Evidence, detect, lacks
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    Refusal,
    ScriptedServer,
    http_answer,
)
from localproviders.types.models import CapabilityEvidence, ModelCapabilities
from tests.support.fake_time import FakeTime

SECRET = "Mr Smith of Harrow"
TOOL = Tool(name="f")
PICTURE = Message.user(SECRET, images=[Image.from_bytes(b"\x89PNG\r\n\x1a\nrest")])
ONCE = RetryPolicy(attempts=1)

MODELS = [
    FakeModel(name="plain", abilities=("chat", "completion")),
    FakeModel(name="able", abilities=("chat", "completion", "tools", "vision", "thinking")),
    FakeModel(name="stub", abilities=("chat", "tools", "vision"), remote_host="https://x"),
    FakeModel(name="vectors", abilities=("embeddings",)),
]

# --- what is needed, and what is sure -----------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"messages": (Message.user("a"),)}, ()),
        ({"messages": (Message.user("a"),), "response_schema": {}, "max_tokens": 5}, ()),
        ({"messages": (Message.user("a"),), "thinking": False}, ()),
        ({"messages": (Message.user("a"),), "thinking": "none"}, ()),
        ({"messages": (Message.user("a"),), "thinking": True}, ("chat", "thinking")),
        ({"messages": (Message.user("a"),), "thinking": "high"}, ("chat", "thinking")),
        ({"messages": (Message.user("a"), PICTURE)}, ("chat", "vision")),
        ({"messages": (PICTURE,), "tools": (TOOL,)}, ("chat", "tools", "vision")),
        ({"prompt": "a"}, ()),
        ({"prompt": "a", "suffix": "b"}, ("completion", "insert")),
    ],
)
def test_a_request_needs(fields: Dict[str, Any], needs: Any) -> None:
    assert needs_of(CompletionRequest(**fields)) == needs


@pytest.mark.parametrize(
    ("value", "source", "lacking"),
    [
        (False, "reported", "tools"),
        (False, "inferred", None),
        (False, "assumed", None),
        (True, "reported", None),
        (None, "reported", None),
    ],
)
def test_only_a_reported_denial_is_sure(value: Any, source: Any, lacking: Any) -> None:
    facts = {"tools": CapabilityEvidence(source=source, detail="d")}
    found = ModelCapabilities(tools=value, evidence=facts)
    assert lacks(found, ("chat", "tools")) == lacking


def test_what_is_not_needed_is_not_missed() -> None:
    found = detect("m", Evidence(detail="d", can=frozenset({"chat"}), cannot=frozenset({"tools"})))
    assert lacks(found, ("chat", "vision")) is None


# --- refused before it is sent ------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields", "words", "hint"),
    [
        ("plain", {"tools": [TOOL]}, "call tools", "able:latest"),
        ("plain", {"messages": PICTURE}, "see images", "able:latest"),
        ("plain", {"thinking": True}, "think apart", "able:latest"),
        ("plain", {"thinking": "high"}, "think apart", "able:latest"),
        ("vectors", {"tools": [TOOL]}, "answer conversations", "plain:latest, able:latest"),
    ],
)
def test_ollama_is_not_asked_for_what_its_model_lacks(
    model: str, fields: Dict[str, Any], words: str, hint: str
) -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model=model) as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.chat(**{"messages": SECRET, **fields})

    error = caught.value
    assert f"'{model}' cannot {words}" in error.message
    assert error.evidence is not None
    assert error.evidence.startswith("POST /api/show: its capabilities are ")
    assert error.evidence in error.message
    assert error.hint == f"models of this server that can: {hint}"
    assert (error.model, error.endpoint, error.provider) == (model, fake.url, "ollama")
    assert SECRET not in str(error)
    assert all(SECRET not in exchange.body.decode() for exchange in fake.exchanges)


def test_a_gap_is_not_sent_to_a_model_that_fills_none() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="plain") as provider:
        with pytest.raises(CapabilityError, match="cannot fill a gap") as caught:
            provider.complete(CompletionRequest(prompt=SECRET, suffix="b"))

    assert caught.value.hint == "the server lists no model that can"


@pytest.mark.parametrize("generation", ["0.4", "0.3"])
def test_lm_studio_is_not_sent_images_for_a_blind_model(generation: str) -> None:
    with FakeLMStudio(MODELS, generation=generation) as fake:
        with LMStudioProvider(fake.url, model="plain") as provider:
            with pytest.raises(CapabilityError, match="cannot see images") as caught:
                provider.chat(PICTURE)

    version, words = ("v1", "vision is false") if generation == "0.4" else ("v0", "type is llm")
    assert caught.value.evidence == f"GET /api/{version}/models: {words}"
    assert caught.value.hint == "models of this server that can: able, stub"
    assert all(exchange.method == "GET" for exchange in fake.exchanges)


def test_lm_studio_gets_tools_for_a_model_that_was_not_trained_for_them() -> None:
    with FakeLMStudio(MODELS) as fake, LMStudioProvider(fake.url, model="plain") as provider:
        assert provider.chat("Hi", tools=[TOOL]).text
        found = provider.model_capabilities("plain")

    assert (found.tools, found.tools_trained) == (True, False)
    assert "tools" in fake.exchanges[-2].json


def test_of_a_server_that_tells_nothing_nothing_is_asked() -> None:
    with FakeOpenAICompatible([FakeModel(name="m", abilities=("chat", "vision"))]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            provider.chat(PICTURE, tools=[TOOL], thinking="low")

    assert [exchange.path for exchange in fake.exchanges] == ["/v1/chat/completions"]


# --- a model that writes no text ------------------------------------------------------------


class _Deciding(FakeOpenAICompatible):
    """A fake llama.cpp server whose list shows a decision model."""

    outputs = "decisions"

    def routes(self) -> Any:
        row = {"id": "decider", "architecture": {"output_modalities": [self.outputs]}}
        able = {"id": "chatter", "supports_chat": True}
        listed = self.json({"object": "list", "data": [row, able]}, kind="list")
        return {**super().routes(), ("GET", "/v1/models"): lambda _: listed}


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}, {"response_schema": {}}])
def test_a_decision_model_in_the_list_is_sent_no_prompt(fields: Dict[str, Any]) -> None:
    with _Deciding(["decider", "chatter"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="decider") as provider:
            assert provider.model_capabilities("decider").chat is False
            for _ in range(2):  # the second refusal lists the models again
                with pytest.raises(CapabilityError) as caught:
                    provider.chat(SECRET, **fields)
            provider.chat("Hi", model="chatter")

    error = caught.value
    assert "'decider' cannot answer conversations" in error.message
    assert error.evidence == "GET /v1/models: output_modalities is decisions"
    assert error.hint is not None
    assert error.hint.startswith("ask this model typed questions with decide()")
    assert [exchange.method for exchange in fake.exchanges][-1] == "POST"
    assert sum(exchange.method == "POST" for exchange in fake.exchanges) == 1


def test_a_decision_model_is_sent_no_text_to_continue() -> None:
    with _Deciding(["decider"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="decider") as provider:
            provider.list_models()
            with pytest.raises(CapabilityError, match="cannot continue text"):
                provider.complete(CompletionRequest(prompt=SECRET))


def test_a_model_that_took_the_name_of_a_decision_model_can_chat_at_once() -> None:
    with _Deciding(["decider"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="decider") as provider:
            provider.list_models()
            with pytest.raises(CapabilityError):
                provider.chat("Hi")
            fake.outputs = "text"
            assert provider.chat("Hi").text
            assert provider.chat("Hi").text

    assert [exchange.method for exchange in fake.exchanges][-3:] == ["GET", "POST", "POST"]


def test_a_list_that_fails_masks_no_answer() -> None:
    with _Deciding(["decider"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="decider", retry=ONCE) as provider:
            provider.list_models()
            with pytest.raises(CapabilityError):
                provider.chat("Hi")
            fake.break_next("status 500 with JSON", path="/v1/models")
            assert provider.chat("Hi").text


def test_a_model_that_no_list_was_asked_about_is_left_to_the_server() -> None:
    with _Deciding(["decider"]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="decider") as provider:
            assert provider.chat("Hi").text

    assert [exchange.path for exchange in fake.exchanges] == ["/v1/chat/completions"]


def test_an_embedding_model_in_lm_studios_list_is_sent_no_prompt() -> None:
    with FakeLMStudio(MODELS) as fake, LMStudioProvider(fake.url, model="vectors") as provider:
        provider.list_models()
        with pytest.raises(CapabilityError, match="cannot answer conversations") as caught:
            provider.chat(SECRET)

    assert caught.value.evidence == "GET /api/v1/models: type is embedding"
    assert all(exchange.method == "GET" for exchange in fake.exchanges)


def test_ollamas_own_refusal_names_the_other_verbs() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="vectors") as provider:
        with pytest.raises(CapabilityError) as caught:
            provider.chat("Hi")

    assert caught.value.hint is not None and "decide()" in caught.value.hint


def test_a_cloud_model_is_refused_for_its_place_first() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="stub") as provider:
        with pytest.raises(LocalityError):
            provider.chat(SECRET, thinking=True)

    assert [exchange.path for exchange in fake.exchanges] == ["/api/tags"]


# --- how often it is asked ----------------------------------------------------------------


def _asked(fake: FakeOllama) -> int:
    return sum(exchange.path == "/api/show" for exchange in fake.exchanges)


def test_plain_chats_ask_nothing_and_others_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("localproviders._http_provider.model_checks.time.monotonic", lambda: now[0])
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="able") as provider:
        provider.chat("Hi")
        assert _asked(fake) == 0
        provider.chat("Hi", tools=[TOOL])
        provider.chat(PICTURE, thinking=True)
        assert _asked(fake) == 1
        now[0] += 61
        provider.chat("Hi", tools=[TOOL])
        assert _asked(fake) == 2


def test_a_refusal_is_forgotten_so_that_a_model_pulled_anew_works_at_once() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="plain") as provider:
        with pytest.raises(CapabilityError):
            provider.chat("Hi", tools=[TOOL])
        fake.models[0] = FakeModel(name="plain")
        assert provider.chat("Hi", tools=[TOOL]).text


def test_a_model_that_is_gone_is_asked_about_again() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="able") as provider:
        provider.chat("Hi", tools=[TOOL])
        fake.reply_with(Refusal(status="404 Not Found", body={"error": "model 'able' not found"}))
        with pytest.raises(ModelNotFoundError):
            provider.chat("Hi", tools=[TOOL])
        provider.chat("Hi", tools=[TOOL])
        assert _asked(fake) == 2


def test_what_is_known_does_not_travel() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="able") as provider:
        provider.chat("Hi", tools=[TOOL])
        with pickle.loads(pickle.dumps(provider)) as other:
            other.chat("Hi", tools=[TOOL])
        assert _asked(fake) == 2


# --- when the question fails --------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "status 404 with text",
        "status 403 with HTML",
        "status 500 with JSON",
        "a login page",
        "body cut",
        "not JSON",
    ],
)
def test_a_failed_question_masks_no_answer(fault: str) -> None:
    with FakeOllama(MODELS) as fake:
        with OllamaProvider(fake.url, model="able", retry=ONCE) as provider:
            fake.break_next(fault, path="/api/show", times=None)
            assert provider.chat("Hi", tools=[TOOL]).text
            provider.chat("Hi", tools=[TOOL])
        assert _asked(fake) == 1  # an unknown result is cached too


def test_the_servers_own_refusal_is_the_final_word() -> None:
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="plain") as provider:
        fake.break_next("status 404 with text", path="/api/show")
        with pytest.raises(CapabilityError) as caught:
            provider.chat("Hi", tools=[TOOL])

    assert caught.value.evidence is not None
    assert "does not support tools" in caught.value.evidence


def test_a_refusal_for_the_wrong_kind_of_model_names_models_of_the_right_kind() -> None:
    with FakeOllama() as fake, OllamaProvider(fake.url) as provider:
        with pytest.raises(CapabilityError) as embedding:
            provider.embed("Hi", model="llama3.2")
        with pytest.raises(CapabilityError) as chatting:
            provider.chat("Hi", model="nomic-embed-text")
    assert embedding.value.hint == "models of this server that can: nomic-embed-text:latest"
    assert chatting.value.hint == (
        "models of this server that can: llama3.2:latest; call decide() with a decision model, "
        "or embed() with an embedding model"
    )


_REFUSAL = http_answer(
    {"error": {"message": "This server does not support embeddings", "code": 501}},
    status="501 Not Implemented",
)


@pytest.mark.parametrize("listing", [_REFUSAL, http_answer({"data": [{"id": "m"}]})])
def test_a_refusal_keeps_its_hint_if_no_model_can_be_named(listing: bytes) -> None:
    with ScriptedServer(lambda each: [listing if each.method == "GET" else _REFUSAL]) as server:
        with OpenAICompatibleProvider(f"{server.url}/v1") as provider:
            with pytest.raises(CapabilityError) as caught:
                provider.embed("Hi", model="m")
        assert [each.path for each in server.exchanges] == ["/v1/embeddings", "/v1/models"]
    assert str(caught.value.hint).startswith("choose a model with this ability")


def test_an_unknown_model_is_refused_by_the_server_itself() -> None:
    with FakeLMStudio(MODELS) as fake, LMStudioProvider(fake.url, model="nope") as provider:
        with pytest.raises(ModelNotFoundError):
            provider.chat("Hi", tools=[TOOL])


@pytest.mark.parametrize(
    "error",
    [
        CancelledError("c"),
        UnreachableError("u"),
        LimitError("l", limit="t", limit_s=1, elapsed_s=1),
    ],
)
def test_what_the_prompt_would_meet_as_well_is_raised_at_once(error: Exception) -> None:
    def ask() -> ModelCapabilities:
        raise error

    request = CompletionRequest(messages=(Message.user("a"),), tools=(TOOL,))
    with pytest.raises(type(error)):
        CapabilityCheck().check(request, "m", ask, listed=list)


def test_without_a_list_no_names_are_named() -> None:
    def listed() -> List[Any]:
        raise ModelNotFoundError("gone")

    denied = detect("m", Evidence(detail="d", cannot=frozenset({"tools"})))
    request = CompletionRequest(messages=(Message.user("a"),), tools=(TOOL,))
    with pytest.raises(CapabilityError) as caught:
        CapabilityCheck().check(request, "m", lambda: denied, listed)
    assert caught.value.hint is None


def test_the_question_is_bounded_by_the_calls_own_total(fake_clock: FakeTime) -> None:
    with FakeOllama(MODELS) as fake:
        with OllamaProvider(fake.url, model="able", retry=ONCE, locality="any") as provider:
            fake.break_next("silence", path="/api/show")
            with pytest.raises(LimitError) as caught:
                provider.chat(SECRET, tools=[TOOL], timeout=3)

    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", 3)
    assert [exchange.path for exchange in fake.exchanges] == ["/api/show"]


def test_a_cancelled_call_asks_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with FakeOllama(MODELS) as fake, OllamaProvider(fake.url, model="able") as provider:
        with pytest.raises(CancelledError):
            provider.chat("Hi", tools=[TOOL], cancel=token)
        assert fake.exchanges == []
