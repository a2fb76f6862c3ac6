"""One call of each method of `ModelProvider` on any provider kind, with a check of its result."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

import pytest

from localproviders import (
    CapabilityError,
    CompletionRequest,
    Message,
    ModelProvider,
    OpenAICompatibleProvider,
    ProviderError,
    ToolCall,
    UnsupportedError,
)
from localproviders.config import ServerConfig
from localproviders.kinds import ProviderKind
from localproviders.testing import FakeOpenAICompatible, FakeServer, Reply, fake_of

CHAT, VECTORS, RANKING = "llama3.2", "nomic-embed-text", "bge-reranker"
DECIDER = "nimble"
QUESTIONS: Mapping[str, Any] = {"late": "Is it late?", "team": ["sales", "billing"]}
REPLY = "Hello there, friend."


@dataclass
class Weather:
    """The response type for `parse`."""

    city: str


def weather(city: str) -> str:
    """Return the weather.

    Args:
        city: The name of the city.
    """
    return f"sunny in {city}"


REQUEST = CompletionRequest(messages=(Message.user("Hi"),), model=CHAT)


def _chat(provider: Any, fake: FakeServer) -> None:
    assert provider.chat("Hi", model=CHAT).text == REPLY


def _complete(provider: Any, fake: FakeServer) -> None:
    assert provider.complete(REQUEST).text == REPLY


def _stream(provider: Any, fake: FakeServer) -> None:
    with provider.stream("Hi", model=CHAT) as chunks:
        assert "".join(chunk.text for chunk in chunks) == REPLY


def _stream_completion(provider: Any, fake: FakeServer) -> None:
    with provider.stream_completion(REQUEST) as chunks:
        assert "".join(chunk.text for chunk in chunks) == REPLY
        assert chunks.result().text == REPLY


def _parse(provider: Any, fake: FakeServer) -> None:
    fake.reply_with('{"city": "Oslo"}')
    assert provider.parse("Where?", Weather, model=CHAT).value == Weather("Oslo")


def _run_tools(provider: Any, fake: FakeServer) -> None:
    call = ToolCall(id="c1", name="weather", arguments={"city": "Oslo"})
    fake.reply_with(Reply(text="", tool_calls=(call,)), "Sunny.")
    run = provider.run_tools("How is Oslo?", [weather], model=CHAT)
    assert (run.text, [step.content for step in run.steps]) == ("Sunny.", ["sunny in Oslo"])


def _stream_tools(provider: Any, fake: FakeServer) -> None:
    call = ToolCall(id="c1", name="weather", arguments={"city": "Oslo"})
    fake.reply_with(Reply(text="", tool_calls=(call,)), "Sunny.")
    with provider.stream_tools("How is Oslo?", [weather], model=CHAT) as chunks:
        steps = [chunk.tool_step for chunk in chunks if chunk.tool_step]
    assert (chunks.result().text, steps[0].content) == ("Sunny.", "sunny in Oslo")


def _embed(provider: Any, fake: FakeServer) -> None:
    found = provider.embed(["one", "two"], model=VECTORS).embeddings
    assert len(found) == 2 and found[0] != found[1]


def _decide(provider: Any, fake: FakeServer) -> None:
    fake.reply_with(Reply(decisions={"late": 0.75, "team": [0.25, 0.75]}))
    found = provider.decide("It is noon.", QUESTIONS, model=DECIDER)
    assert (found["late"].probability, found["team"].choice) == (0.75, "billing")
    assert found.provider == provider.name


def _decide_many(provider: Any, fake: FakeServer) -> None:
    found = list(provider.decide_many(["noon", "", "night"], QUESTIONS, model=DECIDER))
    assert [each.error is None for each in found] == [True, False, True]


def _rerank(provider: Any, fake: FakeServer) -> None:
    fake.models.append(fake.make_model(RANKING))
    ranking = provider.rerank("a dog", ["a cat", "the dog runs", "a dog"], model=RANKING)
    assert [ranked.index for ranked in ranking] == [2, 0, 1]


def _list_models(provider: Any, fake: FakeServer) -> None:
    assert {info.provider for info in provider.list_models()} == {provider.name}


def _supports_model(provider: Any, fake: FakeServer) -> None:
    assert provider.supports_model(CHAT) is True
    assert provider.supports_model("no-such-model") is False


def _model_info(provider: Any, fake: FakeServer) -> None:
    assert CHAT in provider.model_info(CHAT).name


def _model_capabilities(provider: Any, fake: FakeServer) -> None:
    found = provider.model_capabilities(CHAT)
    assert set(found.evidence) <= set(vars(found))


def _count_tokens(provider: Any, fake: FakeServer) -> None:
    assert provider.count_tokens("one two three", model=CHAT).tokens > 0


def _render(provider: Any, fake: FakeServer) -> None:
    assert "one two three" in provider.render("one two three", model=CHAT)


def _load(provider: Any, fake: FakeServer) -> None:
    assert CHAT in provider.load(CHAT).name


def _keep_loaded(provider: Any, fake: FakeServer) -> None:
    with provider.keep_loaded(CHAT) as loaded:
        assert CHAT in loaded.name


def _loaded_models(provider: Any, fake: FakeServer) -> None:
    with contextlib.suppress(UnsupportedError):
        provider.load(CHAT)
    assert [CHAT in each.name for each in provider.loaded_models()] == [True]


def _unload(provider: Any, fake: FakeServer) -> None:
    with contextlib.suppress(UnsupportedError):
        provider.load(CHAT)
    provider.unload(CHAT)
    assert provider.loaded_models() == []


def _pull(provider: Any, fake: FakeServer) -> None:
    assert CHAT in provider.pull(CHAT).name


def _close(provider: Any, fake: FakeServer) -> None:
    provider.close()
    provider.close()
    assert provider.chat("Hi", model=CHAT).text == REPLY


def _name(provider: Any, fake: FakeServer) -> None:
    assert isinstance(provider.name, str) and provider.name


def _limits(provider: Any, fake: FakeServer) -> None:
    assert provider.limits(3).total_s == 3


VERBS: Mapping[str, Callable[[Any, FakeServer], None]] = {
    name[1:]: function
    for name, function in list(globals().items())
    if name.startswith("_") and hasattr(ModelProvider, name[1:])
}


class _Engine:
    """Replaces the embedded engine with a fake server."""

    fake: FakeOpenAICompatible

    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> OpenAICompatibleProvider:
        return OpenAICompatibleProvider(self.fake.base_url)

    def stop(self) -> None:
        pass


@contextlib.contextmanager
def running(kind: ProviderKind, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a provider of a kind and its fake server."""
    if kind.is_file:
        path = kind.resolve("from_config")
        with FakeOpenAICompatible([CHAT, VECTORS, DECIDER]) as fake:
            monkeypatch.setattr(f"{path.__module__}.LocalEngine", _Engine)
            monkeypatch.setattr(_Engine, "fake", fake, raising=False)
            config = ServerConfig(name="file", kind=kind.name, gguf=Path(f"{CHAT}.gguf"))
            with path(config, ()) as provider:
                yield provider, fake
        return
    # A service of OpenAI's dialect has no fake of its own.
    fake_class = FakeOpenAICompatible if kind.fake is None else fake_of(kind.name)
    with fake_class([CHAT, VECTORS, DECIDER]) as fake:
        with kind.make(fake.url.rstrip("/") + kind.address_path) as provider:
            yield provider, fake


def check(kind: ProviderKind, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a method works on a kind, or raises `UnsupportedError` with a hint.

    A kind without routes for decisions asks a chat model. If it sends no log-probabilities, this is
    a `CapabilityError`.
    """
    refusals = (UnsupportedError, CapabilityError) if "decide" in verb else UnsupportedError
    with running(kind, monkeypatch) as (provider, fake):
        refusal: Optional[ProviderError] = None
        try:
            VERBS[verb](provider, fake)
        except refusals as error:
            refusal = error
    assert refusal is None or (refusal.hint and str(refusal).isprintable())
