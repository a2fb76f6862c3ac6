"""llama.cpp's own routes, asked of a real llama.cpp server with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    LlamaCppProvider,
    RequestRejectedError,
    UnsupportedError,
    discover,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from tests.promises.test_real_engine import _engine_at

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]


def weather(city: str) -> str:
    """Return the weather.

    Args:
        city: The city.
    """
    return f"sunny in {city}"


@pytest.fixture(scope="module")
def chat() -> Iterator[LlamaCppProvider]:
    with LocalEngine("chat") as provider:
        yield provider


def test_the_engine_is_a_llama_cpp_server(chat: LlamaCppProvider) -> None:
    assert isinstance(chat, LlamaCppProvider)
    assert chat.version().startswith("b")
    (info,) = chat.list_models()
    (loaded,) = chat.loaded_models()
    assert (info.name, loaded.name, loaded.context_length) == ("chat", "chat", 2048)
    assert chat.slots()[0]["n_ctx"] == chat.properties()["default_generation_settings"]["n_ctx"]
    known = chat.model_info("chat").capabilities
    assert (known.vision, known.audio, known.tools_trained) == (False, False, True)


def test_it_chats_whole_and_streamed(chat: LlamaCppProvider) -> None:
    question = "What is the capital of France?"
    whole = chat.chat(question, temperature=0, max_tokens=20)
    with chat.stream(question, temperature=0, max_tokens=20) as stream:
        text = "".join(chunk.text for chunk in stream)

    assert "Paris" in whole.text
    assert text == whole.text
    assert stream.result().usage.cached_tokens
    assert stream.result().server_timings.generation_s


def test_a_count_equals_the_usage(chat: LlamaCppProvider) -> None:
    for tools in ([], [weather]):
        question = "What is the weather in Rome?"
        count = chat.count_tokens(question, system="Be brief.", tools=tools)
        answer = chat.chat(question, system="Be brief.", tools=tools, max_tokens=2)
        assert count.source == "exact"
        assert count.tokens == answer.usage.prompt_tokens


def test_a_tool_is_called(chat: LlamaCppProvider) -> None:
    answer = chat.chat("What is the weather in Rome?", tools=[weather], temperature=0)

    assert [call.name for call in answer.tool_calls] == ["weather"]


def test_an_answer_follows_a_grammar(chat: LlamaCppProvider) -> None:
    assert chat.chat("Go.", grammar='root ::= "yes, sir"', max_tokens=20).text == "yes, sir"
    with pytest.raises(RequestRejectedError) as caught:
        chat.chat("Go.", grammar="root ::= ((", max_tokens=20)
    assert "check the grammar" in str(caught.value.hint)


def test_a_prompt_is_rendered(chat: LlamaCppProvider) -> None:
    prompt = chat.render("How are you?", tools=[weather])

    assert "How are you?" in prompt
    assert "weather" in prompt


def test_the_progress_of_a_prompt_is_told(chat: LlamaCppProvider) -> None:
    with chat.stream("A word. " * 400, max_tokens=2) as stream:
        reports = [chunk.progress.fraction for chunk in stream if chunk.progress]

    assert len(reports) > 2
    assert None not in reports
    assert reports == sorted(reports, key=float)  # type: ignore[arg-type]  # there is no None
    assert reports[-1] == 1.0


def test_a_text_is_continued(chat: LlamaCppProvider) -> None:
    request = CompletionRequest(prompt="One, two, three,", temperature=0, max_tokens=5)

    assert "four" in chat.complete(request).text


def test_a_gap_needs_a_model_with_its_tokens(chat: LlamaCppProvider) -> None:
    with pytest.raises(CapabilityError) as caught:
        chat.complete(CompletionRequest(prompt="a", suffix="b", max_tokens=2))
    for token in ("prefix", "suffix", "middle"):
        assert f"{token} token is missing" in caught.value.message


def test_the_only_model_is_loaded_and_stays(chat: LlamaCppProvider) -> None:
    assert chat.load("chat").load_s == 0.0
    with chat.keep_loaded("chat") as loaded:
        assert loaded.name == "chat"
    with pytest.raises(UnsupportedError):
        chat.unload("chat")


@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_a_socket_a_prefix_and_a_key(prefix: str, socket_path: str, tmp_path: Path) -> None:
    key = "a-key-of-the-socket"
    url = f"unix://{socket_path}" + (f":{prefix}" if prefix else "")
    with _engine_at(socket_path, key, prefix, tmp_path):
        with LlamaCppProvider(url, model="chat", api_key=key) as provider:
            assert provider.chat("Hi", temperature=0, max_tokens=4).text
            assert provider.version()
            assert provider.count_tokens("Hi").source == "exact"
            assert provider.settings.endpoint.url in {
                server.endpoint for server in discover([url], refresh=True).servers
            }
        for wrong in (None, "a-wrong-key"):
            with pytest.raises(AuthenticationError):
                LlamaCppProvider(url, model="chat", api_key=wrong).version()
