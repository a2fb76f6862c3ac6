"""Tests with a real llama.cpp server and real models."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List

import pytest

from localproviders import (
    AuthenticationError,
    ContextOverflowError,
    EmbeddingError,
    LMStudioProvider,
    OpenAICompatibleProvider,
    ProviderError,
    SchemaError,
    StreamInterruptedError,
    UnreachableError,
    UnsupportedError,
    discover,
)
from localproviders.engine import LocalEngine, why_missing, why_unsupported
from localproviders.engine.models import RECIPES, open_model, path_of
from localproviders.secret import Unseen

_REASON = why_unsupported() or why_missing()

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]


@pytest.fixture(scope="module")
def chat() -> Iterator[OpenAICompatibleProvider]:
    with LocalEngine("chat", context_length=512) as provider:
        yield provider


@pytest.fixture(scope="module")
def embedding() -> Iterator[OpenAICompatibleProvider]:
    with LocalEngine("embedding") as provider:
        yield provider


def test_a_response_has_the_token_counts_of_the_server(chat: OpenAICompatibleProvider) -> None:
    response = chat.chat("What is the capital of France?", temperature=0, max_tokens=20)

    assert "Paris" in response.text
    assert response.finish_reason == "stop"
    assert response.usage.prompt_tokens and response.usage.prompt_tokens > 50
    assert response.usage.completion_tokens and response.usage.completion_tokens < 20
    assert response.warnings == ()


def test_a_stream_has_several_chunks(chat: OpenAICompatibleProvider) -> None:
    letters = {"grammar": 'root ::= "a b c d e f g h i j k l m n o p q r s t"'}
    with chat.stream("Letters.", temperature=0, max_tokens=8, extra_body=letters) as stream:
        pieces = [chunk.text for chunk in stream if chunk.text]

    assert len(pieces) > 2
    response = stream.result()
    assert response.text == "".join(pieces)
    assert response.finish_reason == "length"
    assert response.timings.first_token_s is not None
    assert response.timings.total_s is not None
    assert response.timings.first_token_s < response.timings.total_s


# The answers may be wrong, but they end, and they show nothing of the template and its examples.
_QUESTIONS = (
    "hi", "What is 2+2?", "What is 17 * 3?", "Write a haiku about rain.", "List three fruits.",
    "Summarize: the cat sat on the mat.", "Translate 'good morning' into French.",
    "Was ist die Hauptstadt von Deutschland?", "How do I boil an egg?", 'What is {"a": 1}?',
)  # fmt: skip


@pytest.mark.slow
def test_an_answer_ends_and_shows_nothing_of_the_template(chat: OpenAICompatibleProvider) -> None:
    for question in _QUESTIONS:
        response = chat.chat(question, temperature=0, repeat_penalty=1.1, max_tokens=120)

        assert response.text.strip(), question
        assert response.finish_reason == "stop", question
        assert not [mark for mark in ("user:", "assistant:", "<", "{") if mark in response.text]


def test_a_next_turn_of_the_model_ends_its_answer(chat: OpenAICompatibleProvider) -> None:
    turns = {"grammar": r'root ::= "Yes.\nuser: Why?"'}

    assert chat.chat("Go.", extra_body=turns, max_tokens=20).text == "Yes."
    assert "user" in chat.chat("Go.", extra_body=turns, max_tokens=20, stop=["Never"]).text


def test_closing_early_makes_the_server_stop() -> None:
    """The server handles one request at a time, so the second must wait for the end of the first."""
    endless = {"grammar": 'root ::= "a"+'}
    with LocalEngine("chat", context_length=8192) as provider:
        stream = provider.stream("Say a.", extra_body=endless, max_tokens=8000)
        assert next(stream) is not None
        stream.close()

        # 8,000 tokens take minutes, so the limit would fire if the first request continued.
        response = provider.chat("Say hello.", temperature=0, max_tokens=4, timeout=20)

    assert response.text


def test_a_text_is_received_unchanged(chat: OpenAICompatibleProvider) -> None:
    text = "你好 😀 é\u2028end"
    grammar = {"grammar": f'root ::= "{text}"'}

    assert chat.chat("Go.", extra_body=grammar, max_tokens=40).text == text


def test_the_error_of_a_too_long_prompt_names_both_numbers(chat: OpenAICompatibleProvider) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        chat.chat("word " * 2000)

    assert caught.value.context_length == 512
    assert caught.value.prompt_tokens and caught.value.prompt_tokens > 2000


@pytest.mark.slow
def test_thinking_is_separate_from_the_text() -> None:
    with LocalEngine("thinking") as provider:
        response = provider.chat("What is the capital of France?", temperature=0, max_tokens=60)

    assert response.thinking
    assert response.thinking not in response.text


@pytest.mark.slow
def test_a_stream_of_a_killed_server_is_an_error_with_the_text_so_far() -> None:
    # Far more tokens than the server can send before it is killed.
    letters = {"grammar": 'root ::= "a"+'}
    engine = LocalEngine("chat")
    with engine as provider, provider.stream(
        "Say a.", max_tokens=8000, extra_body=letters
    ) as stream:
        first = next(chunk.text for chunk in stream if chunk.text)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(StreamInterruptedError) as caught:
            stream.result()

    assert caught.value.partial.startswith(first)


# --- tools and structured output ------------------------------------------------------------------------


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"12 degrees and rain in {city}"


@dataclass
class City:
    """A city."""

    name: str
    country: str
    is_capital: bool


_QUESTION = "What is the weather in Oslo?"


@pytest.mark.slow
def test_a_function_is_called_with_its_arguments(chat: OpenAICompatibleProvider) -> None:
    response = chat.chat(
        _QUESTION, tools=[weather], tool_choice="required", temperature=0, max_tokens=60
    )
    (call,) = response.tool_calls

    assert (call.name, call.arguments) == ("weather", {"city": "Oslo"})
    assert call.id
    assert response.finish_reason == "tool_calls"


@pytest.mark.slow
def test_a_tool_loop_ends_with_an_answer_about_the_result(
    chat: OpenAICompatibleProvider,
) -> None:
    seen: List[str] = []
    run = chat.run_tools(
        _QUESTION,
        [weather],
        tool_choice="required",
        on_step=lambda step: seen.append(step.content),
        temperature=0,
        max_tokens=60,
    )

    assert seen == ["12 degrees and rain in Oslo"]
    assert "12" in run.text
    assert run.rounds == 2


def test_structured_output_is_an_instance_of_a_dataclass(chat: OpenAICompatibleProvider) -> None:
    parsed = chat.parse("Give the city of Oslo as JSON.", City, temperature=0, max_tokens=60)

    assert (parsed.value.name, parsed.value.country) == ("Oslo", "Norway")
    assert type(parsed.value.is_capital) is bool
    assert parsed.attempts == 1


@pytest.mark.slow
def test_structured_output_needs_no_word_about_json(chat: OpenAICompatibleProvider) -> None:
    parsed = chat.parse("Describe the city of Oslo.", City, temperature=0, max_tokens=60)

    assert parsed.value.name == "Oslo"


@pytest.mark.slow
def test_structured_output_of_another_type_than_object_is_unwrapped(
    chat: OpenAICompatibleProvider,
) -> None:
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    parsed = chat.parse("Give two numbers as JSON.", numbers, temperature=0, max_tokens=40)

    assert len(parsed.value) == 2
    assert all(type(number) is int for number in parsed.value)


def test_cut_structured_output_is_an_error_with_its_text(
    chat: OpenAICompatibleProvider,
) -> None:
    with pytest.raises(SchemaError, match="cut off before its JSON was complete") as caught:
        chat.parse("Give the city of Oslo as JSON.", City, temperature=0, max_tokens=5)
    assert caught.value.text.startswith("{")


# --- models, routes, vectors --------------------------------------------------------------------------


def test_the_model_is_listed(chat: OpenAICompatibleProvider) -> None:
    assert [info.name for info in chat.list_models()] == ["chat"]
    assert chat.supports_model("chat")
    assert chat.model_capabilities("chat").loaded_context_length == 512


def test_an_unknown_route_is_unsupported(chat: OpenAICompatibleProvider) -> None:
    settings = chat.settings
    wrong = settings.replace(endpoint=settings.endpoint.replace(path="/nowhere"))
    with OpenAICompatibleProvider(settings=wrong) as provider, pytest.raises(UnsupportedError):
        provider.chat("Hi")


def test_similar_sentences_have_similar_vectors(embedding: OpenAICompatibleProvider) -> None:
    texts = ["A dog runs in the park.", "A puppy plays outside.", "The invoice is overdue."]
    first, near, far = embedding.embed(texts).embeddings

    def cosine(other: list[float]) -> float:
        return sum(a * b for a, b in zip(first, other)) / math.hypot(*first) / math.hypot(*other)

    assert len(first) == 384
    assert cosine(near) > cosine(far) + 0.2


def test_a_text_has_the_same_vector_in_a_batch_and_alone(
    embedding: OpenAICompatibleProvider,
) -> None:
    texts = [f"Sentence number {number}." for number in range(150)]
    texts[70] = "word " * 3_000  # longer than the context window
    with pytest.raises(EmbeddingError) as caught:
        embedding.embed(texts, timeout=120)
    error = caught.value

    assert list(error.failures) == [70]
    assert isinstance(error.errors[70], ContextOverflowError)
    assert len(error.embedded) == 149
    alone = embedding.embed(texts[149]).vectors[0]
    assert list(error.embedded[149]) == pytest.approx(list(alone), abs=0.01)


def test_embedding_with_unsupported_dimensions_is_an_error(
    embedding: OpenAICompatibleProvider,
) -> None:
    with pytest.raises(ProviderError):
        embedding.embed(["one"], dimensions=7)


def test_the_provider_for_lmstudio_works_without_the_routes_of_lmstudio(
    chat: OpenAICompatibleProvider,
) -> None:
    endpoint = chat.settings.endpoint
    with LMStudioProvider(endpoint.origin, model="chat", api_key=chat.settings.api_key) as lmstudio:
        response = lmstudio.chat("What is the capital of France?", temperature=0, max_tokens=20)
        names = [info.name for info in lmstudio.list_models()]
        with pytest.raises(UnsupportedError, match=r"0\.4\.0"):
            lmstudio.load("chat")
        generation = lmstudio.generation()

    assert "Paris" in response.text
    assert (generation, names) == ("older", ["chat"])


# --- a UNIX socket ------------------------------------------------------------------------------------

_ON_A_SOCKET = """
from localproviders.engine import serve

make = serve.server_parameters


def on_a_socket(xllamacpp, settings):
    parameters = make(xllamacpp, settings)
    parameters.hostnames = [settings["socket"]]
    parameters.api_prefix = settings["prefix"]
    return parameters


serve.server_parameters = on_a_socket
serve.main()
"""


@contextlib.contextmanager
def _engine_at(socket_path: str, key: str, prefix: str, folder: Path) -> Iterator[None]:
    """Let the real engine serve the chat model at a UNIX socket."""
    recipe = RECIPES["chat"]
    with open_model(recipe, folder) as file:
        settings = {
            **LocalEngine("chat", context_length=512)._settings(Unseen(key)),
            "path": path_of(file),
            "socket": socket_path,
            "prefix": prefix,
        }
        with subprocess.Popen(
            [sys.executable, "-c", _ON_A_SOCKET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[file.fileno()],
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
            try:
                assert b"address" in process.stdout.readline()
                yield
            finally:
                process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_a_real_server_answers_over_a_unix_socket(
    prefix: str, socket_path: str, tmp_path: Path
) -> None:
    key = "a-key-of-the-socket"
    url = f"unix://{socket_path}" + (f":{prefix}/v1" if prefix else "")
    with _engine_at(socket_path, key, prefix, tmp_path):
        with OpenAICompatibleProvider(url, model="chat", api_key=key) as provider:
            response = provider.chat("What is the capital of France?", temperature=0, max_tokens=8)
            assert "Paris" in response.text
            with provider.stream("Hi", temperature=0, max_tokens=8) as stream:
                pieces = [chunk.text for chunk in stream]
            assert "".join(pieces) == stream.result().text
            assert [model.name for model in provider.list_models()] == ["chat"]
            assert provider.count_tokens("Hi").source == "exact"
            own_address = provider.settings.endpoint.url
            assert own_address[: -len("/v1")].rstrip(":") in {
                server.endpoint for server in discover([url], refresh=True).servers
            }
        with pytest.raises(AuthenticationError) as caught:
            OpenAICompatibleProvider(url, model="chat", api_key="a-wrong-key").chat("Hi")
        assert caught.value.endpoint == provider.settings.endpoint.url
    with pytest.raises(UnreachableError):
        OpenAICompatibleProvider(url, model="chat").chat("Hi")
