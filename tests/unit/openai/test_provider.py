"""`OpenAIProvider`: what it sends to the service, and how it reads its refusals."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

import pytest

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    Message,
    ModelNotFoundError,
    OpenAICompatibleProvider,
    OpenAIProvider,
    RequestRejectedError,
    RetryPolicy,
    SchemaError,
    SecretString,
    ServerBusyError,
    ToolCall,
    UnsupportedError,
)
from localproviders.openai_compatible.wire.services import OPENAI
from localproviders.testing import Refusal, Reply, ScriptedServer, http_answer
from tests.support.clouds import FakeOpenAI, bodies

_ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def provider(fake: FakeOpenAI) -> Iterator[OpenAIProvider]:
    with OpenAIProvider(fake.base_url, model="gpt-6-sol", retry=_ONCE) as made:
        yield made


# --- requests -------------------------------------------------------------------------------------


def test_the_limit_has_the_newer_name_in_a_chat_and_the_older_one_for_a_plain_text(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    provider.chat("Hi", max_tokens=20)
    provider.complete(CompletionRequest(prompt="Once", max_tokens=20))
    assert bodies(fake)[0]["max_completion_tokens"] == 20
    assert "max_tokens" not in bodies(fake)[0]
    assert bodies(fake, "/v1/completions")[0]["max_tokens"] == 20


@pytest.mark.parametrize(
    ("thinking", "sent"), [(True, "medium"), (False, "none"), ("high", "high"), (None, None)]
)
def test_thinking_is_an_effort(
    thinking: Any, sent: Any, fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    provider.chat("Hi", thinking=thinking)
    assert bodies(fake)[-1].get("reasoning_effort") == sent
    assert "chat_template_kwargs" not in bodies(fake)[-1]


_MISSING: Mapping[str, Any] = {
    **{"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1, "keep_alive": 60, "context_length": 4096},
    **{"grammar": 'root ::= "a"', "thinking_budget": 100},
}


@pytest.mark.parametrize("name", _MISSING)
def test_a_field_that_the_service_lacks_is_refused_or_left_out(
    name: str, fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    fields: Any = {name: _MISSING[name]}
    with pytest.raises(UnsupportedError, match=name):
        provider.chat("Hi", **fields)
    assert not fake.exchanges
    answer = provider.chat("Hi", strict=False, **fields)
    assert any(name in warning for warning in answer.warnings)
    assert name not in bodies(fake)[-1]


def test_thinking_of_an_earlier_answer_is_not_sent(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    call = ToolCall(id="c1", name="look", arguments={})
    answer = Message(role="assistant", content="", tool_calls=(call,), thinking="Hm.")
    provider.chat([Message.user("Hi"), answer, Message.tool("seen", call)])
    assert set(bodies(fake)[-1]["messages"][1]) == {"role", "content", "tool_calls"}


@dataclass
class _City:
    """An answer."""

    name: str
    people: int = 0


def test_a_schema_is_strict_only_in_the_strict_form(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    fake.reply_with('{"name": "Oslo", "people": 5}', '{"a": 1}')
    assert provider.parse("Which city?", _City).value == _City("Oslo", 5)
    loose = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}}
    provider.chat("Hi", response_schema=loose)
    flags = [body["response_format"]["json_schema"]["strict"] for body in bodies(fake)]
    assert flags[1] is False


# --- refusals of a model ---------------------------------------------------------------------------


def test_a_field_that_a_model_refuses_is_an_error_or_left_out(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    with pytest.raises(CapabilityError, match="temperature") as caught:
        provider.chat("Hi", temperature=0.2)
    assert "strict=False" in (caught.value.hint or "")
    answer = provider.chat("Hi", temperature=0.2, strict=False)
    assert any("temperature" in warning for warning in answer.warnings)
    assert answer.attempts == 2
    assert "temperature" not in bodies(fake)[-1]


def test_a_model_without_reasoning_refuses_an_effort(fake: FakeOpenAI) -> None:
    with OpenAIProvider(fake.base_url, model="gpt-4.1", retry=_ONCE) as provider:
        with pytest.raises(RequestRejectedError, match="reasoning_effort") as caught:
            provider.chat("Hi", thinking="low")
        assert "strict=False" in (caught.value.hint or "")
        answer = provider.chat("Hi", thinking="low", strict=False)
    assert any("thinking" in warning for warning in answer.warnings)


def test_a_compatible_server_gets_the_newer_name_of_the_limit_after_a_refusal(
    fake: FakeOpenAI,
) -> None:
    with OpenAICompatibleProvider(fake.base_url, model="gpt-6-sol", retry=_ONCE) as provider:
        answer = provider.chat("Hi", max_tokens=20)
        provider.chat("Hi", max_tokens=20)
    assert "max_completion_tokens" in answer.warnings[0]
    sent = [sorted(set(body) & {"max_tokens", "max_completion_tokens"}) for body in bodies(fake)]
    # The refusal is remembered, so the second chat is one request.
    assert sent == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


# --- answers ---------------------------------------------------------------------------------------


def test_a_dated_name_is_the_same_model(provider: OpenAIProvider) -> None:
    answer = provider.chat("Hi")
    assert (answer.model, answer.warnings) == ("gpt-6-sol-2026-10-01", ())
    rules = OPENAI.same_model
    assert rules("gpt-6-sol-2026-10-01", "gpt-6-sol")
    assert not rules("gpt-6-sol-mini", "gpt-6-sol") and not rules("gpt-6", "gpt-6-sol")


def test_hidden_thinking_is_counted(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.reply_with(Reply(text="Yes.", thinking="one two three"))
    answer = provider.chat("Hi", thinking=True)
    assert (answer.thinking, answer.usage.thinking_tokens) == ("", 3)
    assert answer.usage.cost_usd is None


def test_a_tool_loop_runs(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    def weather(city: str) -> str:
        """Return the weather.

        Args:
            city: The city.
        """
        return f"sunny in {city}"

    call = ToolCall(id="call_1", name="weather", arguments={"city": "Oslo"})
    fake.reply_with(Reply(text="", thinking="hm", tool_calls=(call,)), "Sunny.")
    assert provider.run_tools("How is Oslo?", [weather], thinking=True).text == "Sunny."


# --- errors ----------------------------------------------------------------------------------------


def _error(status: str, message: str, kind: str, code: Any = None, **headers: str) -> Refusal:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Refusal(body=body, status=status, headers=headers)


def test_an_empty_account_is_not_asked_again(fake: FakeOpenAI) -> None:
    quota = _error(
        "429 X", "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"
    )
    fake.reply_with(quota)
    with OpenAIProvider(fake.base_url, model="gpt-6-sol") as provider:
        with pytest.raises(RequestRejectedError, match="quota") as caught:
            provider.chat("Hi")
    assert len(bodies(fake)) == 1
    assert (caught.value.retryable, caught.value.status) == (False, 429)
    assert "credit" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "9"}, 9.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-tokens": "7",
                "x-ratelimit-reset-tokens": "1h",
            },
            360.0,
        ),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_the_headers(
    headers: Any, wait: Any, fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    headers = {**headers, "x-request-id": "req_7"}
    fake.reply_with(_error("429 X", "Too fast.", "requests", "rate_limit_exceeded", **headers))
    with pytest.raises(ServerBusyError) as caught:
        provider.chat("Hi")
    assert (caught.value.retry_after_s, caught.value.request_id) == (wait, "req_7")


def test_the_service_decides_whether_to_ask_again(fake: FakeOpenAI) -> None:
    options: Any = {"model": "gpt-6-sol", "retry": RetryPolicy(first_wait_s=0)}
    no = _error("503 X", "Busy.", "server_error", **{"x-should-retry": "false"})
    yes = _error("500 X", "Odd.", "server_error", **{"x-should-retry": "true"})
    with OpenAIProvider(fake.base_url, **options) as provider:
        fake.reply_with(no)
        with pytest.raises(ServerBusyError) as caught:
            provider.chat("Hi")
        assert (caught.value.retryable, len(bodies(fake))) == (False, 1)
        fake.reply_with(yes, "Hello.")
        assert provider.chat("Hi").attempts == 2


def test_the_hints_are_about_the_service(fake: FakeOpenAI, provider: OpenAIProvider) -> None:
    fake.reply_with(_error("401 X", "Incorrect API key provided", "x", "invalid_api_key"))
    with pytest.raises(AuthenticationError) as caught:
        provider.chat("Hi")
    assert "OPENAI_API_KEY" in (caught.value.hint or "")
    fake.reply_with(_error("403 X", "Country not supported", "x"))
    with pytest.raises(AuthenticationError) as caught:
        provider.chat("Hi")
    assert "country" in (caught.value.hint or "")
    with pytest.raises(ModelNotFoundError) as missing:
        provider.chat("Hi", model="gpt-0")
    assert "gpt-6-sol" in str(missing.value)


# --- the key ---------------------------------------------------------------------------------------


def test_the_variable_is_read_for_the_address_of_the_service_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234567")
    assert OpenAIProvider().settings.api_key == SecretString.from_env("OPENAI_API_KEY")
    assert OpenAIProvider("https://API.openai.com./v1").settings.api_key is not None
    assert OpenAIProvider("http://127.0.0.1:8000/v1").settings.api_key is None
    assert OpenAIProvider("https://eu.example.com/v1").settings.api_key is None
    assert OpenAIProvider(headers={"Authorization": "x"}).settings.api_key is None


def test_the_variables_of_other_programs_decide_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert OpenAIProvider().settings.endpoint.host == "api.openai.com"


def test_a_pickled_provider_keeps_the_rules_of_the_service(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    with pickle.loads(pickle.dumps(provider)) as again:
        again.chat("Hi", max_tokens=3)
    assert bodies(fake)[-1]["max_completion_tokens"] == 3


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_refusal_is_marked_as_one(is_streamed: bool) -> None:
    said = {"role": "assistant", "content": None, "refusal": "I will not."}
    name = "delta" if is_streamed else "message"
    choice = {"index": 0, name: said, "finish_reason": "stop"}
    body = json.dumps({"model": "gpt-6-sol", "choices": [choice]})
    answer = (
        http_answer(f"data: {body}\n\ndata: [DONE]\n\n".encode(), content_type="text/event-stream")
        if is_streamed
        else http_answer(body.encode())
    )
    with ScriptedServer(lambda _: [answer]) as server:
        with OpenAIProvider(f"{server.url}/v1", model="gpt-6-sol", api_key="sk-1") as made:
            found = made.chat("Hi")
            with pytest.raises(SchemaError, match="refused to answer"):
                made.parse("Hi", {"type": "object"})
            assert len(server.exchanges) == 2
    assert (found.text, found.finish_reason) == ("I will not.", "refusal")
    (warning,) = found.warnings
    assert "refused" in warning


def test_an_answer_that_a_filter_cut_has_a_warning(
    fake: FakeOpenAI, provider: OpenAIProvider
) -> None:
    fake.reply_with(Reply(text="half", finish_reason="content_filter"))
    (warning,) = provider.chat("Hi").warnings
    assert "filter" in warning
