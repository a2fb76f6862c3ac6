"""Each recorded response of a real OpenAI-compatible server, parsed by the provider."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Type

import pytest

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    ContextOverflowError,
    Message,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
    StreamInterruptedError,
    ToolCallError,
)
from localproviders.testing import ScriptedServer
from tests.support import recordings

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])

# name: text (None: checked by shape), finish reason, prompt tokens
ANSWERS: Dict[str, Tuple[Any, str, Any]] = {
    "chat": (" Paris.", "stop", 100),
    "chat_stream": (" Paris.", "stop", None),
    "chat_stream_usage": (" Paris.", "stop", 100),
    "chat_stream_length": (" Paris.", "length", None),
    "chat_stream_unicode": (None, "stop", None),
    "completions_stream": (None, "length", None),
    "json_schema_stream": (None, "stop", None),
    "sse_ping": (None, "length", None),
    "thinking_stream": (None, "stop", None),
    "tool_call": ("", "tool_calls", 245),
    "tool_call_stream": ("", "tool_calls", None),
    "unknown_model": (" Paris.", "stop", 100),
}

ERRORS: Dict[str, Type[ProviderError]] = {
    "apikey_missing": AuthenticationError,
    "context_overflow": ContextOverflowError,
    "error_bad_json": RequestRejectedError,
    "error_embeddings_chat": CapabilityError,
    "loading_chat": ServerBusyError,
    "loading_health": ServerBusyError,
    "stream_server_sigkill": StreamInterruptedError,
    "stream_server_sigterm": StreamInterruptedError,
    "health_ok": ProviderError,
}

SPECIAL = {"apply_template", "models", "embeddings_base64", "embeddings_float"}


def provider_of(server: ScriptedServer) -> OpenAICompatibleProvider:
    once = RetryPolicy(attempts=1)  # a recording of a loading server loads for ever
    return OpenAICompatibleProvider(server.url + "/v1", model="gemma3-270m", timeout=60, retry=once)


def ask(provider: OpenAICompatibleProvider, name: str) -> Any:
    if name == "completions_stream":
        return provider.complete(CompletionRequest(prompt="Hi"))
    return provider.complete(CompletionRequest(messages=(Message.user("Hi"),)))


def test_every_recording_is_used() -> None:
    assert {*ANSWERS, *ERRORS, *SPECIAL} == set(recordings.dialect_names())


@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_comes_out_right(name: str, one_byte: bool) -> None:
    text, finish, prompt = ANSWERS[name]
    _, answer = recordings.dialect_exchange(name)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            response = ask(provider, name)

    assert text is None or response.text == text
    assert response.finish_reason == finish
    assert prompt is None or response.usage.prompt_tokens == prompt
    assert response.text or response.thinking or response.tool_calls


@both_ways
@pytest.mark.parametrize("name", ERRORS)
def test_error_has_its_class(name: str, one_byte: bool) -> None:
    _, answer = recordings.dialect_exchange(name)

    def script(exchange: Any) -> Any:
        return [answer, lambda exchange: exchange.close()]

    with ScriptedServer(script, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider, pytest.raises(ERRORS[name]) as caught:
            ask(provider, name)

    if name.startswith("stream_server"):
        assert len(caught.value.partial) > 20


def test_overflow_names_both_numbers() -> None:
    _, answer = recordings.dialect_exchange("context_overflow")
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        with pytest.raises(ContextOverflowError) as caught:
            ask(provider, "context_overflow")

    assert (caught.value.prompt_tokens, caught.value.context_length) == (2383, 512)


@both_ways
@pytest.mark.parametrize("name", ["tool_call", "tool_call_stream"])
def test_tool_calls_come_whole(name: str, one_byte: bool) -> None:
    _, answer = recordings.dialect_exchange(name)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            (call,) = ask(provider, name).tool_calls

    assert (call.name, call.arguments["city"]) == ("get_weather", "Paris")
    assert len(call.id) == 32


def test_a_tool_call_cut_short_is_an_error() -> None:
    _, answer = recordings.dialect_exchange("tool_call_stream")
    head, _, body = answer.partition(b"\r\n\r\n")
    # Remove the last piece of the arguments, but not the end of the response.
    events = body.split(b'"arguments":"')
    broken = (
        b'"arguments":"'.join(events[:-1]) + b'"arguments":"' + events[-1].replace(b"}", b" ", 1)
    )
    with ScriptedServer(head + b"\r\n\r\n" + broken) as server:
        with provider_of(server) as provider, pytest.raises((ToolCallError, ProviderError)):
            ask(provider, "tool_call_stream")


def test_thinking_stands_apart() -> None:
    _, answer = recordings.dialect_exchange("thinking_stream")
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        response = ask(provider, "thinking_stream")

    assert response.thinking.startswith("France is a country")
    assert "country" not in response.text


def test_unicode_survives_every_cut() -> None:
    _, answer = recordings.dialect_exchange("chat_stream_unicode")
    with ScriptedServer(answer, one_byte_writes=True) as server, provider_of(server) as provider:
        text = ask(provider, "chat_stream_unicode").text

    assert "�" not in text
    assert any(ord(letter) > 0xFFFF for letter in text)


def test_another_model_is_a_warning() -> None:
    request, answer = recordings.dialect_exchange("unknown_model")
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        response = provider.chat("Hi", model=request["body"]["model"])

    assert response.model == "gemma3-270m"
    assert len(response.warnings) == 1


@both_ways
def test_both_spellings_of_vectors_are_equal(one_byte: bool) -> None:
    vectors = []
    for name in ("embeddings_base64", "embeddings_float"):
        request, answer = recordings.dialect_exchange(name)
        texts = request["body"]["input"]
        with ScriptedServer(answer, one_byte_writes=one_byte) as server:
            with provider_of(server) as provider:
                vectors.append(provider.embed(texts).vectors)

    assert vectors[0] == vectors[1]
    assert len(vectors[0][0]) == 384


@both_ways
def test_model_list(one_byte: bool) -> None:
    _, answer = recordings.dialect_exchange("models")
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            (info,) = provider.list_models()

    assert info.name == "gemma3-270m"
    assert info.capabilities.max_context_length == 32768
