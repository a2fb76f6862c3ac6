"""`decide` and `decide_many` of any provider: arguments, order, and the faults of one state."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from localproviders import (
    CallEvent,
    CancelledError,
    CancelToken,
    CapabilityError,
    ConfigurationError,
    ContextOverflowError,
    EmbeddingResponse,
    LocalProvider,
    ModelInfo,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    ServerError,
    Stream,
    UnsupportedError,
)
from localproviders.testing import FakeOpenAICompatible, ScriptedServer, http_answer
from tests.support.decisions import Script, even_answers

_ASK = {"angry": "Is the customer angry?"}


class _Silent(ModelProvider):
    """A provider without decisions, as a user may write one."""

    @property
    def name(self) -> str:
        return "silent"

    def close(self) -> None:
        """Do nothing."""

    def list_models(self, **_: Any) -> List[ModelInfo]:
        return []

    def supports_model(self, model: Any, **_: Any) -> bool:
        return False

    def model_info(self, model: Any, **_: Any) -> ModelInfo:
        raise NotImplementedError

    def stream_completion(self, request: Any, **_: Any) -> Stream:
        raise NotImplementedError

    def embed(self, texts: Any, **_: Any) -> EmbeddingResponse:
        raise NotImplementedError


def test_a_provider_without_decisions_says_so() -> None:
    with pytest.raises(UnsupportedError, match=r"silent does not support decide\(\)"):
        _Silent().decide("state", _ASK)
    with pytest.raises(UnsupportedError):
        next(_Silent().decide_many(["state"], _ASK))


class _Frame:
    """A table as of pandas: its items are the names of its columns."""

    columns = ("text",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


_WRONG: List[Any] = [
    ("state is list.*decide_many", lambda p: p.decide(["a"], _ASK)),
    ("state is list.*messages", lambda p: p.decide(["a"], _ASK)),
    ("state is empty", lambda p: p.decide(" ", _ASK)),
    ("questions is one text", lambda p: p.decide("a", "Is it?")),
    ("method is 'logprob'", lambda p: p.decide("a", _ASK, method="logprob")),
    ("min_mass is 1.5", lambda p: p.decide("a", _ASK, min_mass=1.5)),
    ("keep_alive is 'soon'", lambda p: p.decide("a", _ASK, keep_alive="soon")),
    ("images", lambda p: p.decide("a", _ASK, images="cat.png")),
    ("states is one text", lambda p: p.decide_many("a", _ASK)),
    (r"states is dict.*decide\(\)", lambda p: p.decide_many({"a": 1}, _ASK)),
    ("states is int", lambda p: p.decide_many(5, _ASK)),
    ("states is _Frame.*one column", lambda p: p.decide_many(_Frame(), _ASK)),
    ("write min_mass=0.5", lambda p: p.decide("a", _ASK, min_mass="0.5")),
    (r"'1\.5', and .* from 0 to 1$", lambda p: p.decide("a", _ASK, min_mass="1.5")),
    ("there is no question", lambda p: p.decide_many(["a"], {})),
    ("method is 'x'", lambda p: p.decide_many(["a"], _ASK, method="x")),
]


@pytest.mark.parametrize(("message", "call"), _WRONG)
def test_a_wrong_argument_is_refused_in_the_call(message: str, call: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=message):
        call(OllamaProvider("http://127.0.0.1:9", model="m"))


def test_a_misspelt_keyword_names_the_right_one() -> None:
    provider: Any = OllamaProvider(model="m")
    with pytest.raises(TypeError, match="did you mean 'min_mass'"):
        provider.decide("a", _ASK, min_mas=0.5)
    with pytest.raises(TypeError, match="unexpected keyword 'images'"):
        provider.decide_many(["a"], _ASK, images=[])


def test_none_means_not_given() -> None:
    with ScriptedServer(Script(even_answers)) as server:
        provider: Any = OllamaProvider(server.url, model="nimble")
        found = provider.decide("a", _ASK, min_mass=None, images=None, keep_alive=None)
    assert found["angry"].probability == 0.5


def _answers(body: Any) -> bytes:
    """Refuse some states, as servers do."""
    state = body["state"]
    if state == "long":
        said = "request (3018 tokens) exceeds the available context size (2048 tokens)"
        return http_answer({"error": said}, status="400 Bad Request")
    if state == "odd":
        return http_answer({"error": "bad state"}, status="400 Bad Request")
    if state == "broken":
        return http_answer({"error": "out of order"}, status="500 Internal Server Error")
    return even_answers(body)


def _read(read: List[Any], states: List[Any]) -> Iterator[Any]:
    for state in states:
        read.append(state)
        yield state


def test_each_state_has_its_result_in_order_while_the_states_are_read() -> None:
    script, read = Script(_answers), []  # type: ignore[var-annotated]  # any states
    states = ["a", "long", "", {"n": 1}, 5, "odd", {"x": float("nan")}, "\ud83d", "b"]
    with ScriptedServer(script) as server:
        provider = OllamaProvider(server.url, model="nimble")
        results = provider.decide_many(_read(read, states), _ASK)
        assert script.asked == read == []
        assert next(results)["angry"].probability == 0.5
        assert read == ["a"]
        rest = list(results)

    assert [type(each.error) for each in rest] == [
        ContextOverflowError,
        ConfigurationError,
        type(None),
        ConfigurationError,
        RequestRejectedError,
        ConfigurationError,
        ConfigurationError,
        type(None),
    ]
    assert rest[0].model == "nimble"
    assert rest[0].endpoint == server.url.rstrip("/")
    assert [body["state"] for _, body in script.asked] == ["a", "long", {"n": 1}, "odd", "b"]
    with pytest.raises(ContextOverflowError):
        rest[0]["angry"]


def test_an_error_that_no_state_causes_ends_the_iteration() -> None:
    with ScriptedServer(Script(_answers)) as server:
        provider = OllamaProvider(server.url, model="nimble")
        results = provider.decide_many(["a", "broken", "b"], _ASK)
        next(results)
        with pytest.raises(ServerError):
            next(results)
        assert list(results) == []


def test_a_small_mass_is_the_error_of_its_state() -> None:
    record = {"type": "noul", "noul": 0.5, "x_label_mass": 0.25}
    answer = http_answer({"model": "m", "answers": {"angry": record}})
    with ScriptedServer(Script(answer)) as server:
        provider = OpenAICompatibleProvider(server.url + "/v1", model="m")
        (result,) = provider.decide_many(["a"], _ASK)
        assert result.error is not None
        assert result.error.to_dict()["mass"] == 0.25
        (accepted,) = provider.decide_many(["a"], _ASK, min_mass=0.2)
        assert accepted["angry"].mass == 0.25


def test_the_events_have_the_name_of_the_verb() -> None:
    events: List[CallEvent] = []
    with ScriptedServer(Script(even_answers)) as server:
        provider = OllamaProvider(server.url, model="nimble", listeners=[events.append])
        list(provider.decide_many(["a", "b"], _ASK))
    assert {event.operation for event in events} == {"decide_many"}
    assert [event.kind for event in events].count("finished") == 2


def test_a_token_ends_the_iteration() -> None:
    token = CancelToken()
    with ScriptedServer(Script(even_answers)) as server:
        results = OllamaProvider(server.url, model="nimble").decide_many(
            ["a", "b"], _ASK, cancel=token
        )
        next(results)
        token.cancel()
        with pytest.raises(CancelledError):
            next(results)


# --- several servers ---------------------------------------------------------------------------


def test_the_next_server_decides_where_the_first_is_down() -> None:
    events: List[CallEvent] = []
    with ScriptedServer(Script(even_answers)) as server:
        down = OllamaProvider("http://127.0.0.1:9", model="nimble", name="down")
        up = OllamaProvider(server.url, model="nimble", name="up", listeners=[events.append])
        with LocalProvider([down, up], model="nimble") as local:
            found = local.decide("a", _ASK)
            many = list(local.decide_many(["a", "b"], _ASK))

    assert found.provider == "up"
    assert [attempt.provider for attempt in found.tried] == ["down"]
    assert [each["angry"].probability for each in many] == [0.5, 0.5]
    assert {event.operation for event in events} == {"decide", "decide_many"}


def test_a_model_that_is_needed_for_decisions_is_chosen() -> None:
    owner: Optional[str] = None

    def script(exchange: Any) -> List[Any]:
        if exchange.method == "POST":
            return [even_answers(exchange.json)]
        models = [
            {"id": "chatty", "architecture": {"output_modalities": ["text"]}, "owned_by": owner},
            {"id": "decider", "architecture": {"output_modalities": ["decisions"]}},
        ]
        return [http_answer({"data": models})]

    with ScriptedServer(script) as server:
        provider = OpenAICompatibleProvider(server.url + "/v1")
        with LocalProvider([provider], needs={"decision"}) as local:
            assert local.decide("a", _ASK).model == "decider"


def test_the_error_of_a_rejected_state_does_not_go_to_the_next_server() -> None:
    first, second = Script(_answers), Script(_answers)
    with ScriptedServer(first) as one, ScriptedServer(second) as two:
        providers = [
            OllamaProvider(one.url, name="one", model="nimble"),
            OllamaProvider(two.url, name="two", model="nimble"),
        ]
        with LocalProvider(providers, model="nimble") as local:
            with pytest.raises(ProviderError):
                local.decide("long", _ASK)
    assert second.asked == []


def _with_masses(body: Dict[str, Any]) -> bytes:
    """Return a response as from vLLM: for the state ``bad``, with a small mass."""
    mass = 0.1 if body["state"] == "bad" else 0.9
    answers = {name: {"type": "noul", "noul": 0.6} for name in body["questions"]}
    extra = {name: {"label_mass": mass} for name in answers}
    return http_answer({"model": body["model"], "answers": answers, "diagnostics": extra})


def test_a_small_mass_on_several_servers_is_the_error_of_its_state() -> None:
    first, second = Script(_with_masses, "vllm"), Script(_with_masses, "vllm")
    with ScriptedServer(first) as one, ScriptedServer(second) as two:
        providers = [
            OpenAICompatibleProvider(one.url + "/v1", name="one"),
            OpenAICompatibleProvider(two.url + "/v1", name="two"),
        ]
        with LocalProvider(providers, model="nimble") as local:
            found = list(local.decide_many(["a", "bad", "c"], _ASK))

    assert [each.error is None for each in found] == [True, False, True]
    assert isinstance(found[1].error, CapabilityError)
    assert (found[1].error.mass, found[1].error.provider) == (0.1, "one")
    assert second.asked == []


@pytest.mark.parametrize("verb", ["decide", "rerank"])
def test_servers_whose_models_all_lack_the_ability_tell_the_reasons(verb: str) -> None:
    with FakeOpenAICompatible(["m"]) as one, FakeOpenAICompatible(["m"]) as two:
        providers = [
            OpenAICompatibleProvider(one.base_url, name="one"),
            OpenAICompatibleProvider(two.base_url, name="two"),
        ]
        with LocalProvider(providers, model="m") as local:
            with pytest.raises(CapabilityError) as caught:
                if verb == "decide":
                    local.decide("a", _ASK)
                local.rerank("a", ["b"])

    words = {"decide": "not a decision model", "rerank": "does not support reranking"}[verb]
    assert caught.value.message.startswith("none of 2 models can do this: one/m: ")
    assert caught.value.message.count(words) == 2
    assert {"decide": "logprobs", "rerank": "provider.embed"}[verb] in str(caught.value.hint)
