"""OpenAI's official package ``openai``, with a local server that has OpenAI's API."""

from __future__ import annotations

import openai

from benchmarks.speed.adapters import MODEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List

PACKAGES = ("openai", "httpx", "httpx2")


def connect(url: str, dialect: str) -> Any:
    return openai.OpenAI(base_url=url + "/v1", api_key="none", timeout=60, max_retries=0)


def stream(client: Any, prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    with client.chat.completions.create(model=MODEL, messages=messages, stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""


def chat(client: Any, prompt: str) -> str:
    return "".join(stream(client, prompt))


def embed(client: Any, texts: List[str], packed: bool) -> List[Any]:
    if packed:  # the package asks for base64 by default
        answer = client.embeddings.create(model=MODEL, input=texts)
    else:
        answer = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    return [row.embedding for row in answer.data]
