"""Each recorded response of a real Ollama, sent over a socket and parsed by the provider."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type

import pytest

from localproviders import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    ContextOverflowError,
    Limits,
    Message,
    ModelNotFoundError,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProtocolError,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
    ServerBusyError,
    StreamInterruptedError,
    UnsupportedError,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support import recordings

_MODELS = [
    "gemma3:270m", "gemma3-think:270m", "gemma3-tooljson:270m", "gemma3-tools:270m",
    "gemma3-chat:270m", "gemma3-chatthink:270m", "all-minilm", "nope",
]  # fmt: skip
_TAGS = http_answer({"models": [{"name": name, "details": {}} for name in _MODELS]})


def serve(answer: bytes, one_byte_writes: bool, tags: bytes = _TAGS) -> ScriptedServer:
    def script(exchange: Exchange) -> Any:
        return [tags if exchange.path == "/api/tags" else answer]

    return ScriptedServer(script, one_byte_writes=one_byte_writes)


def chat(provider: ModelProvider, model: str) -> Any:
    return provider.complete(CompletionRequest(model=model, messages=(Message.user("Hi"),)))


def generate(provider: ModelProvider, model: str) -> Any:
    return provider.complete(CompletionRequest(model=model, prompt="Hi"))


def embed(provider: ModelProvider, model: str) -> Any:
    return provider.embed(["hello", "world"], model=model)


# name: model, what the answer holds
ANSWERS: Dict[str, Any] = {
    "chat_stream": ("gemma3:270m", dict(text="<b><i><b><i><b><i>", finish="length", prompt=10, out=6)),
    "chat_nostream": ("gemma3:270m", dict(text="<b><i><b><i><b><i>", finish="length", prompt=10, out=6)),
    "chat_logprobs": ("gemma3:270m", dict(text="<b><i>", finish="length", prompt=10, out=2)),
    "chat_json": None,
    "chat_toolong": ("gemma3:270m", dict(text="To be made", finish="length", prompt=1027, out=3)),
    "generate_stream": ("gemma3:270m", dict(text="<b><i><b><i><b><i>", finish="length", prompt=10, out=6)),
    "generate_nostream": ("gemma3:270m", dict(text="<b><i><b><i><b><i>", finish="length", prompt=10, out=6)),
    "numctx_huge": ("gemma3:270m", dict(text="X\\", finish="length", prompt=10, out=2)),
    "format_json": ("gemma3:270m", dict(text='{\n  "name": "test",\n  "version": "1.0",\n', finish="length", prompt=11, out=20)),
    "think_stream": ("gemma3-think:270m", dict(text="", thinking="<think>\n" * 3, finish="length", prompt=17, out=12)),
    "think_level": ("gemma3-think:270m", dict(text="", thinking="<think>\n<think", finish="length", prompt=17, out=6)),
    "tool_stream": ("gemma3-tooljson:270m", dict(text="", finish="stop", prompt=99, out=31)),
}  # fmt: skip
ANSWERS = {name: expected for name, expected in ANSWERS.items() if expected}

# name: model, class, part of the server's words
ERRORS: Dict[str, Any] = {
    "busy_503": ("gemma3:270m", ServerBusyError, "server busy"),
    "chat_404": ("nope", ModelNotFoundError, "'nope' not found"),
    "embed_404": ("nope", ModelNotFoundError, "not found, try pulling"),
    "show_404": ("nope", ModelNotFoundError, "not found"),
    "copy_404": ("nope", ModelNotFoundError, "not found"),
    "delete_404": ("nope", ModelNotFoundError, "not found"),
    "create_from_404": ("nope", ProtocolError, None),
    "pull_404": ("nope", ProtocolError, None),
    "pull_404_nostream": ("nope", ModelNotFoundError, "file does not exist"),
    "pull_nohost": ("nope", ProtocolError, None),
    "chat_badjson": ("gemma3:270m", RequestRejectedError, "unexpected EOF"),
    "chat_nomodel": ("gemma3:270m", RequestRejectedError, "model is required"),
    "keep_alive_bad": ("gemma3:270m", RequestRejectedError, "invalid duration"),
    "tool_args_string": ("gemma3-tools:270m", RequestRejectedError, "looks like object"),
    "chat_think_unsupported": ("gemma3:270m", CapabilityError, "does not support thinking"),
    "chat_tools_unsupported": ("gemma3:270m", CapabilityError, "does not support tools"),
    "embed_gemma": ("gemma3:270m", CapabilityError, "does not support embeddings"),
    "chat_toolong_truncate_false": ("gemma3:270m", ContextOverflowError, "3010 tokens"),
    "chat_toolong_truncate_false_stream": ("gemma3:270m", ContextOverflowError, "3010 tokens"),
    "chat_toolong_shift_false": ("gemma3:270m", ContextOverflowError, "longer than the context"),
    "generate_toolong": ("gemma3:270m", ContextOverflowError, "2610 tokens"),
    "runner_killed_midstream": ("gemma3:270m", ContextOverflowError, "2610 tokens"),
    "host_bad": ("gemma3:270m", AuthenticationError, None),
    "notfound": ("gemma3:270m", UnsupportedError, "404 page not found"),
    "chat_load": ("gemma3:270m", ProtocolError, None),
    "chat_unload": ("gemma3:270m", ProtocolError, None),
    "generate_load": ("gemma3:270m", ProtocolError, None),
    # Responses of other routes: a chat that receives one raises an error.
    "create_from": ("gemma3:270m", ProtocolError, None),
    "pull_ok": ("gemma3:270m", ProtocolError, None),
    "copy": ("gemma3:270m", StreamInterruptedError, None),
    "delete": ("gemma3:270m", StreamInterruptedError, None),
    "root": ("gemma3:270m", ProtocolError, None),
    "version": ("gemma3:270m", ProtocolError, None),
    "status": ("gemma3:270m", ProtocolError, None),
    "ps": ("gemma3:270m", ProtocolError, None),
    "embeddings_old": ("gemma3:270m", ProtocolError, None),
    "blob_head_404": ("gemma3:270m", ProviderError, None),
}

# These recordings have separate tests below.
SPECIAL = {
    "tags", "head_tags", "show", "embed", "embed_empty", "chat_json", "v1_chat", "v1_chat_404",
    "v1_chat_stream", "v1_chat_stream_usage", "v1_embeddings", "v1_embeddings_b64", "v1_models",
}  # fmt: skip

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


def test_every_recording_is_used() -> None:
    assert {*ANSWERS, *ERRORS, *SPECIAL} == set(recordings.ollama_names())


@pytest.mark.sample(6)
@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_comes_out_right(name: str, one_byte: bool) -> None:
    model, expected = ANSWERS[name]
    ask = generate if name.startswith(("generate", "numctx", "format")) else chat
    with serve(recordings.ollama_answer(name), one_byte) as server:
        with OllamaProvider(server.url) as provider:
            response = ask(provider, model)
            again = ask(provider, model)  # the connection is good for the next call

    assert response.text == again.text == expected["text"]
    assert response.thinking == expected.get("thinking", "")
    assert response.finish_reason == expected["finish"]
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (
        expected["prompt"], expected["out"],
    )  # fmt: skip
    assert response.model == model
    assert response.server_timings.total_s and response.server_timings.total_s < 60
    assert {exchange.connection for exchange in server.exchanges} == {1}


@pytest.mark.sample(6)
@both_ways
@pytest.mark.parametrize("name", ERRORS)
def test_error_has_its_class_and_the_servers_words(name: str, one_byte: bool) -> None:
    model, error, words = ERRORS[name]
    ask = embed if name.startswith("embed_") else chat
    with serve(recordings.ollama_answer(name), one_byte) as server:
        patient = RetryPolicy(first_wait_s=0)
        with OllamaProvider(server.url, retry=patient) as provider, pytest.raises(error) as caught:
            ask(provider, model)

    assert words is None or words in caught.value.server_message
    assert caught.value.endpoint == server.url
    assert caught.value.provider == "ollama"


def test_overflow_names_both_numbers() -> None:
    answer = recordings.ollama_answer("chat_toolong_truncate_false_stream")
    with serve(answer, False) as server, OllamaProvider(server.url) as provider:
        with pytest.raises(ContextOverflowError) as caught:
            chat(provider, "gemma3:270m")

    assert (caught.value.prompt_tokens, caught.value.context_length) == (3010, 1024)
    assert server.exchanges[-1].json["truncate"] is False


def test_error_in_mid_stream_keeps_the_text_so_far() -> None:
    records = recordings.ollama_records("runner_killed_midstream")
    said = "".join(record["message"]["content"] for record in records[:-1])
    with serve(recordings.ollama_answer("runner_killed_midstream"), False) as server:
        with OllamaProvider(server.url) as provider, pytest.raises(ProviderError) as caught:
            chat(provider, "gemma3:270m")

    assert caught.value.partial == said
    assert len(said) > 100
    assert said[:20] not in str(caught.value)


@both_ways
def test_tool_calls_come_whole(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("tool_stream"), one_byte) as server:
        with OllamaProvider(server.url) as provider:
            (call,) = chat(provider, "gemma3-tooljson:270m").tool_calls

    assert (call.id, call.name, call.arguments) == (
        "call_cqwriqhw", "get_weather", {"city": "Paris"},
    )  # fmt: skip


@both_ways
def test_logprobs_come_with_alternatives(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("chat_logprobs"), one_byte) as server:
        with OllamaProvider(server.url) as provider:
            first, second = chat(provider, "gemma3:270m").logprobs

    assert (first.token, first.data, second.token) == ("<b>", b"<b>", "<i>")
    assert first.logprob == pytest.approx(-3.081638813018799)
    assert second.logprob == pytest.approx(-2.867248058319092)
    assert [other.token for other in first.top] == ["<b>", "The"]


@both_ways
def test_json_chat(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("chat_json"), one_byte) as server:
        with OllamaProvider(server.url) as provider:
            response = chat(provider, "gemma3:270m")

    assert (response.text, response.finish_reason) == ('{\n    "a": "x"\n    }', "stop")
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (10, 13)


@both_ways
def test_embeddings(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("embed"), one_byte) as server:
        with OllamaProvider(server.url, model="all-minilm") as provider:
            response = provider.embed(["hello", "world"], dimensions=4)

    assert response.embeddings == [
        pytest.approx([-0.48198256, 0.42086026, 0.39831147, 0.65720415]),
        pytest.approx([-0.3876919, 0.40289402, -0.8100766, -0.17648576]),
    ]
    assert (response.dimensions, response.usage.prompt_tokens) == (4, 6)
    assert server.exchanges[-1].json == {
        "model": "all-minilm", "input": ["hello", "world"], "truncate": False, "dimensions": 4,
    }  # fmt: skip


@both_ways
def test_an_embedding_of_the_old_route(one_byte: bool) -> None:
    old, missing = recordings.ollama_answer("embeddings_old"), recordings.ollama_answer("notfound")

    def script(exchange: Exchange) -> Any:
        answers = {"/api/tags": _TAGS, "/api/embed": missing, "/api/embeddings": old}
        return [answers[exchange.path]]

    with ScriptedServer(script, one_byte_writes=one_byte) as server:
        with OllamaProvider(server.url) as provider:
            response = provider.embed("hello", model="all-minilm")

    (vector,) = response.embeddings
    assert len(vector) == 384
    assert vector[:2] == pytest.approx([-0.06288018077611923, 0.054906073957681656])
    assert vector[-1] == pytest.approx(0.007148789241909981)


def test_too_few_vectors_are_an_error() -> None:
    with serve(recordings.ollama_answer("embed_empty"), False) as server:
        with OllamaProvider(server.url) as provider, pytest.raises(ProviderError, match="2 texts"):
            embed(provider, "all-minilm")


@both_ways
def test_model_list(one_byte: bool) -> None:
    tags = recordings.ollama_answer("tags")
    with serve(b"", one_byte, tags) as server, OllamaProvider(server.url) as provider:
        models = {info.name: info for info in provider.list_models()}
        supported = [
            provider.supports_model(name) for name in ("ALL-MINILM", "gemma3", "gemma3:270M")
        ]

    assert supported == [True, False, True]
    assert {name: info.size_bytes for name, info in models.items()} == {
        "all-minilm:latest": 46223540, "gemma3-think:270m": 253113886,
        "gemma3-tooljson:270m": 253114212, "gemma3-tools:270m": 253114298,
        "gemma3:270m": 253113638, "gemma3-chat:270m": 253115542,
        "gemma3-chatthink:270m": 253114133,
    }  # fmt: skip
    minilm = models["all-minilm:latest"]
    assert (minilm.size_bytes, minilm.quantization, minilm.format) == (46223540, "F16", "gguf")
    assert (
        minilm.modified_at and minilm.modified_at.isoformat() == "2026-11-22T07:27:12.191345+00:00"
    )
    assert minilm.capabilities.embeddings is True
    assert minilm.capabilities.max_context_length == 512
    assert models["gemma3-tools:270m"].capabilities.tools is True
    assert models["gemma3-tools:270m"].capabilities.evidence["tools"].source == "reported"


@pytest.mark.sample(1)
@both_ways
def test_capabilities_from_show(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("show"), one_byte) as server:
        with OllamaProvider(server.url) as provider:
            found = provider.model_capabilities("gemma3:270m")

    assert (found.chat, found.tools, found.embeddings) == (True, False, False)
    assert (found.max_context_length, found.embedding_length) == (32768, 640)
    assert server.exchanges[0].json == {"model": "gemma3:270m"}


# --- Ollama's own OpenAI dialect ------------------------------------------------------------


def dialect(server: ScriptedServer, model: str) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider(server.url + "/v1", model=model, timeout=Limits(total_s=20))


# name: text, tokens of the prompt and of the answer
V1_ANSWERS: Dict[str, Tuple[str, Optional[int], Optional[int]]] = {
    "v1_chat": ("<b><i><b><i><b><i>", 10, 6),
    "v1_chat_stream": ("<b><i><b><i><b><i>", None, None),
    "v1_chat_stream_usage": ("<b><i><b>", 10, 3),
}


@both_ways
@pytest.mark.parametrize("name", V1_ANSWERS)
def test_dialect_answers(name: str, one_byte: bool) -> None:
    answer = recordings.ollama_answer(name)
    with serve(answer, one_byte) as server, dialect(server, "gemma3:270m") as provider:
        response = provider.chat("Hi")

    usage = response.usage
    assert (response.text, usage.prompt_tokens, usage.completion_tokens) == V1_ANSWERS[name]
    assert (response.finish_reason, response.model) == ("length", "gemma3:270m")


def test_dialect_error() -> None:
    with serve(recordings.ollama_answer("v1_chat_404"), False) as server:
        with dialect(server, "nope") as provider, pytest.raises(ModelNotFoundError):
            provider.chat("Hi")


@both_ways
@pytest.mark.parametrize("name", ["v1_embeddings", "v1_embeddings_b64"])
def test_dialect_vectors(name: str, one_byte: bool) -> None:
    with serve(recordings.ollama_answer(name), one_byte) as server:
        with dialect(server, "all-minilm") as provider:
            response = provider.embed("hello")

    assert response.embeddings == [pytest.approx([-0.48198256, 0.42086026, 0.39831147, 0.65720415])]
    assert (response.model, response.usage.prompt_tokens) == ("all-minilm", 3)


@both_ways
def test_dialect_model_list(one_byte: bool) -> None:
    with serve(recordings.ollama_answer("v1_models"), one_byte) as server:
        with dialect(server, "x") as provider:
            names = [info.name for info in provider.list_models()]

    assert names == [
        "all-minilm:latest", "gemma3-tooljson:270m", "gemma3-tools:270m", "gemma3:270m",
        "gemma3-chat:270m", "gemma3-chatthink:270m", "gemma3-think:270m",
    ]  # fmt: skip


def test_a_head_answer_is_no_list() -> None:
    head = recordings.ollama_answer("head_tags").rstrip() + b"\r\nContent-Length: 0\r\n\r\n"
    with serve(b"", False, head) as server, OllamaProvider(server.url) as provider:
        expected: Type[ProviderError] = ProtocolError
        with pytest.raises(expected):
            provider.list_models()
