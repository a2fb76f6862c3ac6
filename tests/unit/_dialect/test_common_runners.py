"""The runner of a model: the program that runs it, or what tells two entries of a list apart."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional

import pytest

from localproviders import LMStudioProvider, OllamaProvider, OpenAICompatibleProvider
from localproviders.testing import ScriptedServer, http_answer


def _listed(provider: Callable[..., Any], entries: List[Mapping[str, Any]]) -> List[Optional[str]]:
    """Return the runners of the models in a list with these entries."""
    key = "data" if provider is OpenAICompatibleProvider else "models"
    with ScriptedServer(lambda _: [http_answer({key: entries})]) as server:
        suffix = "/v1" if provider is OpenAICompatibleProvider else ""
        with provider(server.url + suffix) as made:
            return [info.runner for info in made.list_models()]


def _ollama(format: str, **more: Any) -> Mapping[str, Any]:
    return {"name": "m:latest", "model": "m:latest", "details": {"format": format}, **more}


def _lmstudio(format: str, key: str = "m") -> Mapping[str, Any]:
    return {"key": key, "type": "llm", "format": format, "loaded_instances": []}


@pytest.mark.parametrize(
    ("provider", "entries", "runners"),
    [
        (OllamaProvider, [_ollama("gguf")], [None]),
        (OllamaProvider, [_ollama("gguf"), _ollama("safetensors")], ["gguf", "safetensors"]),
        (OllamaProvider, [_ollama("gguf", runner="llama"), _ollama("mlx")], ["llama", "mlx"]),
        (OllamaProvider, [_ollama("gguf", runner=7)], [None]),
        (LMStudioProvider, [_lmstudio("gguf"), _lmstudio("mlx", "n")], [None, None]),
        (LMStudioProvider, [_lmstudio("gguf"), _lmstudio("mlx")], ["gguf", "mlx"]),
        (OpenAICompatibleProvider, [{"id": "m", "backend": "torch"}], ["torch"]),  # Infinity
        (OpenAICompatibleProvider, [{"id": "m"}, {"id": "m"}], [None, None]),
        (
            OpenAICompatibleProvider,
            [{"id": "m", "runner": "a"}, {"id": "m", "runner": "b"}, {"id": "n"}],
            ["a", "b", None],
        ),
    ],
)
def test_a_runner_tells_two_models_of_one_name_apart(
    provider: Callable[..., Any], entries: List[Mapping[str, Any]], runners: List[Optional[str]]
) -> None:
    assert _listed(provider, entries) == runners


def test_the_details_of_a_model_keep_its_runner() -> None:
    def answer(exchange: Any) -> Any:
        models = [_ollama("gguf", runner="llama")]
        lists = {"/api/tags": {"models": models}, "/api/ps": {"models": []}}
        return [http_answer(lists.get(exchange.path, {"details": {}, "capabilities": []}))]

    with ScriptedServer(answer) as server, OllamaProvider(server.url) as ollama:
        assert ollama.model_info("m").runner == "llama"
