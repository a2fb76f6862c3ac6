"""Embeddings of the fake Ollama, in its own API."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

from localproviders.testing.answers import Answer
from localproviders.testing.fake import count_tokens
from localproviders.testing.ollama.answers import RefusedError, json_answer
from localproviders.testing.ollama.requests import body_of
from localproviders.testing.ollama.text import FakeText
from localproviders.testing.ollama.turn import metrics
from localproviders.testing.scripted import Exchange
from localproviders.testing.values import FakeModel

_SHARED = {
    "model": "string",
    "keep_alive": "api.Duration",
    "options": "map[string]interface {}",
}
#: The Go types of the fields of each sort of request.
EMBED = {**_SHARED, "input": "any", "truncate": "bool", "dimensions": "int"}
_EMBED_ONE = {**_SHARED, "prompt": "string"}
_TOO_LONG = "the input length exceeds the context length"


class FakeVectors(FakeText):
    """The part of `FakeOllama` that makes vectors."""

    def embed_texts(
        self, exchange: Exchange, body: Mapping[str, Any], texts: List[str]
    ) -> Union[Dict[str, Any], Answer]:
        """Load the model of a request; return the fields of the response, or a scripted refusal."""
        model = self._embedder(body)
        load_s = self.load_for(model, exchange, body)
        if not texts:
            return {"model": body["model"], "embeddings": []}
        refusal = self.refuses(texts)
        if refusal is not None:
            return self.refusal(refusal)
        if not model.can("embeddings"):
            words = "This server does not support embeddings. Start it with `--embeddings`"
            raise RefusedError(words, "501 Not Implemented")
        window = self.window_of(model)
        tokens = [count_tokens(text) for text in texts]
        if body.get("truncate") is False and max(tokens) > window:
            raise RefusedError(_TOO_LONG)
        length = body.get("dimensions", 0)
        length = length if 0 < length < model.dimensions else model.dimensions
        return {
            "model": body["model"],
            "embeddings": [self.vector_of(text, length) for text in texts],
            **metrics(sum(min(count, window) for count in tokens), 0, load_s),
        }

    def _embedder(self, body: Mapping[str, Any]) -> FakeModel:
        name = body.get("model", "")
        missing = f'model "{name}" not found, try pulling it first'
        if not name:
            raise RefusedError(missing, "404 Not Found")
        return self._find(name, missing)

    def _embed(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.EmbedRequest", EMBED)
        given = body.get("input") or []
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise RefusedError("invalid input type")
        made = self.embed_texts(exchange, body, texts)
        return made if isinstance(made, Answer) else json_answer(made, kind="vectors")

    def _embed_one(self, exchange: Exchange) -> Answer:
        """Answer a request to ``/api/embeddings``, which ``/api/embed`` has replaced."""
        body = body_of(exchange, "api.EmbeddingRequest", _EMBED_ONE)
        if not body.get("model"):
            raise RefusedError("model is required")
        model = self._embedder(body)
        self.load_for(model, exchange, body)
        text = body.get("prompt", "")
        refusal = self.refuses([text])
        if refusal is not None:
            return self.refusal(refusal)
        if count_tokens(text) > self.window_of(model):
            raise RefusedError(_TOO_LONG, "500 Internal Server Error")
        return json_answer({"embedding": self.vector_of(text, model.dimensions) if text else []})
