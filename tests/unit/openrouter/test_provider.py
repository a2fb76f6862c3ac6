"""`OpenRouterProvider`: routing, reasoning that goes back, prices, and its own errors."""

from __future__ import annotations

import json
import time
from typing import Any, Iterator, Mapping, Tuple, Type

import pytest

from localproviders import (
    AuthenticationError,
    CallEvent,
    CapabilityError,
    ContextOverflowError,
    Message,
    ModelNotFoundError,
    OpenAICompatibleProvider,
    OpenRouterProvider,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    SecretString,
    ServerBusyError,
    ToolCall,
)
from localproviders.openai_compatible.wire.services import OPENROUTER
from localproviders.testing import Refusal, Reply, ScriptedServer, http_answer
from tests.support.clouds import FakeOpenRouter, bodies

_ONCE = RetryPolicy(attempts=1)
_MODEL = "anthropic/claude-sonnet-4.5"
_NO_CUT = [{"id": "context-compression", "enabled": False}]


@pytest.fixture
def fake() -> Iterator[FakeOpenRouter]:
    with FakeOpenRouter() as server:
        yield server


@pytest.fixture
def provider(fake: FakeOpenRouter) -> Iterator[OpenRouterProvider]:
    with OpenRouterProvider(fake.base_url, model=_MODEL, retry=_ONCE) as made:
        yield made


# --- requests --------------------------------------------------------------------------------------


def test_a_strict_request_goes_only_to_providers_with_all_its_fields(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    provider.chat("Hi", max_tokens=9)
    provider.chat("Hi", top_k=3, repeat_penalty=1.1)
    plain, sampled = bodies(fake)
    assert "provider" not in plain and "stream_options" not in plain
    assert (plain["max_completion_tokens"], plain["plugins"]) == (9, _NO_CUT)
    assert sampled["provider"] == {"require_parameters": True}
    assert (sampled["top_k"], sampled["repetition_penalty"]) == (3, 1.1)


def test_the_routing_of_the_caller_is_kept(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    routing = {"order": ["one"], "data_collection": "deny"}
    provider.chat("Hi", seed=1, extra_body={"provider": routing})
    assert bodies(fake)[-1]["provider"] == {"require_parameters": True, **routing}
    own = {"provider": {"require_parameters": False}, "plugins": [{"id": "web"}]}
    provider.chat("Hi", seed=1, extra_body=own)
    assert {name: bodies(fake)[-1][name] for name in own} == own


def test_without_strict_the_answer_says_what_may_be_dropped(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    assert provider.chat("Hi", strict=False).warnings == ()
    answer = provider.chat("Hi", seed=1, strict=False)
    assert "the service drops fields" in answer.warnings[0]
    assert "provider" not in bodies(fake)[-1]


@pytest.mark.parametrize(
    ("overflow", "sent"),
    [
        (None, _NO_CUT),
        ("error", _NO_CUT),
        ("truncate", [{"id": "context-compression", "enabled": True}]),
        ("allow", None),
    ],
)
def test_a_long_prompt_is_cut_only_on_request(
    overflow: Any, sent: Any, fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    provider.chat("Hi", overflow=overflow)
    assert bodies(fake)[-1].get("plugins") == sent


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"thinking": True}, {"enabled": True}),
        ({"thinking": False}, {"effort": "none"}),
        ({"thinking": "low"}, {"effort": "low"}),
        ({"thinking_budget": 2000}, {"max_tokens": 2000}),
    ],
)
def test_thinking_is_an_object(
    fields: Any, sent: Any, fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    provider.chat("Hi", **fields)
    assert bodies(fake)[-1]["reasoning"] == sent


# --- answers ---------------------------------------------------------------------------------------


def test_a_tool_loop_sends_the_reasoning_back_unchanged(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    def weather(city: str) -> str:
        """Return the weather.

        Args:
            city: The city.
        """
        return f"sunny in {city}"

    call = ToolCall(id="call_1", name="weather", arguments={"city": "Oslo"})
    fake.reply_with(Reply(text="", thinking="one two", tool_calls=(call,)), "Sunny.")
    run = provider.run_tools("How is Oslo?", [weather], thinking=True)
    assert run.text == "Sunny."
    answer = bodies(fake)[-1]["messages"][1]
    (detail,) = answer["reasoning_details"]
    assert (detail["text"], detail["signature"]) == ("one two", "c2ln")
    assert "reasoning_content" not in answer


def test_the_reasoning_of_another_model_stays_here(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    fake.reply_with(Reply(text="Yes.", thinking="one two"))
    answer = provider.chat("Hi")
    assert answer.thinking == "one two"
    history = [Message.user("Hi"), answer.message, Message.user("Why?")]
    provider.chat(history, model="openai/gpt-6-sol")
    assert set(bodies(fake)[-1]["messages"][1]) == {"role", "content"}


def test_the_price_is_in_the_usage_and_in_the_event(fake: FakeOpenRouter) -> None:
    events = []

    def listen(event: CallEvent) -> None:
        events.append(event)

    with OpenRouterProvider(fake.base_url, model=_MODEL, listeners=[listen]) as provider:
        assert provider.chat("Hi").usage.cost_usd == 0.00025
    assert [event.cost_usd for event in events if event.kind == "finished"] == [0.00025]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("a/b", "a/b:nitro", True),
        ("a/b", "a/b:floor", True),
        ("a/b:free", "a/b:free", True),
        ("a/b", "a/b:free", False),
        ("a/b:free", "a/b", False),
        ("a/b-20250929", "a/b", True),
        ("a/b-2025-09-29", "a/b:nitro", True),
        ("x/y", "openrouter/auto", True),
        ("a/c", "a/b", False),
    ],
)
def test_names_that_mean_one_model(one: str, other: str, is_same: bool) -> None:
    assert OPENROUTER.same_model(one, other) is is_same


def test_a_variant_that_the_answer_does_not_name_is_no_other_model() -> None:
    with FakeOpenRouter([f"{_MODEL}"]) as fake:
        with OpenRouterProvider(fake.base_url, model=f"{_MODEL}:nitro") as provider:
            assert provider.chat("Hi").warnings == ()
        with OpenRouterProvider(fake.base_url, model="other/model") as provider:
            assert "other/model" in provider.chat("Hi").warnings[0]


# --- the list of models ----------------------------------------------------------------------------

_LISTED = {
    "id": _MODEL,
    "canonical_slug": "anthropic/claude-4.5-sonnet-20250929",
    "context_length": 200_000,
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "pricing": {"prompt": "0.000003", "completion": "0.000015", "request": "0"},
    "supported_parameters": ["tools", "reasoning", "structured_outputs", "max_tokens"],
    "reasoning": {
        "mandatory": False,
        "supported_efforts": ["high", "low", "none"],
        "default_effort": "high",
    },
}
_PLAIN = {
    "id": "some/plain",
    "context_length": None,
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "pricing": {"prompt": "-1", "completion": "-1"},
    "supported_parameters": ["max_tokens", "temperature"],
}


def test_the_list_has_prices_windows_and_abilities() -> None:
    with ScriptedServer(lambda _: [http_answer({"data": [_LISTED, _PLAIN]})]) as server:
        with OpenRouterProvider(server.url) as provider:
            rich, plain = provider.list_models()
            assert provider.model_info(f"{_MODEL}:nitro").name == _MODEL
            assert not provider.supports_model(f"{_MODEL}:free")
    can, cannot = rich.capabilities, plain.capabilities
    assert (rich.usd_per_million_prompt_tokens, rich.usd_per_million_completion_tokens) == (3, 15)
    assert (plain.usd_per_million_prompt_tokens, cannot.max_context_length) == (None, None)
    assert (can.max_context_length, can.tools, can.vision, can.thinking) == (200_000,) + (True,) * 3
    assert (can.structured_output, can.audio) == (True, False)
    assert (can.thinking_levels, can.thinking_default) == (("off", "high", "low"), "high")
    assert (cannot.tools, cannot.vision, cannot.thinking) == (False, False, False)
    assert cannot.evidence["structured_output"].source != "reported"
    assert can.evidence["tools"].source == "reported"
    assert "supported_parameters" in can.evidence["tools"].detail


# --- errors ----------------------------------------------------------------------------------------


def _error(status: int, message: str, **metadata: Any) -> Refusal:
    error = {"code": status, "message": message, **({"metadata": metadata} if metadata else {})}
    return Refusal(body={"error": error, "user_id": "u"}, status=f"{status} X")


_ERRORS: Mapping[str, Tuple[Refusal, Type[ProviderError]]] = {
    "an unknown model": (_error(400, "x/y is not a valid model ID"), ModelNotFoundError),
    "no endpoint": (_error(404, "No endpoints found for x/y."), ModelNotFoundError),
    "no provider with the field": (
        _error(404, "No endpoints found that support tool use."),
        CapabilityError,
    ),
    "the privacy settings": (
        _error(404, "No endpoints found matching your data policy"),
        RequestRejectedError,
    ),
    "no money": (_error(402, "Insufficient credits."), RequestRejectedError),
    "too little money": (
        _error(402, "This request requires more credits, or fewer max_tokens."),
        RequestRejectedError,
    ),
    "money that other requests use": (
        _error(402, "Wait.", limit_source="openrouter_in_flight_budget"),
        ServerBusyError,
    ),
    "the free requests of the day": (
        _error(429, "Rate limit exceeded: free-models-per-day."),
        RequestRejectedError,
    ),
    "a rate limit": (_error(429, "Rate limit exceeded"), ServerBusyError),
    "an upstream error": (
        _error(429, "Provider returned error", raw='{"error": {"message": "slow down"}}'),
        ServerBusyError,
    ),
    "a type beside the code": (
        _error(400, "Provider returned error", error_type="context_length_exceeded"),
        ContextOverflowError,
    ),
    "moderation": (
        _error(403, "x requires moderation. Your input was flagged", reasons=["violence"]),
        RequestRejectedError,
    ),
    "the key": (_error(401, "No auth credentials found"), AuthenticationError),
    "an overloaded upstream": (_error(529, "Provider returned error"), ServerBusyError),
    "a timeout": (_error(524, "Provider returned error"), ServerBusyError),
}


@pytest.mark.parametrize("case", _ERRORS)
def test_each_refusal_has_its_class(
    case: str, fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    refusal, cls = _ERRORS[case]
    fake.reply_with(refusal)
    with pytest.raises(cls) as caught:
        provider.chat("Hi")
    assert type(caught.value) is cls
    assert caught.value.hint


def test_a_model_that_always_thinks_refuses_the_switch(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    refusal = _error(400, "Reasoning is mandatory for this endpoint and cannot be disabled.")
    fake.reply_with(refusal)
    with pytest.raises(RequestRejectedError) as caught:
        provider.chat("Hi", thinking=False)
    assert "strict=False" in (caught.value.hint or "")
    fake.reply_with(refusal, "Yes.")
    answer = provider.chat("Hi", thinking=False, strict=False)
    assert (answer.text, answer.attempts) == ("Yes.", 2)
    assert any("thinking" in warning for warning in answer.warnings)
    assert "reasoning" not in bodies(fake)[-1]


@pytest.mark.parametrize("code", [429, 502, 529])
def test_an_error_in_the_stream_has_the_class_of_its_code(code: int) -> None:
    first = {"choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]}
    last = {
        "error": {"code": code, "message": "Provider returned error"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    }
    body = b"".join(_event(record) for record in (first, last))
    answer = http_answer(body, content_type="text/event-stream")
    with ScriptedServer(lambda _: [answer]) as server:
        with OpenRouterProvider(server.url, model=_MODEL, retry=_ONCE) as provider:
            with pytest.raises(ServerBusyError) as caught:
                provider.chat("Hi")
    assert caught.value.partial == "He"


def _event(record: Any) -> bytes:
    return b"data: " + json.dumps(record).encode() + b"\n\n"


def test_the_reset_is_a_time_in_milliseconds(
    fake: FakeOpenRouter, provider: OpenRouterProvider
) -> None:
    until = str(int((time.time() + 1000) * 1000))
    refusal = _error(429, "Rate limit exceeded").replace(headers={"X-RateLimit-Reset": until})
    fake.reply_with(refusal)
    with pytest.raises(ServerBusyError) as caught:
        provider.chat("Hi")
    wait = caught.value.retry_after_s
    assert wait is not None and 900 < wait <= 1000


# --- the address ------------------------------------------------------------------------------------


def test_the_key_goes_to_the_service_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-secret-123")
    key = SecretString.from_env("OPENROUTER_API_KEY")
    assert OpenRouterProvider().settings.api_key == key
    assert OpenRouterProvider("http://127.0.0.1:1/v1").settings.api_key is None


def test_the_dialect_by_hand_has_the_same_rules() -> None:
    by_hand = OpenAICompatibleProvider("https://openrouter.ai/api/v1", model="a/b")
    assert by_hand._service_rules is OPENROUTER
