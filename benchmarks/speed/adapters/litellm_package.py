"""The package ``litellm``, with the APIs of Ollama and OpenAI."""

from __future__ import annotations

import litellm

from benchmarks.speed.adapters import MODEL
from benchmarks.speed.adapters.baseline import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

PACKAGES = ("litellm", "openai", "httpx")


def connect(url: str, dialect: str) -> Any:
    if dialect == "ollama":
        return {"api_base": url}
    return {"api_base": url + "/v1", "api_key": "none"}


def _model(client: Dict[str, Any], native: str) -> str:
    return f"{'openai' if 'api_key' in client else native}/{MODEL}"


def stream(client: Dict[str, Any], prompt: str) -> Iterator[str]:
    messages = [{"role": "user", "content": prompt}]
    model = _model(client, "ollama_chat")
    for chunk in litellm.completion(
        model=model, messages=messages, stream=True, timeout=60, **client
    ):
        yield chunk.choices[0].delta.content or ""


def chat(client: Dict[str, Any], prompt: str) -> str:
    return "".join(stream(client, prompt))


def embed(client: Dict[str, Any], texts: List[str], packed: bool) -> List[Any]:
    more = {"encoding_format": "base64" if packed else "float"} if "api_key" in client else {}
    answer = litellm.embedding(model=_model(client, "ollama"), input=texts, **more, **client)
    if more and packed:
        return unpack(answer.data)  # litellm returns the base64 text unchanged
    return [row["embedding"] for row in answer.data]
