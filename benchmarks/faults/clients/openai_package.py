"""OpenAI's official package ``openai``, with a local server that has OpenAI's API."""

from __future__ import annotations

import ssl
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Iterator, List, Optional

import openai


def _transport() -> str:
    for name in ("httpx2", "httpx"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "unknown"


VERSION = version("openai")
TRANSPORT = _transport()
#: Exceptions that the package documents, and Python's own exceptions for failed connections.
TYPED = (openai.OpenAIError, ConnectionError, TimeoutError)


def connect(url: str, authority: Optional[str], limit_s: float) -> Any:
    more = {}
    if authority:
        context = ssl.create_default_context(cafile=authority)
        more["http_client"] = openai.DefaultHttpxClient(verify=context)
    return openai.OpenAI(
        base_url=url + "/v1", api_key="not-needed", timeout=limit_s, max_retries=0, **more
    )


def complete(client: Any, prompt: str) -> Optional[str]:
    messages = [{"role": "user", "content": prompt}]
    answer = client.chat.completions.create(model="chat-model", messages=messages)
    return answer.choices[0].message.content


def stream(client: Any, prompt: str) -> Iterator[Optional[str]]:
    messages = [{"role": "user", "content": prompt}]
    with client.chat.completions.create(
        model="chat-model", messages=messages, stream=True
    ) as chunks:
        for chunk in chunks:
            if chunk.choices:
                yield chunk.choices[0].delta.content


def embed(client: Any, texts: List[str]) -> List[Any]:
    answer = client.embeddings.create(model="vector-model", input=texts)
    return [row.embedding for row in answer.data]


def list_models(client: Any) -> List[Any]:
    return [model.id for model in client.models.list()]
