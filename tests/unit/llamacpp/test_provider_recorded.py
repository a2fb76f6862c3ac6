"""Each recorded response of llama.cpp's own routes, read by the provider."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Type

import pytest

from localproviders import (
    CapabilityError,
    CompletionRequest,
    LlamaCppProvider,
    Message,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    RetryPolicy,
)
from localproviders.testing import Exchange, ScriptedServer, http_answer
from tests.support.recordings import dialect_exchange

_FOLDER = "llamacpp"
_HI = CompletionRequest(messages=(Message.user("hi"),))
_LIST = {
    "object": "list",
    "data": [
        {"id": "gemma3-270m", "status": {"value": "loaded"}},
        {"id": "tiny-decider", "status": {"value": "loaded"}},
        {"id": "nope", "status": {"value": "loaded"}},
    ],
}


def ask(name: str, verb: Callable[[LlamaCppProvider], Any], folder: str = _FOLDER) -> Any:
    """Call a verb; its own request is answered by a recording, and a list by the same list of one model."""
    request, response = dialect_exchange(name, folder)

    def answer(exchange: Exchange) -> List[bytes]:
        is_list = exchange.path == "/v1/models" and exchange.method == "GET"
        return [http_answer(_LIST) if is_list else response]

    once = RetryPolicy(attempts=1)
    with ScriptedServer(answer) as server:
        with LlamaCppProvider(server.url, model="gemma3-270m", retry=once) as provider:
            found = verb(provider)
        paths = [e.path.partition("?")[0] for e in server.exchanges]
        assert request["path"].partition("?")[0] in paths
    return found


def test_the_properties_tell_version_window_and_abilities() -> None:
    properties = ask("props", lambda provider: provider.properties())

    assert properties["total_slots"] == 1
    assert ask("props", lambda provider: provider.version()) == "b0-unknown"
    known = ask("props", lambda provider: provider.model_info("gemma3-270m")).capabilities
    assert (known.vision, known.audio, known.tools_trained) == (False, False, True)
    assert known.evidence["vision"].detail == "GET /props: modalities.vision is false"
    assert (known.loaded_context_length, known.quantization) == (2048, "Q4_K - Medium")


def test_a_router_tells_its_version() -> None:
    assert ask("router_props", lambda provider: provider.version()) == "b1-7e4c0a9"


def test_the_slots_are_listed() -> None:
    (slot,) = ask("slots", lambda provider: provider.slots())

    assert (slot["id"], slot["n_ctx"], slot["is_processing"]) == (0, 2048, False)


def test_the_server_counts_a_chat() -> None:
    count = ask("input_tokens_chat", lambda provider: provider.count_tokens("hi"))

    assert (count.tokens, count.source) == (94, "exact")


def test_a_model_without_the_tokens_for_a_gap_is_named_with_them() -> None:
    request = CompletionRequest(prompt="a", suffix="b")
    with pytest.raises(CapabilityError) as caught:
        ask("infill_unsupported", lambda provider: provider.complete(request))

    for token in ("prefix", "suffix", "middle"):
        assert f"{token} token is missing" in caught.value.message
    assert "trained to fill gaps" in str(caught.value.hint)


#: The refusals of a router: the recording, the verb, and the error.
_REFUSALS: Dict[str, Any] = {
    "router_no_model": (lambda provider: provider.complete(_HI), RequestRejectedError),
    "router_unknown_model": (lambda provider: provider.complete(_HI), ModelNotFoundError),
    "router_not_loaded": (lambda provider: provider.complete(_HI), ModelLoadError),
    "router_delete_not_cached": (
        lambda provider: provider.delete("gemma3-270m"),
        RequestRejectedError,
    ),
    "router_unload_unknown": (lambda provider: provider.unload("nope"), ModelNotFoundError),
}


@pytest.mark.parametrize("name", sorted(_REFUSALS))
def test_a_refusal_has_its_class(name: str) -> None:
    verb, error = _REFUSALS[name]
    with pytest.raises(ProviderError) as caught:
        ask(name, verb)

    kind: Type[ProviderError] = error
    assert type(caught.value) is kind
    assert caught.value.hint or kind is RequestRejectedError


def _fill(provider: LlamaCppProvider) -> Any:
    return provider.complete(CompletionRequest(prompt="a", suffix="b"))


@pytest.mark.parametrize("name", ["completion_native", "completion_native_stream"])
def test_a_native_completion_is_read_whole_and_streamed(name: str) -> None:
    """The recordings are of ``/completion``, whose answers have the form of ``/infill``."""
    _, response = dialect_exchange(name, _FOLDER)
    with ScriptedServer(lambda exchange: [response]) as server:
        with LlamaCppProvider(server.url, model="gemma3-270m") as provider:
            answer = _fill(provider)

    assert answer.text
    assert answer.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens and answer.usage.completion_tokens
    assert answer.usage.cached_tokens is not None
    assert answer.server_timings.generation_s is not None


def test_the_progress_of_a_prompt_comes_before_the_text() -> None:
    def stream(provider: LlamaCppProvider) -> Any:
        with provider.stream("hi") as chunks:
            return [(chunk.progress and chunk.progress.fraction, chunk.text) for chunk in chunks]

    found = ask("chat_progress_stream", stream, "openai_compatible")
    reports = [fraction for fraction, _ in found if fraction is not None]
    assert reports == [0, 88 / 994, 478 / 994, 990 / 994, 1.0]
    assert "".join(text for _, text in found) == " {name"
    assert all(fraction is None for fraction, text in found if text)
