"""Ollama's official package ``ollama``."""

from __future__ import annotations

import ssl
from importlib.metadata import version
from typing import Any, Iterator, List, Optional

import ollama

VERSION = version("ollama")
TRANSPORT = f"httpx {version('httpx')}"
#: Exceptions that the package documents, and Python's own exceptions for failed connections.
TYPED = (ollama.RequestError, ollama.ResponseError, ConnectionError, TimeoutError)


def connect(url: str, authority: Optional[str], limit_s: float) -> Any:
    more = {"verify": ssl.create_default_context(cafile=authority)} if authority else {}
    return ollama.Client(host=url, timeout=limit_s, **more)


def complete(client: Any, prompt: str) -> Optional[str]:
    messages = [{"role": "user", "content": prompt}]
    return client.chat(model="chat-model", messages=messages).message.content


def stream(client: Any, prompt: str) -> Iterator[Optional[str]]:
    messages = [{"role": "user", "content": prompt}]
    for part in client.chat(model="chat-model", messages=messages, stream=True):
        yield part.message.content


def embed(client: Any, texts: List[str]) -> List[Any]:
    return list(client.embed(model="vector-model", input=texts).embeddings)


def list_models(client: Any) -> List[Any]:
    return [model.model for model in client.list().models]
