"""The route ``/v1/messages`` of a real llama.cpp server with a real model."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import pytest

from localproviders import (
    AnthropicProvider,
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    LlamaCppProvider,
    Message,
    ModelNotFoundError,
    UnsupportedError,
    create_provider,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]

_QUESTION = "What is the capital of France?"


def weather(city: str) -> str:
    """Return the weather.

    Args:
        city: The city.
    """
    return "25 degrees, cloudy"


@contextlib.contextmanager
def _messages_of(engine: LlamaCppProvider, **options: Any) -> Iterator[AnthropicProvider]:
    """Make a provider for the other dialect of the engine."""
    settings = engine.settings
    url, given = settings.endpoint.url, {"api_key": settings.api_key, "max_tokens": 200, **options}
    with AnthropicProvider(url, model=settings.model, **given) as provider:
        yield provider


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppProvider]:
    with LocalEngine("chat") as provider:
        yield provider


@pytest.fixture(scope="module")
def chat(engine: LlamaCppProvider) -> Iterator[AnthropicProvider]:
    with _messages_of(engine) as provider:
        yield provider


def test_it_chats_whole_and_streamed(chat: AnthropicProvider, engine: LlamaCppProvider) -> None:
    whole = chat.chat(_QUESTION, temperature=0, max_tokens=20)
    with chat.stream(_QUESTION, temperature=0, max_tokens=20) as stream:
        text = "".join(chunk.text for chunk in stream)
    assert "Paris" in whole.text
    assert text == whole.text == engine.chat(_QUESTION, temperature=0, max_tokens=20).text
    usage = stream.result().usage
    assert usage.prompt_tokens == whole.usage.prompt_tokens and usage.cached_tokens
    assert (whole.finish_reason, whole.warnings) == ("end_turn", ())
    short = chat.chat(_QUESTION, temperature=0, max_tokens=1)
    assert (short.finish_reason, short.usage.completion_tokens) == ("max_tokens", 1)


def test_a_stop_sequence_ends_the_answer(chat: AnthropicProvider) -> None:
    assert "Paris" not in chat.chat(_QUESTION, temperature=0, stop=["Paris"]).text


def test_a_count_equals_the_usage(chat: AnthropicProvider) -> None:
    for tools in ([], [weather]):
        count = chat.count_tokens(_QUESTION, system="Be brief.", tools=tools)
        answer = chat.chat(_QUESTION, system="Be brief.", tools=tools, max_tokens=2)
        assert count.source == "exact"
        assert count.tokens == answer.usage.prompt_tokens


def test_tools_are_called_and_their_results_are_read(chat: AnthropicProvider) -> None:
    question = "What is the weather in Rome?"
    run = chat.run_tools(question, [weather], temperature=0, max_rounds=3)
    assert run.steps and run.steps[0].call.name == "weather"
    assert run.steps[0].content == "25 degrees, cloudy"
    assert run.rounds == 2 and run.text.strip()
    whole = chat.chat(question, tools=[weather], temperature=0).tool_calls
    with chat.stream(question, tools=[weather], temperature=0) as stream:
        calls = stream.result().tool_calls
    assert calls and {call.name for call in calls} == {"weather"}
    assert [call.arguments for call in calls] == [call.arguments for call in whole]
    forced = chat.chat(_QUESTION, tools=[weather], tool_choice="weather", temperature=0)
    assert {each.name for each in forced.tool_calls} == {"weather"}


def test_what_the_server_ignores_is_refused(chat: AnthropicProvider) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    refused: Any = (
        {"response_schema": schema},
        {"thinking": True},
        {"thinking_budget": 2000},
        {"tools": [weather], "tool_choice": "none"},
    )
    for fields in refused:
        with pytest.raises(UnsupportedError, match="support"):
            chat.chat(_QUESTION, **fields)
    with pytest.raises(UnsupportedError, match="does not read documents"):
        chat.chat(Message.user(_QUESTION, documents=[b"a text"]))
    (warning,) = chat.chat(_QUESTION, thinking=True, strict=False, temperature=0).warnings
    assert "thinking" in warning


def test_parse_writes_the_schema_in_words(chat: AnthropicProvider) -> None:
    parsed = chat.parse("Give a person as JSON.", {"type": "object"}, temperature=0, max_tokens=60)
    assert isinstance(parsed.value, dict)
    assert any("written into the prompt" in each for each in parsed.response.warnings)


def test_errors_have_their_classes(chat: AnthropicProvider, engine: LlamaCppProvider) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        chat.chat("word " * 3000)
    assert caught.value.context_length == 2048 and caught.value.prompt_tokens
    with pytest.raises(CapabilityError):
        chat.chat(Message.user("Hi", images=[b"\x89PNG\r\n\x1a\n" + bytes(9)]))
    with _messages_of(engine, api_key="wrong") as other:
        with pytest.raises(AuthenticationError):
            other.chat("Hi")
    (listed,) = chat.list_models()
    assert chat.model_info(listed.name).name == listed.name
    with pytest.raises(ModelNotFoundError):
        chat.model_info("nope")


def test_another_name_is_answered_by_the_only_model(engine: LlamaCppProvider) -> None:
    with _messages_of(engine) as provider:
        answer = provider.chat(_QUESTION, model="claude-opus-5-5", max_tokens=5)
    assert [each for each in answer.warnings if "claude-opus-5-5" in each]


def test_thinking_is_separate_and_its_blocks_go_back() -> None:
    with LocalEngine("thinking") as engine, _messages_of(engine) as provider:
        first = provider.chat("What is 5 plus 3?", temperature=0)
        with provider.stream("What is 5 plus 3?", temperature=0) as stream:
            streamed = stream.result()
        assert first.thinking.strip() and first.text.strip()
        assert (streamed.text, streamed.thinking) == (first.text, first.thinking)
        kinds = [block["type"] for block in first.provider_data["content"]]
        assert kinds == ["thinking", "text"]
        history = [Message.user("What is 5 plus 3?"), first.message, Message.user("And 1 plus 1?")]
        assert provider.chat(history, temperature=0).text.strip()


def test_one_text_makes_the_provider(
    engine: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = engine.settings
    monkeypatch.setenv("LOCALPROVIDERS_MODEL", "anthropic/chat")
    monkeypatch.setenv("LOCALPROVIDERS_SERVERS_ANTHROPIC_ENDPOINT", settings.endpoint.url)
    assert settings.api_key is not None
    monkeypatch.setenv("LOCALPROVIDERS_SERVERS_ANTHROPIC_API_KEY", settings.api_key.reveal())
    with create_provider() as provider:
        assert isinstance(provider, AnthropicProvider)
        assert "Paris" in provider.chat(_QUESTION, temperature=0, max_tokens=20).text
