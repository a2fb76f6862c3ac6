"""This package, used as its README shows."""

from __future__ import annotations

import localproviders
from benchmarks.speed.adapters import MODEL
from benchmarks.speed.adapters.decisions import OPTIONS, QUESTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

PACKAGES = ("localproviders", "requests", "urllib3")
_QUESTIONS: Dict[str, Any] = {}


def connect(url: str, dialect: str) -> Any:
    # A script uses only one of the two providers, and the package imports only that one.
    if dialect == "ollama":
        return localproviders.OllamaProvider(url, model=MODEL)
    return localproviders.OpenAICompatibleProvider(url + "/v1", model=MODEL)


def _questions() -> Any:
    if not _QUESTIONS:
        _QUESTIONS["team"] = localproviders.Choice(QUESTION, OPTIONS)
    return _QUESTIONS


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


def decide(client: Any, method: str, state: str) -> str:
    chosen: str = client.decide(state, _questions(), method=method)["team"].choice
    return chosen


def decide_many(client: Any, method: str, states: List[str]) -> List[str]:
    found = client.decide_many(states, _questions(), method=method)
    return [decisions["team"].choice for decisions in found]
