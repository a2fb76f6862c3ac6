"""This package, used as its README shows."""

from __future__ import annotations

from benchmarks.speed.adapters import MODEL
from localproviders import OllamaProvider, OpenAICompatibleProvider

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List

PACKAGES = ("localproviders", "requests", "urllib3")


def connect(url: str, dialect: str) -> Any:
    if dialect == "ollama":
        return OllamaProvider(url, model=MODEL)
    return OpenAICompatibleProvider(url + "/v1", model=MODEL)


def close(client: Any) -> None:
    client.close()


def stream(client: Any, prompt: str) -> Iterator[str]:
    with client.stream(prompt) as chunks:
        for chunk in chunks:
            yield chunk.text


def chat(client: Any, prompt: str) -> str:
    text: str = client.chat(prompt).text
    return text


def embed(client: Any, texts: List[str], packed: bool) -> List[Any]:
    # All texts in one request, as the other clients send them.
    return list(client.embed(texts, batch_size=len(texts)).vectors)
