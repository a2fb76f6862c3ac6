"""Ollama's official package ``ollama``."""

from __future__ import annotations

import ollama

from benchmarks.speed.adapters import MODEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List

PACKAGES = ("ollama", "httpx")


def connect(url: str, dialect: str) -> Any:
    return ollama.Client(host=url, timeout=60)


def stream(client: Any, prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    for part in client.chat(model=MODEL, messages=messages, stream=True):
        yield part.message.content or ""


def chat(client: Any, prompt: str) -> str:
    return "".join(stream(client, prompt))


def embed(client: Any, texts: List[str], packed: bool) -> List[Any]:
    return list(client.embed(model=MODEL, input=texts).embeddings)
