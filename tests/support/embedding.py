"""The four providers and their fake servers, with one embedding model."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, List, Mapping, Tuple

from localproviders import (
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
)
from localproviders.testing import (
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
)

PROVIDERS = ("ollama", "lmstudio", "llamacpp", "openai")
MODEL = "vector-model"

_KINDS: Mapping[str, Tuple[Callable[..., FakeServer], Callable[..., Any]]] = {
    "ollama": (FakeOllama, OllamaProvider),
    "lmstudio": (FakeLMStudio, LMStudioProvider),
    "llamacpp": (FakeLlamaCpp, LlamaCppProvider),
    "openai": (FakeOpenAICompatible, OpenAICompatibleProvider),
}


def provider_of(kind: str, url: str, **options: Any) -> Any:
    """Make a provider for the server at a URL without a path."""
    return _KINDS[kind][1](url + "/v1" * (kind == "openai"), model=MODEL, **options)


@contextlib.contextmanager
def running(kind: str, context_length: int = 4096, **options: Any) -> Iterator[Tuple[Any, Any]]:
    """Yield a fake server with a loaded model, and its provider."""
    model = FakeModel(
        name=MODEL, abilities=("embeddings",), loaded=True, context_length=context_length
    )
    with _KINDS[kind][0]([model]) as server:
        with provider_of(kind, server.url, **options) as provider:
            yield server, provider


def batches(server: FakeServer) -> List[List[str]]:
    """Return the input texts of each embedding request, in order."""
    asked = [exchange.json for exchange in server.exchanges if exchange.method == "POST"]
    return [body["input"] if "input" in body else [body["prompt"]] for body in asked]


def numbered(count: int) -> List[str]:
    """Return this many different texts; a fake server returns another vector for each."""
    return [f"text number {index}" for index in range(count)]
