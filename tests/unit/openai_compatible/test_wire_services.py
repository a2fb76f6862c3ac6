"""The rules of the services: what each receives for a field, and what it cannot receive."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

import pytest

from localproviders import (
    CompletionRequest,
    ConfigurationError,
    EmbeddingRequest,
    Message,
    OpenAICompatibleProvider,
    RetryPolicy,
    Tool,
    ToolCall,
    UnsupportedError,
)
from localproviders.openai_compatible.kind import KIND
from localproviders.openai_compatible.wire.requests import completion_payload, embed_payload
from localproviders.openai_compatible.wire.service_rules import USUAL, ServiceRules
from localproviders.openai_compatible.wire.services import SERVICES, rules_at
from localproviders.testing import (
    Exchange,
    FakeModel,
    FakeOpenAICompatible,
    ScriptedServer,
    http_answer,
)

_HI = (Message.user("Hi"),)


def _body(service: str, messages: Any = _HI, **fields: Any) -> Dict[str, Any]:
    request = CompletionRequest(messages=messages, **fields)
    return completion_payload(request, "m", SERVICES[service])[1]


def _served(rules: ServiceRules, url: str, **options: Any) -> OpenAICompatibleProvider:
    """Return a provider with the rules of a service, for a fake server of this machine."""
    made = type("_Service", (OpenAICompatibleProvider,), {"_service_rules": rules})
    found: OpenAICompatibleProvider = made(url, model="m", **options)
    return found


# Service, field, value, and the fields that the service receives. None: the field is refused.
_FIELDS: List[Tuple[str, Dict[str, Any], Any]] = [
    ("groq", {"max_tokens": 9}, {"max_completion_tokens": 9}),
    ("mistral", {"max_tokens": 9}, {"max_tokens": 9}),
    ("deepseek", {"max_tokens": 9}, {"max_tokens": 9}),
    ("together", {"max_tokens": 9}, {"max_tokens": 9}),
    ("gemini", {"max_tokens": 9}, {"max_tokens": 9}),
    ("xai", {"max_tokens": 9}, {"max_completion_tokens": 9}),
    ("mistral", {"seed": 3}, {"random_seed": 3}),
    ("groq", {"seed": 3}, {"seed": 3}),
    ("gemini", {"seed": 3}, None),
    ("deepseek", {"seed": 3}, None),
    ("together", {"top_k": 3, "min_p": 0.1}, {"top_k": 3, "min_p": 0.1}),
    ("fireworks", {"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
    ("groq", {"top_k": 3}, None),
    ("xai", {"repeat_penalty": 1.1}, None),
    ("gemini", {"frequency_penalty": 0.1}, None),
    ("groq", {"logprobs": True}, None),
    ("mistral", {"top_logprobs": 2}, None),
    ("deepseek", {"thinking": True}, {"thinking": {"type": "enabled"}}),
    ("deepseek", {"thinking": False}, {"thinking": {"type": "disabled"}}),
    (
        "deepseek",
        {"thinking": "max"},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
    ),
    ("deepseek", {"thinking": "minimal"}, None),
    ("deepseek", {"temperature": 0.1}, None),
    ("deepseek", {"temperature": 0.1, "thinking": True}, None),
    (
        "deepseek",
        {"temperature": 0.1, "thinking": False},
        {"temperature": 0.1, "thinking": {"type": "disabled"}},
    ),
    ("mistral", {"thinking": True}, {"reasoning_effort": "high"}),
    ("mistral", {"thinking": False}, {"reasoning_effort": "none"}),
    ("mistral", {"thinking": "low"}, None),
    ("groq", {"thinking": True}, None),
    ("groq", {"thinking": "default"}, {"reasoning_effort": "default"}),
    ("together", {"thinking": True}, {"reasoning": {"enabled": True}}),
    ("together", {"thinking": False}, {"reasoning": {"enabled": False}}),
    ("fireworks", {"thinking": False}, {"reasoning_effort": "none"}),
    ("gemini", {"thinking": "low"}, {"reasoning_effort": "low"}),
    ("xai", {"thinking": True}, {"reasoning_effort": "medium"}),
    ("xai", {"thinking_budget": 9}, None),
    ("deepseek", {"response_schema": {"type": "object"}}, None),
    *((name, {"context_length": 9}, None) for name in SERVICES),
    *((name, {"keep_alive": 9}, None) for name in SERVICES),
    *((name, {"grammar": 'root ::= "a"'}, None) for name in SERVICES),
]
_IDS = [f"{service} {'-'.join(map(str, given.items()))}" for service, given, _ in _FIELDS]


@pytest.mark.parametrize(("service", "given", "sent"), _FIELDS, ids=_IDS)
def test_each_field_is_written_as_the_service_wants_it(
    service: str, given: Dict[str, Any], sent: Any
) -> None:
    rules = SERVICES[service]
    with FakeOpenAICompatible(["m"]) as fake, _served(rules, fake.base_url) as provider:
        if sent is None:
            with pytest.raises(UnsupportedError) as caught:
                provider.chat("Hi", **given)
            assert caught.value.hint and not fake.exchanges
            return
        provider.chat("Hi", **given)
        body = fake.exchanges[-1].json
    rest = ("model", "messages", "stream", "stream_options", "provider", "plugins")
    assert {name: body[name] for name in body if name not in rest} == sent


def test_a_service_that_reports_its_usage_is_not_asked_for_it() -> None:
    silent = {name for name in SERVICES if "stream_options" not in _body(name)}
    assert silent == {"openrouter", "mistral"}


def test_a_forced_call_has_the_word_of_the_service() -> None:
    tool = Tool(name="look", description="Look.", parameters={"type": "object"})
    choices = {name: _body(name, tools=(tool,), tool_choice="required") for name in SERVICES}
    words = {name: body["tool_choice"] for name, body in choices.items()}
    assert words.pop("mistral") == "any"
    assert set(words.values()) == {"required"}


# --- the thinking of earlier answers ---------------------------------------------------------------

_CALL = ToolCall(id="c1", name="look", arguments={})
_DATA: Mapping[str, Any] = {
    "api": "openai",
    "model": "m",
    "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "x"}],
    "tool_calls": {"c1": {"google": {"thought_signature": "s"}}},
}
_ANSWER = Message(role="assistant", content="", tool_calls=(_CALL,), thinking="Hm.")
_HISTORY = (Message.user("Hi"), _ANSWER, Message.tool("seen", _CALL))


def test_thinking_goes_back_in_the_form_of_the_service() -> None:
    sent = {name: _body(name, _HISTORY)["messages"][1] for name in SERVICES}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    assert sent["mistral"]["content"] == [thought]
    has_text = {name for name in sent if sent[name].get("reasoning_content") == "Hm."}
    assert has_text == {"deepseek", "together", "fireworks"}


def test_an_empty_content_is_left_out_where_it_is_refused() -> None:
    answer = _ANSWER.replace(thinking="")
    history = (Message.user("Hi"), answer, Message.tool("seen", _CALL))
    without = {name for name in SERVICES if "content" not in _body(name, history)["messages"][1]}
    assert without == {"mistral"}


def test_signatures_go_back_to_services_that_want_them() -> None:
    answer = _ANSWER.replace(provider_data=_DATA)
    history = (Message.user("Hi"), answer, Message.tool("seen", _CALL))
    sent = {name: _body(name, history)["messages"][1] for name in SERVICES}
    (call,) = sent["gemini"]["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "s"}}
    assert sent["openrouter"]["reasoning_details"] == list(_DATA["reasoning_details"])
    for name in ("openai", "groq", "xai"):
        assert set(sent[name]) == {"role", "content", "tool_calls"}
        assert set(sent[name]["tool_calls"][0]) == {"id", "type", "function"}


# --- embeddings and plain texts --------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_vectors_are_requested_in_a_form_that_the_service_has(service: str) -> None:
    rules = SERVICES[service]
    body = embed_payload(EmbeddingRequest(texts=("a",)), "m", rules)
    assert ("encoding_format" in body) == rules.has_base64
    models = [FakeModel(name="m", abilities=("embeddings",))]
    with FakeOpenAICompatible(models) as fake, _served(rules, fake.base_url) as provider:
        if rules.can_embed:
            assert provider.embed(["a"]).dimensions == 16
            return
        with pytest.raises(UnsupportedError, match="no embeddings") as caught:
            provider.embed(["a"])
        assert caught.value.hint and not fake.exchanges


def test_a_plain_text_is_continued_only_where_there_is_a_route() -> None:
    able = set()
    for name, rules in SERVICES.items():
        with FakeOpenAICompatible(["m"]) as fake, _served(rules, fake.base_url) as provider:
            try:
                provider.complete(CompletionRequest(prompt="Once"))
            except UnsupportedError as error:
                assert "messages" in (error.hint or "")  # noqa: PT017  # some services have it
            else:
                able.add(name)
    assert able == {"openai", "openrouter", "together", "fireworks"}


def test_parse_writes_the_schema_in_words_for_a_service_without_schemas() -> None:
    with FakeOpenAICompatible(["m"]) as fake:
        fake.reply_with('{"a": 1}')
        with _served(SERVICES["deepseek"], fake.base_url) as provider:
            assert provider.parse("Which?", Dict[str, int]).value == {"a": 1}
        body = fake.exchanges[-1].json
    assert "JSON Schema" in body["messages"][-1]["content"]
    assert "response_format" not in body


# --- answers of the services ----------------------------------------------------------------------


def _ask(service: str, *records: Any) -> Any:
    events = [f"data: {json.dumps(record)}\n\n" for record in records]
    body = "".join([*events, "data: [DONE]\n\n"]).encode()
    answer = http_answer(body, content_type="text/event-stream")
    with ScriptedServer(lambda _: [answer]) as server:
        with _served(SERVICES[service], server.url) as provider:
            return provider.chat("Hi")


def _delta(finish: Any = None, **delta: Any) -> Dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_thinking_that_is_counted_beside_the_answer_is_added() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
        "cost_in_usd_ticks": 25_000_000,
    }
    last = {"choices": [], "usage": usage}
    answer = _ask("xai", _delta("stop", content="Yes."), last)
    assert (answer.usage.completion_tokens, answer.usage.thinking_tokens) == (25, 20)
    assert answer.usage.total_tokens == 35
    assert answer.usage.cost_usd == 0.0025
    inside = {**usage, "total_tokens": 35, "completion_tokens": 25}
    answer = _ask("openai", _delta("stop", content="Yes."), {"choices": [], "usage": inside})
    assert answer.usage.completion_tokens == 25


def test_a_price_of_another_server_is_not_taken_for_dollars() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 3.5}
    answer = _ask("together", _delta("stop", content="Yes.", usage=usage), {"usage": usage})
    assert answer.usage.cost_usd is None


@pytest.mark.parametrize(
    ("service", "one", "other", "is_same"),
    [
        ("gemini", "models/gemini-3", "gemini-3", True),
        ("gemini", "models/gemini-3", "gemini-2", False),
        ("openai", "gpt-6-2026-10-01", "gpt-6", True),
        ("groq", "llama:latest", "llama", False),
    ],
)
def test_names_that_mean_one_model(service: str, one: str, other: str, is_same: bool) -> None:
    assert SERVICES[service].same_model(one, other) is is_same


# --- the table of names ----------------------------------------------------------------------------


def test_a_service_is_found_by_its_name_and_by_its_address() -> None:
    for service in KIND.services:
        with OpenAICompatibleProvider(service.name) as by_name:
            host = by_name.settings.endpoint.host
        assert rules_at(host) is SERVICES[service.name]
        with OpenAICompatibleProvider(service.address) as by_hand:
            assert by_hand._service_rules is SERVICES[service.name]
    assert rules_at("API.Groq.com.") is SERVICES["groq"]
    assert rules_at("example.com") is None


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("resource.openai.azure.com", "openai"),
        ("Resource.OpenAI.Azure.com.", "openai"),
        ("eu.api.openai.com", "openai"),
        ("us.api.x.ai", "xai"),
        ("api.x.ai", "xai"),
        ("notapi.x.ai", None),
        ("x.ai", None),
        ("openai.azure.com.example.com", None),
    ],
)
def test_a_subdomain_has_the_rules_of_its_service(host: str, service: Optional[str]) -> None:
    expected = None if service is None else SERVICES[service]
    assert rules_at(host) is expected
    with OpenAICompatibleProvider(f"https://{host}/v1", locality="any") as provider:
        assert provider._service_rules is (expected or USUAL)


@pytest.mark.parametrize("host", [host for each in SERVICES.values() for host in each.hosts])
def test_no_key_of_a_service_goes_to_a_subdomain(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rules in SERVICES.values():
        monkeypatch.setenv(rules.key_variable, "k")
    with OpenAICompatibleProvider(f"https://region.{host}/v1", locality="any") as provider:
        assert not provider.settings.has_key


@pytest.mark.parametrize("name", ["openai", "openrouter", "anthropic"])
def test_a_kind_of_its_own_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match="has a provider class of its own") as caught:
        OpenAICompatibleProvider(name)
    assert "Provider()" in (caught.value.hint or "")


@pytest.mark.parametrize("service", [service.name for service in KIND.services])
def test_the_key_is_read_from_the_variable_of_the_service(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVICES[service].key_variable, "sk-secret-1234567")
    assert OpenAICompatibleProvider(service).settings.api_key is not None
    assert OpenAICompatibleProvider("http://127.0.0.1:1/v1").settings.api_key is None


def test_an_error_of_a_service_names_its_variable() -> None:
    def refuse(exchange: Exchange) -> List[bytes]:
        return [http_answer({"detail": "Unauthorized"}, status="401 X")]

    with ScriptedServer(refuse) as server:
        options: Any = {"retry": RetryPolicy(attempts=1)}
        with _served(SERVICES["mistral"], server.url, **options) as provider:
            with pytest.raises(ConfigurationError) as caught:
                provider.chat("Hi")
    assert "MISTRAL_API_KEY" in (caught.value.hint or "")
