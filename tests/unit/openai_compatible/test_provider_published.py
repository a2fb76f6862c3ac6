"""Answers that issues and tests of public projects show, read as they are meant.

They are not ours to copy: they are read beside the project.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest

from localproviders import (
    CompletionRequest,
    LMStudioProvider,
    OpenAICompatibleProvider,
    RetryPolicy,
)
from localproviders.testing import ScriptedServer, http_answer
from localproviders.types import Usage
from tests.support.recordings import PUBLISHED, needs_published_answers

_CITY = "get_weather"
_CODE = "A code block with json syntax highlighting would be appropriate for clarity."

# file: text, thinking, finish reason, calls
_ANSWERS: Dict[str, Tuple[str, str, str, Any]] = {
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

_USAGES = {
    "groq-usage-in-x-groq.sse": Usage(prompt_tokens=18, completion_tokens=439),
    "sglang-usage-reasoning-tokens-beside.json": Usage(
        prompt_tokens=96, completion_tokens=111, thinking_tokens=91, cached_tokens=64
    ),
    "deepseek-keep-alive-usage-null.sse": Usage(
        prompt_tokens=9, completion_tokens=11, cached_tokens=0
    ),
}

pytestmark = needs_published_answers


def _serve(name: str, one_byte: bool = False) -> ScriptedServer:
    body = (PUBLISHED / name).read_bytes()
    is_stream = name.endswith(".sse")
    kind = "text/event-stream" if is_stream else "application/json"
    answer = http_answer(body, content_type=kind, chunked=is_stream)
    return ScriptedServer(answer, one_byte_writes=one_byte)


def _provider(name: str, url: str) -> OpenAICompatibleProvider:
    retry = RetryPolicy(attempts=1)
    if name.startswith("lmstudio"):
        return LMStudioProvider(url, model="m", retry=retry)
    return OpenAICompatibleProvider(f"{url}/v1", model="m", retry=retry)


@pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])
@pytest.mark.parametrize("name", sorted(_ANSWERS))
def test_a_published_answer_is_read_as_it_is_meant(name: str, one_byte: bool) -> None:
    with _serve(name, one_byte) as server, _provider(name, server.url) as provider:
        found = provider.chat("x", allow_other_model=True)

    calls = [(call.name, call.arguments) for call in found.tool_calls]
    assert (found.text, found.thinking, found.finish_reason, calls) == _ANSWERS[name]
    assert found.usage == _USAGES.get(name, found.usage)


def test_a_published_list_is_read() -> None:
    name = "one-api-0.3.4-models-bare-list.json"
    with _serve(name) as server, _provider(name, server.url) as provider:
        assert [info.name for info in provider.list_models()] == ["gpt-3.5-turbo"]


def test_a_published_completion_is_read() -> None:
    name = "openai-completion-echo-first-logprob-null.json"
    with _serve(name) as server, _provider(name, server.url) as provider:
        found = provider.complete(CompletionRequest(prompt="x", logprobs=True))

    assert found.text == "Say this is a"
    assert [entry.token for entry in found.logprobs] == [" this", " is", " a"]
