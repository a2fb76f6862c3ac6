"""Answers and errors that issues and tests of public projects show, read as they are meant.

They are not ours to copy: they are read beside the project.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple, Type

import pytest

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    ContextOverflowError,
    LMStudioProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerError,
    ToolCallError,
)
from localproviders.testing import ScriptedServer, http_answer
from localproviders.types import Usage
from tests.support.recordings import PUBLISHED, needs_published_answers

_CITY = "get_weather"
_CODE = "A code block with json syntax highlighting would be appropriate for clarity."

# file: text, thinking, finish reason, calls
ANSWERS: Dict[str, Tuple[str, str, str, Any]] = {
    "anthropic-openai-endpoint-ping.sse": (
        "Hello! How can I assist you today? I'm here to help", "", "stop", []
    ),
    "azure-prompt-filter-first.sse": ("Hi", "", "stop", []),
    "dashscope-qwen-vl-tool-call-id-repeated.sse": ("", "", "tool_calls", [("dev-test", {})]),
    "deepseek-keep-alive-usage-null.sse": ("Hello there!", "", "stop", []),
    "fireworks-tool-call-without-arguments.sse": (
        "", "", "tool_calls", [("get_current_weather", {})]
    ),
    "gemini-split-arguments-without-index.sse": ("", "", "stop", [(_CITY, {"location": "Sydney"})]),
    "gemini-two-calls-without-index-empty-ids.sse": (
        "", "", "stop", [(_CITY, {"city": "Beijing"}), (_CITY, {"city": "Shanghai"})]
    ),
    "groq-usage-in-x-groq.sse": ("", "", "tool_calls", [("test-tool", {"value": "Sparkle Day"})]),
    "koboldcpp-reasoning-only-no-index.json": ("", "Let me think about this.", "stop", []),
    "lmstudio-0.3.15-tool-call-pieces.sse": ("", "", "tool_calls", [("list_files", {"count": 3})]),
    "mistral-magistral-stream-thinking-parts.sse": (
        "Hello!", "'s a greeting, I should return a greeting", "stop", []
    ),
    "modelscope-choices-null-preamble.sse": ("Hi", "", "stop", []),
    "openai-obfuscation.sse": (" popular but", "", "stop", []),
    "openrouter-processing-comments.sse": ("亚", "", "stop", []),
    "openwebui-sources-chunk-first.sse": ("From the file.", "", "stop", []),
    "sglang-usage-reasoning-tokens-beside.json": ('{"ok":true}', _CODE, "stop", []),
    "textgen-2023-06-message-beside-delta.sse": (" like me to assist you", "", "stop", []),
    "textgen-2024-02-no-done-mark.sse": (" you run your training", "", "stop", []),
    "tgi-1.4.3-choice-index-counts-tokens.sse": ("I'm", "", "length", []),
    "tgi-2.x-tool-call-is-an-object.sse": (
        "", "", "tool_calls", [("get_current_time", {"timezone": "UTC"})]
    ),
    "together-text-beside-delta-think.sse": ("ABC", "\nhmm\n", "stop", []),
    "together-text-beside-delta.sse": ("ABC", "", "stop", []),
}  # fmt: skip

# Answers without usage in their file are not in this table.
_USAGES = {
    "deepseek-keep-alive-usage-null.sse": Usage(
        prompt_tokens=9, completion_tokens=11, cached_tokens=0
    ),
    "fireworks-tool-call-without-arguments.sse": Usage(prompt_tokens=200, completion_tokens=15),
    "groq-usage-in-x-groq.sse": Usage(prompt_tokens=18, completion_tokens=439),
    "mistral-magistral-stream-thinking-parts.sse": Usage(prompt_tokens=10, completion_tokens=30),
    "modelscope-choices-null-preamble.sse": Usage(prompt_tokens=0, completion_tokens=0),
    "openai-obfuscation.sse": Usage(
        prompt_tokens=9, completion_tokens=2, cached_tokens=0, thinking_tokens=0
    ),
    "openrouter-processing-comments.sse": Usage(prompt_tokens=14, completion_tokens=3),
    "sglang-usage-reasoning-tokens-beside.json": Usage(
        prompt_tokens=96, completion_tokens=111, thinking_tokens=91, cached_tokens=64
    ),
    "together-text-beside-delta-think.sse": Usage(prompt_tokens=5, completion_tokens=9),
    "together-text-beside-delta.sse": Usage(prompt_tokens=5, completion_tokens=2),
}

LIST = "one-api-0.3.4-models-bare-list.json"
COMPLETION = "openai-completion-echo-first-logprob-null.json"

# file: status, allowed classes, words of the server, text before the error
ERRORS: Dict[str, Tuple[str, Tuple[Type[ProviderError], ...], str, str]] = {
    "fastapi-422-detail-list.json": (
        "422 Unprocessable Entity", (RequestRejectedError,), "Field required", ""
    ),
    "gemini-400-api-key-not-valid.json": (
        "400 Bad Request", (AuthenticationError,),
        "API key not valid. Please pass a valid API key.", "",
    ),
    "groq-400-tool-use-failed.json": (
        "400 Bad Request", (RequestRejectedError, ToolCallError), "Failed to call a function.", ""
    ),
    "koboldcpp-200-inactive-finish-error.json": ("200 OK", (ServerError,), "", ""),
    "litellm-stream-error-chunk.sse": (
        "200 OK", (ServerError,), "litellm.APIConnectionError: Extra data: line 1 column 8", ""
    ),
    "llamacpp-2026-error-data-midstream.sse": (
        "200 OK", (ContextOverflowError,),
        "request (2358 tokens) exceeds the available context size (2048 tokens)", "Once upon",
    ),
    "llamacpp-b5966-error-field-first.sse": (
        "200 OK", (ContextOverflowError,), "the request exceeds the available context size", ""
    ),
    "lmstudio-400-jinja.json": (
        "400 Bad Request", (RequestRejectedError, CapabilityError),
        "Only user and assistant roles are supported!", "",
    ),
    "minimax-200-base-resp-error.json": (
        "200 OK", (ProviderError,), "invalid params, chat content is empty", ""
    ),
    "openai-400-stream-unsupported.json": (
        "400 Bad Request", (RequestRejectedError, CapabilityError),
        "Unsupported value: 'stream' does not support true with this model.", "",
    ),
    "openrouter-stream-error-inside-choice.sse": (
        "200 OK", (ServerError,), "Upstream idle timeout exceeded", '{"a":'
    ),
    "vllm-stream-object-error.sse": (
        "200 OK", (RequestRejectedError, ServerError),
        "max_tokens must be at least 1, got -186.", "One",
    ),
}  # fmt: skip

pytestmark = needs_published_answers


def answer_of(name: str) -> bytes:
    """Return a file as a complete HTTP response."""
    body = (PUBLISHED / name).read_bytes()
    is_stream = name.endswith(".sse")
    kind = "text/event-stream" if is_stream else "application/json"
    status = ERRORS[name][0] if name in ERRORS else "200 OK"
    return http_answer(body, status=status, content_type=kind, chunked=is_stream)


def _serve(name: str, one_byte: bool = False) -> ScriptedServer:
    return ScriptedServer(answer_of(name), one_byte_writes=one_byte)


def provider_of(name: str, url: str) -> OpenAICompatibleProvider:
    """Return a provider for the server from which a file comes."""
    retry = RetryPolicy(attempts=1)
    if name.startswith("lmstudio"):
        return LMStudioProvider(url, model="m", retry=retry)
    return OpenAICompatibleProvider(f"{url}/v1", model="m", retry=retry)


def test_every_file_is_read() -> None:
    there = {path.name for path in PUBLISHED.iterdir()} - {"README.md", "INDEX.tsv"}
    assert there == {*ANSWERS, *ERRORS, LIST, COMPLETION}


both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


@pytest.mark.sample(7)
@both_ways
@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_published_answer_is_read_as_it_is_meant(name: str, one_byte: bool) -> None:
    with _serve(name, one_byte) as server, provider_of(name, server.url) as provider:
        found = provider.chat("x", allow_other_model=True)

    calls = [(call.name, call.arguments) for call in found.tool_calls]
    assert (found.text, found.thinking, found.finish_reason, calls) == ANSWERS[name]
    assert found.usage == _USAGES.get(name, Usage())


@pytest.mark.sample(6)
@both_ways
@pytest.mark.parametrize("name", sorted(ERRORS))
def test_a_published_error_is_read_as_it_is_meant(name: str, one_byte: bool) -> None:
    _, classes, words, partial = ERRORS[name]
    with _serve(name, one_byte) as server, provider_of(name, server.url) as provider:
        with pytest.raises(classes) as caught:
            provider.chat("x", allow_other_model=True)

    assert words in (caught.value.server_message or "")
    assert caught.value.partial == partial


def test_a_published_overflow_has_both_numbers() -> None:
    name = "llamacpp-2026-error-data-midstream.sse"
    with _serve(name) as server, provider_of(name, server.url) as provider:
        with pytest.raises(ContextOverflowError) as caught:
            provider.chat("x")
    assert (caught.value.prompt_tokens, caught.value.context_length) == (2358, 2048)


def test_a_published_list_is_read() -> None:
    with _serve(LIST) as server, provider_of(LIST, server.url) as provider:
        assert [info.name for info in provider.list_models()] == ["gpt-3.5-turbo"]


def test_a_published_completion_is_read() -> None:
    with _serve(COMPLETION) as server, provider_of(COMPLETION, server.url) as provider:
        found = provider.complete(CompletionRequest(prompt="x", logprobs=True))

    assert (found.text, found.finish_reason) == ("Say this is a", "length")
    assert found.usage == Usage(prompt_tokens=4, completion_tokens=0)
    assert [(entry.token, entry.logprob) for entry in found.logprobs] == [
        (" this", -4.5408506), (" is", -2.4766643), (" a", -1.41573)
    ]  # fmt: skip
