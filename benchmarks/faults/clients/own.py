"""The calls that are the same for both providers of this package."""

from __future__ import annotations

from typing import Any, Iterator, List

from localproviders import ProviderError, RetryPolicy, __version__

VERSION = __version__
TYPED = (ProviderError,)
#: A policy without retries, because in this comparison the other clients do not retry, either.
NO_RETRIES = RetryPolicy(attempts=1)


def transport() -> str:
    from importlib.metadata import version

    return f"requests {version('requests')}, urllib3 {version('urllib3')}"


def complete(client: Any, prompt: str) -> str:
    return client.chat(prompt, model="chat-model").text


def stream(client: Any, prompt: str) -> Iterator[str]:
    with client.stream(prompt, model="chat-model") as chunks:
        for chunk in chunks:
            yield chunk.text


def embed(client: Any, texts: List[str]) -> List[Any]:
    return [list(vector) for vector in client.embed(texts, model="vector-model").vectors]


def list_models(client: Any) -> List[Any]:
    return [info.name for info in client.list_models()]
