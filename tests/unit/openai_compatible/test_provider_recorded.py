"""Each recorded response of a real OpenAI-compatible server, parsed by the provider."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Type

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
from localproviders.testing import Exchange, ScriptedServer
from tests.support import recordings

both_ways = pytest.mark.parametrize("one_byte", [False, True], ids=["whole", "one-byte-writes"])


class Expected(NamedTuple):
    """The answer that a recording holds, read from its bytes by a person.

    Attributes:
        text: The text.
        finish_reason: The word of the server.
        thinking: The reasoning.
        usage: Tokens of the prompt, of the answer, and of the prompt from the cache.
        took_s: Seconds for reading the prompt and for generating, from the field ``timings``.
        calls: Id, name and arguments of each tool call.
    """

    text: str
    finish_reason: str
    thinking: str = ""
    usage: Tuple[Optional[int], Optional[int], Optional[int]] = (None, None, None)
    took_s: Tuple[Optional[float], Optional[float]] = (None, None)
    calls: Tuple[Any, ...] = ()


_WEATHER = {"city": "Paris", "unit": "c"}

ANSWERS: Dict[str, Expected] = {
    "chat": Expected(" Paris.", "stop", usage=(100, 3, 0), took_s=(0.417932, 0.030694)),
    "chat_progress_stream": Expected(" {name", "length", took_s=(8.508147, 0.05135)),
    "chat_stream": Expected(" Paris.", "stop", took_s=(0.036518, 0.031608)),
    "chat_stream_length": Expected(" Paris.", "length", took_s=(0.035414, 0.015609)),
    "chat_stream_unicode": Expected(
        "\u4f60\u597d \U0001f600\U0001f389 na\u00efve \U00012000 "
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "stop",
        took_s=(0.133585, 2.732182),
    ),
    "chat_stream_usage": Expected(
        " Paris.", "stop", usage=(100, 3, 95), took_s=(0.035292, 0.030895)
    ),
    "completions_stream": Expected(
        " the capital of the country of France.",
        "length",
        usage=(6, 8, 1),
        took_s=(0.033631, 0.106275),
    ),
    "decide_bias_chat": Expected("B", "length", usage=(127, 1, 0), took_s=(1.064966, 1e-6)),
    "decide_grammar_chat": Expected("C", "length", usage=(127, 1, 0), took_s=(1.115475, 1e-6)),
    "decide_logprobs_chat": Expected("\n", "length", usage=(127, 1, 0), took_s=(1.150602, 1e-6)),
    "json_schema_stream": Expected(
        '{"name": "Emma", "age": 18}', "stop", took_s=(0.034193, 0.249834)
    ),
    "sse_ping": Expected("", "length", thinking="two plus two", took_s=(6.082494, 0.043326)),
    "thinking_stream": Expected(
        "Paris.\n\n8.",
        "stop",
        thinking="France is a country in Europe. Its capital is Paris.\n",
        usage=(119, 23, 114),
        took_s=(0.038065, 0.335184),
    ),
    "tool_call": Expected(
        "",
        "tool_calls",
        usage=(245, 43, 1),
        took_s=(0.846985, 1.134571),
        calls=(("cws5dy4RXLAWIlOBDXRyribRsP2NYYjf", "get_weather", _WEATHER),),
    ),
    "tool_call_stream": Expected(
        "",
        "tool_calls",
        took_s=(0.036822, 1.037878),
        calls=(("PXIl2bIJKsqLwsnDp8gVrWzFZvAyn7av", "get_weather", _WEATHER),),
    ),
    "unknown_model": Expected(" Paris.", "stop", usage=(100, 3, 95), took_s=(0.042119, 0.036436)),
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

SPECIAL = {
    "apply_template",
    "embeddings_base64",
    "embeddings_float",
    "models",
    "models_decision",
    "rerank",  # these: test_rerank_routes_servers.py
    "rerank_error_documents",
    "rerank_texts",
    "rerank_too_long",
    "rerank_top_n",
    "rerank_unsupported",
    "tokenize",
}


def provider_of(server: ScriptedServer) -> OpenAICompatibleProvider:
    once = RetryPolicy(attempts=1)  # a recording of a loading server loads for ever
    return OpenAICompatibleProvider(server.url + "/v1", model="gemma3-270m", timeout=60, retry=once)


def ask(provider: OpenAICompatibleProvider, name: str) -> Any:
    if name == "completions_stream":
        return provider.complete(CompletionRequest(prompt="Hi"))
    return provider.complete(CompletionRequest(messages=(Message.user("Hi"),)))


def test_every_recording_is_used() -> None:
    assert {*ANSWERS, *ERRORS, *SPECIAL} == set(recordings.dialect_names())


@pytest.mark.sample(8)
@both_ways
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_comes_out_right(name: str, one_byte: bool) -> None:
    expected = ANSWERS[name]
    _, answer = recordings.dialect_exchange(name)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            response = ask(provider, name)

    usage, took = response.usage, response.server_timings
    calls = tuple((call.id, call.name, call.arguments) for call in response.tool_calls)
    assert expected == Expected(
        response.text,
        response.finish_reason,
        response.thinking,
        (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
        expected.took_s,
        calls,
    )
    assert (took.prompt_s, took.generation_s) == pytest.approx(expected.took_s)
    assert response.model == "gemma3-270m"


@pytest.mark.sample(2)
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


# The tokens in `logprobs` of the recordings, with the probability or its logarithm.
LOGPROBS: Dict[str, Tuple[float, List[Tuple[str, float]]]] = {
    "decide_bias_chat": (
        math.log(0.030034581199288368),
        [
            ("A", math.log(0.8867450952529907)),
            ("C", math.log(0.08322032541036606)),
            ("B", math.log(0.030034581199288368)),
        ],
    ),
    "decide_grammar_chat": (
        math.log(0.08322025835514069),
        [
            ("A", math.log(0.886745274066925)),
            ("C", math.log(0.08322025835514069)),
            ("B", math.log(0.030034443363547325)),
        ],
    ),
    "decide_logprobs_chat": (
        -1.4542791843414307,
        [("\n", -1.4542791843414307), (" ", -2.102245569229126), (" Yes", -2.7496721744537354)],
    ),
}


@both_ways
@pytest.mark.parametrize("name", LOGPROBS)
def test_log_probabilities_come_out_right(name: str, one_byte: bool) -> None:
    logprob, likeliest = LOGPROBS[name]
    _, answer = recordings.dialect_exchange(name)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            (entry,) = ask(provider, name).logprobs

    text = ANSWERS[name].text
    assert (entry.token, entry.data) == (text, text.encode())
    assert entry.logprob == pytest.approx(logprob)
    assert [(each.token, pytest.approx(each.logprob)) for each in entry.top[:3]] == likeliest


def test_another_model_is_a_warning() -> None:
    request, answer = recordings.dialect_exchange("unknown_model")
    with ScriptedServer(answer) as server, provider_of(server) as provider:
        response = provider.chat("Hi", model=request["body"]["model"])

    assert response.model == "gemma3-270m"
    assert len(response.warnings) == 1


@both_ways
def test_both_spellings_of_vectors_are_equal(one_byte: bool) -> None:
    responses = []
    for name in ("embeddings_base64", "embeddings_float"):
        request, answer = recordings.dialect_exchange(name)
        texts = request["body"]["input"]
        with ScriptedServer(answer, one_byte_writes=one_byte) as server:
            with provider_of(server) as provider:
                responses.append(provider.embed(texts))

    first, second = responses
    assert first.vectors == second.vectors
    assert [len(vector) for vector in first.vectors] == [384, 384]
    assert list(first.vectors[0][:3]) == pytest.approx(
        [0.0332394503057003, 0.004419540986418724, -0.006195154041051865]
    )
    assert first.usage.prompt_tokens == second.usage.prompt_tokens == 16


@both_ways
@pytest.mark.parametrize(
    ("recording", "name", "window"),
    [("models", "gemma3-270m", 512), ("models_decision", "tiny-decider", 2048)],
)
def test_model_list(recording: str, name: str, window: int, one_byte: bool) -> None:
    _, answer = recordings.dialect_exchange(recording)
    with ScriptedServer(answer, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            (info,) = provider.list_models()

    found = info.capabilities
    assert info.name == name
    assert (found.max_context_length, found.loaded_context_length) == (32768, window)
    assert (found.embedding_length, found.parameter_count) == (640, 268098176)
    assert (found.quantization, found.size_bytes) == ("Q4_K - Medium", 246587904)


@both_ways
def test_a_recorded_prompt_is_counted(one_byte: bool) -> None:
    _, prompt = recordings.dialect_exchange("apply_template")
    _, tokens = recordings.dialect_exchange("tokenize")

    def script(exchange: Exchange) -> Any:
        return [tokens if exchange.path == "/tokenize" else prompt]

    with ScriptedServer(script, one_byte_writes=one_byte) as server:
        with provider_of(server) as provider:
            found = provider.count_tokens("hi")

    assert (found.tokens, found.source) == (2, "exact")
    assert server.exchanges[1].json["content"].endswith("user: hi\nassistant:")
