"""Each recorded response of llama.cpp's route ``/v1/messages``, read by the provider."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple, Type

import pytest

from localproviders import (
    AnthropicProvider,
    AuthenticationError,
    CapabilityError,
    CompletionResponse,
    ContextOverflowError,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    UnsupportedError,
)
from localproviders.testing import Exchange, ScriptedServer
from tests.support.messages import body_of, read_message
from tests.support.recordings import anthropic_names, dialect_exchange

#: The recordings of errors: the class, and words of the server.
ERRORS: Dict[str, Tuple[Type[ProviderError], str]] = {
    "apikey_count_tokens_missing": (AuthenticationError, "Invalid API Key"),
    "apikey_missing": (AuthenticationError, "Invalid API Key"),
    "batches": (UnsupportedError, "File Not Found"),
    "context_overflow": (ContextOverflowError, "exceeds the available context size"),
    "count_tokens_no_messages": (ServerError, "'messages' is required"),
    "error_bad_json": (RequestRejectedError, "parse error"),
    "error_content_number": (RequestRejectedError, "Expected 'content'"),
    "error_image_base64": (CapabilityError, "image input is not supported"),
    "loading_messages": (ServerBusyError, "Loading model"),
    "models_one": (UnsupportedError, "File Not Found"),
}
#: The recordings of other routes than that of messages.
COUNTS = {"count_tokens": 100, "thinking_history_count": 150}
KILLED = "stream_server_sigkill"
_VERBS: Dict[str, Callable[[AnthropicProvider], Any]] = {
    **dict.fromkeys(
        (*COUNTS, "apikey_count_tokens_missing", "count_tokens_no_messages"),
        lambda provider: provider.count_tokens("Hi"),
    ),
    "models": lambda provider: provider.list_models(),
    "models_one": lambda provider: provider.model_info("gemma3-270m"),
}
ANSWERS = sorted({*anthropic_names()} - {*ERRORS, *COUNTS, KILLED, "models"})


def ask(name: str, url: str) -> Any:
    """Call the verb that reads a recording, at an address."""
    once = RetryPolicy(attempts=1)
    with AnthropicProvider(url, model="gemma3-270m", retry=once, timeout=20) as provider:
        return _VERBS.get(name, lambda each: each.chat("Hi"))(provider)


def _answer(name: str, *, one_byte: bool = False) -> Any:
    response = dialect_exchange(name, "anthropic")[1]
    script: List[Any] = [response, *([Exchange.close] if name == KILLED else [])]
    with ScriptedServer(lambda _: script, one_byte_writes=one_byte) as server:
        return ask(name, server.url)


def check_answer(found: CompletionResponse, body: bytes) -> None:
    """Compare a response with what a plain reader finds in its body."""
    expected = read_message(body)
    calls = [(call.name, call.arguments) for call in found.tool_calls]
    assert (found.text, found.thinking) == (expected.text, expected.thinking)
    assert (calls, found.finish_reason) == (expected.calls, expected.stop_reason)
    used, usage = expected.usage, found.usage
    cached = used.get("cache_read_input_tokens")
    written = used.get("cache_creation_input_tokens")
    assert usage.prompt_tokens == used["input_tokens"] + (cached or 0) + (written or 0)
    assert (usage.cached_tokens, usage.cache_write_tokens) == (cached, written)
    assert usage.completion_tokens == used["output_tokens"]
    if found.provider_data:
        kept = found.provider_data["content"]
        assert [block["type"] for block in kept] == [b["type"] for b in expected.blocks]
        thoughts = [block for block in kept if block["type"] == "thinking"]
        signed = [b for b in expected.blocks if b["type"] == "thinking"]
        assert [(b["thinking"], b["signature"]) for b in thoughts] == [
            (b["thinking"], b.get("signature", "")) for b in signed
        ]


both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


@pytest.mark.sample(10)
@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_as_a_plain_reader_reads_it(name: str, one_byte: bool) -> None:
    body = body_of(dialect_exchange(name, "anthropic")[1])
    check_answer(_answer(name, one_byte=one_byte), body)


def test_the_numbers_of_some_answers() -> None:
    found = _answer("thinking_stream")
    assert (found.text, found.thinking) == ("8.", "Five plus 3 is 6.\n")
    assert (found.usage.prompt_tokens, found.usage.cached_tokens) == (120, 115)
    assert [block["type"] for block in found.provider_data["content"]] == ["thinking", "text"]
    assert _answer("empty_answer_stream").text == ""
    assert _answer("window_full").finish_reason == "max_tokens"
    assert _answer("messages_stream_unicode").text.startswith("\u4f60\u597d \U0001f600 caf\u00e9")


def test_the_answer_of_another_model_has_a_warning() -> None:
    response = dialect_exchange("unknown_model", "anthropic")[1]
    with ScriptedServer(response) as server:
        with AnthropicProvider(server.url, model="claude-opus-5-5") as provider:
            first = provider.chat("Hi", max_tokens=9)
            second = provider.chat("Hi", max_tokens=9, allow_other_model=True)
    (warning,) = first.warnings
    expected = "requested model 'claude-opus-5-5', but the server answered with 'gemma3-270m'"
    assert (warning, second.warnings) == (expected, ())


@both_ways
@pytest.mark.parametrize("name", sorted(ERRORS))
def test_an_error_has_its_class_and_the_words_of_the_server(name: str, one_byte: bool) -> None:
    kind, words = ERRORS[name]
    with pytest.raises(ProviderError) as caught:
        _answer(name, one_byte=one_byte)
    assert type(caught.value) is kind
    assert words in str(caught.value.server_message)


def test_an_overflow_has_both_numbers() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        _answer("context_overflow")
    assert (caught.value.prompt_tokens, caught.value.context_length) == (794, 512)


def test_a_server_that_is_loading_is_asked_again() -> None:
    with pytest.raises(ServerBusyError) as caught:
        _answer("loading_messages")
    assert caught.value.loading


def test_an_answer_of_a_killed_server_is_interrupted() -> None:
    with pytest.raises(StreamInterruptedError) as caught:
        _answer(KILLED)
    assert (caught.value.partial, caught.value.retryable) == ("ab ab", True)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_a_count_is_exact(name: str) -> None:
    found = _answer(name)
    assert (found.tokens, found.source) == (COUNTS[name], "exact")
    assert found.detail == "the server's /v1/messages/count_tokens"


def test_the_list_of_a_local_server_is_read() -> None:
    (info,) = _answer("models")
    assert (info.name, info.capabilities.max_context_length) == ("gemma3-270m", 32768)
