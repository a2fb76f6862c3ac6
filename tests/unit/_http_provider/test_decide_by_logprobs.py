"""Decisions of a chat model: requests, probabilities, mass, and what servers refuse."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Type

import pytest

from localproviders import (
    AuthenticationError,
    CallEvent,
    CancelledError,
    CancelToken,
    CapabilityError,
    Choice,
    ConfigurationError,
    Decisions,
    Image,
    LimitError,
    Limits,
    LMStudioProvider,
    Message,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    Score,
    ServerBusyError,
    UnsupportedError,
    YesNo,
)
from localproviders._http_provider import HTTPProvider
from localproviders.testing import FakeModel, FakeOpenAICompatible, Reply, ScriptedServer
from localproviders.types import DecisionMethod
from tests.support.asking import PROVIDERS
from tests.support.fake_time import FakeTime
from tests.support.locality import PROMPT, lines_with, visible_text
from tests.support.next_tokens import NextTokens

_STATE = "I was charged twice for my order."
_TEAM = Choice("Which team?", ["shipping", "billing", "technical"])
_CLEAR = {"B": 0.8, " B": 0.1, "A": 0.06, "C": 0.02, "\n": 0.01, "The": 0.01}


class _Served(NamedTuple):
    tokens: NextTokens
    server: ScriptedServer
    provider: HTTPProvider

    def decide(self, questions: Mapping[str, Any], **options: Any) -> Decisions:
        return self.provider.decide(_STATE, questions, method="logprobs", **options)

    @property
    def bodies(self) -> List[Dict[str, Any]]:
        """Return the bodies of the requests to the model."""
        return [each.json for each in self.server.exchanges if each.path.endswith(_CHATS)]

    @property
    def paths(self) -> List[str]:
        return [each.path for each in self.server.exchanges]


_CHATS = ("/chat", "/chat/completions")


@contextlib.contextmanager
def _served(
    kind: str, distribution: Mapping[str, float] = _CLEAR, *refuses: str, **options: Any
) -> Iterator[_Served]:
    tokens = NextTokens(kind, distribution, *refuses)
    with tokens.serve() as server:
        if kind == "ollama":
            provider: HTTPProvider = OllamaProvider(server.url, model="m", **options)
        else:
            provider = OpenAICompatibleProvider(server.url + "/v1", model="m", **options)
        with provider:
            yield _Served(tokens, server, provider)


# --- requests --------------------------------------------------------------------------------


def test_llama_cpp_gets_the_beginning_of_the_answer_and_one_request() -> None:
    with _served("llamacpp") as served:
        found = served.decide({"team": _TEAM})

    assert served.paths == ["/tokenize", "/v1/chat/completions"]
    (body,) = served.bodies
    assert body["messages"][1:] == [{"role": "assistant", "content": "Answer: ("}]
    assert "(B) billing" in body["messages"][0]["content"]
    assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (1, 0.0, 100)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "logit_bias" not in body
    assert found["team"].choice == "billing"
    assert found["team"].mass == pytest.approx(0.98)
    assert found["team"].source == "logprobs"
    assert found.warnings == ()


@pytest.mark.parametrize("kind", ["openai", "vllm", "ollama"])
def test_other_servers_get_twenty_alternatives_and_no_beginning(kind: str) -> None:
    with _served(kind) as served:
        found = served.decide({"team": _TEAM})

    (body,) = served.bodies
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "B. billing" in body["messages"][0]["content"]
    assert body["top_logprobs"] == 20
    if kind == "ollama":
        assert body["think"] is False
        assert body["options"] == {"num_predict": 1, "temperature": 0.0}
    assert found["team"].probabilities == pytest.approx(
        {"shipping": 0.06 / 0.98, "billing": 0.9 / 0.98, "technical": 0.02 / 0.98}
    )


@pytest.mark.parametrize("kind", ["llamacpp", "openai", "vllm", "ollama"])
def test_the_same_distribution_gives_the_same_decision_on_each_server(kind: str) -> None:
    both = {"0": 0.1, "1": 0.3, "2": 0.1, "A": 0.1, "B": 0.3, "C": 0.1}
    questions = {
        "team": _TEAM, "urgent": Score("How urgent?", ["low", "mid", "high"]), "angry": YesNo("?")
    }  # fmt: skip
    with _served(kind, both) as served:
        found = served.decide(questions, min_mass=0.3)

    assert list(found) == ["team", "urgent", "angry"]
    assert found["team"].answer == "billing"
    assert found["urgent"].answer == pytest.approx(1.0)
    assert found["angry"].probability == pytest.approx(0.25)
    assert [found[name].mass for name in found] == pytest.approx([0.5, 0.5, 0.4])
    for name in found:
        assert sum(found[name].probabilities.values()) == pytest.approx(1.0, abs=1e-9)
    assert found.usage.prompt_tokens == 150
    assert found.model == "m"
    assert found.endpoint == served.provider.settings.endpoint.url


@pytest.mark.parametrize("kind", ["llamacpp", "vllm", "openai"])
def test_the_tokens_of_labels_are_asked_for_once(kind: str) -> None:
    with _served(kind) as served:
        for _ in range(3):
            served.decide({"team": _TEAM, "angry": YesNo("?")})

    assert served.paths.count("/tokenize") == 1
    assert served.paths.count("/v1/chat/completions") == 6


@pytest.mark.parametrize("kind", ["chat", "logprobs"])
def test_an_image_for_a_model_that_cannot_see_is_a_missing_ability(kind: str) -> None:
    """llama.cpp refuses it with status 500."""
    image = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
    with FakeOpenAICompatible([FakeModel(name="m", abilities=("chat",))]) as fake:
        with OpenAICompatibleProvider(fake.base_url, model="m") as provider:
            with pytest.raises(CapabilityError, match="image input is not supported"):
                if kind == "chat":
                    provider.chat(Message.user("hi", images=[image]))
                provider.decide(_STATE, {"team": _TEAM}, method="logprobs", images=[image])


def test_an_image_belongs_to_the_prompt() -> None:
    with _served("openai") as served:
        served.decide({"team": _TEAM}, images=[Image.from_bytes(b"\x89PNG\r\n\x1a\n1234")])

    assert [part["type"] for part in served.bodies[0]["messages"][0]["content"]] == [
        "text",
        "image_url",
    ]


# --- labels that the list lacks -----------------------------------------------------------------


def _hidden(*labels: str) -> Dict[str, float]:
    """Return a distribution in which these labels are behind a hundred other tokens."""
    others = {f"word{index}": 0.001 for index in range(110)}
    return {"B": 0.8, **others, **dict.fromkeys(labels, 0.0005)}


def test_llama_cpp_is_asked_again_with_a_bias_if_a_label_is_missing() -> None:
    with _served("llamacpp", _hidden("A", " C")) as served:
        found = served.decide({"team": _TEAM})

    first, second = served.bodies
    assert "logit_bias" not in first
    assert {*second["logit_bias"].values()} == {100}
    assert len(second["logit_bias"]) == second["top_logprobs"] == 6
    assert found["team"].mass == pytest.approx(0.8)  # from the free distribution
    assert found["team"].probabilities["technical"] == pytest.approx(0.0005 / 0.801, rel=1e-3)
    assert found.usage.prompt_tokens == 100
    assert found.warnings == ()


def test_a_missing_label_that_is_nearly_impossible_needs_no_second_request() -> None:
    with _served("llamacpp", {"B": 0.9999999, "A": 9e-8, "x": 1e-9}) as served:
        found = served.decide({"team": _TEAM})

    assert len(served.bodies) == 1
    assert found["team"].probabilities["technical"] < 1e-6


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_elsewhere_a_missing_label_has_the_highest_possible_probability(kind: str) -> None:
    with _served(kind, _hidden("A", "C")) as served:
        found = served.decide({"team": _TEAM})

    assert len(served.bodies) == 1
    assert found["team"].choice == "billing"
    assert found["team"].mass == pytest.approx(0.8)
    assert found["team"].probabilities["technical"] == pytest.approx(0.001 / 0.802)
    (warning,) = found.warnings
    assert "listed only 1 of the 3 possible answers to question 1. The probabilities" in warning
    assert "with a sum of 0.0025" in warning


def test_a_refused_bias_leaves_the_bound() -> None:
    with _served("llamacpp", _hidden("A", "C"), "logit_bias") as served:
        found = served.decide({"team": _TEAM})

    assert found["team"].probabilities["technical"] == pytest.approx(0.001 / 0.802)
    assert "upper limits" in found.warnings[0]


def test_tokens_of_another_model_are_forgotten() -> None:
    with _served("llamacpp", _hidden("A", "C")) as served:
        served.decide({"team": _TEAM})
        # The server has loaded a model with other numbers, which it has never heard of.
        served.tokens._ids = {f"new{index}": 1000 + index for index in range(300)}
        found = served.decide({"team": _TEAM})
        again = served.decide({"team": _TEAM})

    assert "upper limits" in found.warnings[0]
    assert again.warnings == ()
    assert served.paths.count("/tokenize") == 2


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llamacpp", "openai", "ollama"])
def test_a_small_mass_is_an_error_with_the_likeliest_tokens(kind: str) -> None:
    unsure = {"Sure": 0.6, "\n": 0.3, "The": 0.0993, "A": 0.0004, "B": 0.0002, " C": 0.0001}
    with _served(kind, unsure) as served, pytest.raises(CapabilityError) as caught:
        served.decide({"team": _TEAM, "angry": YesNo("?")})

    assert caught.value.mass == pytest.approx(0.0007)
    assert [token.token for token in caught.value.likeliest] == ["Sure", "\n", "The"]
    assert "Sure" not in f"{caught.value} {caught.value!r}"
    assert caught.value.model == "m"
    assert caught.value.endpoint == served.provider.settings.endpoint.url
    assert len(served.bodies) == 1


def test_a_smaller_threshold_lets_a_small_mass_pass() -> None:
    with _served("openai", {"Sure": 0.9, "A": 0.04, "B": 0.04, "C": 0.02}) as served:
        found = served.decide({"team": _TEAM}, min_mass=0.1 - 1e-9)
        assert found["team"].mass == pytest.approx(0.1)
        with pytest.raises(CapabilityError):
            served.decide({"team": _TEAM}, min_mass=0.11)


@pytest.mark.parametrize("kind", ["llamacpp", "openai", "ollama"])
def test_no_label_at_all_is_an_error_for_every_threshold(kind: str) -> None:
    with _served(kind, {"Sure": 0.9, "\n": 0.1}) as served, pytest.raises(
        CapabilityError
    ) as caught:
        served.decide({"team": _TEAM}, min_mass=0.0)

    assert caught.value.mass == 0.0
    assert "min_mass" not in str(caught.value.hint)  # no threshold would help


@pytest.mark.parametrize("kind", ["llamacpp", "openai"])
def test_a_server_that_refuses_log_probabilities_names_the_other_ways(kind: str) -> None:
    with _served(kind, _CLEAR, "logprobs") as served, pytest.raises(CapabilityError) as caught:
        served.decide({"team": _TEAM})

    assert "decision model" in str(caught.value.hint)
    assert "refuses log-probabilities" in str(caught.value)
    assert "Unrecognized request argument supplied: logprobs" in str(caught.value.evidence)
    assert caught.value.status == 400
    assert caught.value.mass is None


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("401 Unauthorized", AuthenticationError),
        ("429 Too Many Requests", ServerBusyError),
        ("503 Service Unavailable", ServerBusyError),
    ],
)
def test_an_error_that_only_quotes_the_request_stays_what_it_is(
    status: str, wanted: Type[ProviderError]
) -> None:
    with _served("openai", retry=RetryPolicy(attempts=1)) as served:
        served.tokens.quotes, served.tokens.status = True, status
        with pytest.raises(wanted):
            served.decide({"team": _TEAM})


def test_a_server_that_ignores_log_probabilities_names_the_other_ways() -> None:
    with _served("openai") as served:
        served.tokens.is_silent = True
        with pytest.raises(CapabilityError, match="returned no log-probabilities") as caught:
            served.decide({"team": _TEAM})

    assert "decision model" in str(caught.value.hint)


def test_a_switch_of_thinking_that_is_refused_is_left_out_with_a_warning() -> None:
    with _served("openai", _CLEAR, "chat_template_kwargs") as served:
        found = served.decide({"team": _TEAM})

    assert found["team"].choice == "billing"
    assert any("chat_template_kwargs" in each or "thinking" in each for each in found.warnings)


def test_a_begun_answer_that_is_refused_is_left_out_from_then_on() -> None:
    with _served("llamacpp", _CLEAR) as served:
        served.tokens.refuses_begun = True
        found = [served.decide({"team": _TEAM}) for _ in range(2)]

    assert [each["team"].choice for each in found] == ["billing", "billing"]
    # The text also names the switch of thinking, so the second request is one without it.
    assert [len(body["messages"]) for body in served.bodies] == [2, 2, 1, 1]
    assert "B. billing" in served.bodies[3]["messages"][0]["content"]


def test_a_server_that_lists_fewer_tokens_is_asked_for_fewer() -> None:
    with _served("openai") as served:
        served.tokens.most = 5
        found = [served.decide({"team": _TEAM}) for _ in range(2)]
        with pytest.raises(UnsupportedError, match=r"6 answers, but .* at most 5 tokens"):
            served.decide({"many": _options(6)})

    assert [each["team"].choice for each in found] == ["billing", "billing"]
    assert [body["top_logprobs"] for body in served.bodies] == [20, 5, 5]


def test_too_few_listed_tokens_are_no_log_probabilities() -> None:
    with _served("openai") as served:
        served.tokens.most = 5
        with pytest.raises(CapabilityError, match="refuses log-probabilities") as caught:
            served.decide({"many": _options(6)})

    assert "between 0 and 5" in str(caught.value.evidence)
    assert len(served.bodies) == 1


def test_lm_studio_is_not_asked() -> None:
    with ScriptedServer(b"") as server, LMStudioProvider(server.url, model="m") as provider:
        served = _Served(NextTokens("openai", {}), server, provider)
        with pytest.raises(CapabilityError, match="returns no log-probabilities"):
            served.decide({"team": _TEAM})

    assert served.paths == []


def _options(count: int) -> Choice:
    return Choice("?", [f"option {index}" for index in range(count)])


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_more_options_than_a_server_lists_are_refused_before_a_prompt_is_sent(kind: str) -> None:
    with _served(kind, {"A": 1.0}) as served:
        served.decide({"many": _options(20)})
        with pytest.raises(UnsupportedError, match="21 answers"):
            served.decide({"team": _TEAM, "many": _options(21)})

    assert len(served.bodies) == 1


def test_llama_cpp_takes_many_options() -> None:
    with _served("llamacpp", {"AB": 0.9, "AA": 0.05, "x": 0.02}) as served:
        found = served.decide({"many": _options(200)})

    assert found["many"].choice == "option 1"
    assert sum(found["many"].probabilities.values()) == pytest.approx(1.0, abs=1e-9)
    assert len(served.bodies) == 2
    with _served("llamacpp") as served, pytest.raises(UnsupportedError, match="700 answers"):
        served.decide({"many": _options(700)})


def test_letters_that_are_no_tokens_of_the_model_have_a_bound() -> None:
    with _served("llamacpp", _hidden("A", "C")) as served:
        served.tokens.merges_lines = True
        found = served.decide({"team": _TEAM})

    assert len(served.bodies) == 1
    assert found["team"].choice == "billing"
    assert "upper limits" in found.warnings[0]


def test_a_cancelled_call_sends_nothing() -> None:
    token = CancelToken()
    token.cancel()
    with _served("llamacpp") as served, pytest.raises(Exception, match="cancel"):
        served.decide({"team": _TEAM}, cancel=token)

    assert served.paths == []


# --- the verb -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_a_server_without_a_route_for_decisions_is_asked_for_labels(kind: str) -> None:
    with _served(kind) as served:
        found = [served.provider.decide(_STATE, {"team": _TEAM}) for _ in range(2)]

    assert [each["team"].source for each in found] == ["logprobs", "logprobs"]
    assert served.paths[-1:] == ["/v1/chat/completions"]  # the missing route is remembered


def test_many_states_keep_the_errors_of_single_ones() -> None:
    with _served("openai") as served:
        found = []
        for each in served.provider.decide_many(
            ["a", "", "b", "c"], {"team": _TEAM}, method="logprobs"
        ):
            found.append(each)
            served.tokens.distribution = {"Sure": 1.0} if len(found) == 2 else _CLEAR

    assert [type(each.error) for each in found] == [
        type(None), ConfigurationError, CapabilityError, type(None)
    ]  # fmt: skip
    assert isinstance(found[2].error, CapabilityError)
    assert found[2].error.mass == 0.0
    assert [token.token for token in found[2].error.likeliest] == ["Sure"]
    assert found[3]["team"].choice == "billing"


def test_a_model_that_thinks_ends_the_iteration() -> None:
    """All other states would fail for the same reason."""
    with _served("ollama") as served:
        served.tokens.thinks = True
        states = iter(["a", "b"])
        with pytest.raises(CapabilityError, match="thinks before it answers question 1") as caught:
            list(served.provider.decide_many(states, {"team": _TEAM}, method="logprobs"))

    assert caught.value.mass is None
    assert next(states) == "b"


@pytest.mark.parametrize("kind", ["llamacpp", "ollama"])
def test_a_call_has_one_start_and_one_end(kind: str) -> None:
    events: List[CallEvent] = []
    with _served(kind, _hidden("A", "C"), listeners=[events.append]) as served:
        served.decide({"team": _TEAM, "angry": YesNo("?")}, min_mass=0.0)
        list(served.provider.decide_many(["a"], {"team": _TEAM}, method="logprobs"))

    ends = [each for each in events if each.kind in ("started", "finished", "failed")]
    kinds = [(each.operation, each.kind) for each in ends]
    assert kinds[:2] == [("decide", "started"), ("decide", "finished")]
    assert kinds[2][0] == "decide_many"
    assert len({each.call for each in ends}) == 2
    assert ends[1].prompt_tokens == (200 if kind == "llamacpp" else 100)
    assert ends[1].task == "decision"


def test_all_requests_share_the_total(fake_clock: FakeTime) -> None:
    began = fake_clock.now
    with _served("openai") as served:
        served.tokens.wait_s = 6
        questions = {f"team {index}": _TEAM for index in range(5)}
        with pytest.raises(LimitError) as caught:
            served.decide(questions, timeout=15)

    assert (caught.value.limit, caught.value.limit_s, caught.value.elapsed_s) == ("total_s", 15, 15)
    assert fake_clock.now - began == 15
    assert len(served.bodies) == 3


def test_each_question_has_the_other_limits_for_itself(fake_clock: FakeTime) -> None:
    began = fake_clock.now
    with _served("openai") as served:
        served.tokens.wait_s = 6
        questions = {f"team {index}": _TEAM for index in range(3)}
        served.decide(questions, timeout=Limits(load_s=0, first_token_s=7, total_s=60))

    assert fake_clock.now - began == 18


def test_cancelling_ends_a_waiting_request() -> None:
    token = CancelToken()
    with _served("openai") as served:
        served.tokens.on_chat = token.cancel
        with pytest.raises(CancelledError):
            served.decide({"team": _TEAM, "angry": YesNo("?")}, cancel=token)

    assert len(served.bodies) == 1


@pytest.mark.parametrize("kind", ["llamacpp", "openai", "ollama"])
@pytest.mark.parametrize("what", ["refuses", "quotes", "mass"])
def test_no_error_shows_the_state(kind: str, what: str) -> None:
    distribution = {"Sure": 1.0} if what == "mass" else _CLEAR
    with _served(kind, distribution, *(["logprobs"] if what == "refuses" else [])) as served:
        served.tokens.quotes = what == "quotes"
        with pytest.raises(ProviderError) as caught:
            served.provider.decide(
                {"letter": PROMPT}, {"team": Choice(f"About {PROMPT}?", ["a", "b"])},
                method="logprobs",
            )  # fmt: skip

    assert lines_with(PROMPT, visible_text(caught.value)) == []
    assert isinstance(caught.value, CapabilityError)


# --- the fakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize("method", [None, "logprobs"])
def test_the_fakes_decide_by_the_first_token(kind: str, method: Optional[DecisionMethod]) -> None:
    make_fake, make_provider = PROVIDERS[kind]
    with make_fake([FakeModel(name="m")]) as fake, make_provider(fake.url, model="m") as provider:
        fake.decision_routes = ()
        fake.usual = Reply(first_token={"A": 0.1, "B": 0.2, " B": 0.4, "C": 0.1})
        found = provider.decide(_STATE, {"team": _TEAM}, method=method)
        assert found["team"].probabilities == pytest.approx(
            {"shipping": 0.125, "billing": 0.75, "technical": 0.125}
        )
        assert found["team"].mass == pytest.approx(0.8)
        # The other two labels are not in the list of likely tokens.
        fake.usual = Reply(first_token={"B": 0.7})
        found = provider.decide(_STATE, {"team": _TEAM}, method=method)
        assert found["team"].mass == pytest.approx(0.7)
        assert len(found.warnings) == (1 if kind == "ollama" else 0)
        fake.usual = Reply(text="Hm.")
        with pytest.raises(CapabilityError) as caught:
            provider.decide(_STATE, {"team": _TEAM}, method=method)
    assert caught.value.mass is not None and caught.value.mass < 0.01
    assert [token.token for token in caught.value.likeliest][:1] == ["Hm."]


@pytest.mark.parametrize("method", [None, "logprobs"])
def test_the_fake_of_lm_studio_names_the_other_ways(method: Optional[DecisionMethod]) -> None:
    make_fake, make_provider = PROVIDERS["lmstudio"]
    with make_fake([FakeModel(name="m")]) as fake, make_provider(fake.url, model="m") as provider:
        fake.decision_routes = ()
        with pytest.raises(CapabilityError, match="no log-probabilities") as caught:
            provider.decide(_STATE, {"team": _TEAM}, method=method)
    assert "decision model" in str(caught.value.hint)
