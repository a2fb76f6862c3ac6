"""Ollama's names in OpenAI's dialect, and lists of models in other shapes."""

from __future__ import annotations

from typing import Any

import pytest

from localproviders import LocalProvider, ModelNotFoundError, OpenAICompatibleProvider
from localproviders.testing import Exchange, ScriptedServer, http_answer

_NAMES = ["embed:latest", "chat:7b", "chat:latest", "Org/Model", "team/chat:latest"]


def _serve(served: str) -> ScriptedServer:
    models = {"object": "list", "data": [{"id": name} for name in _NAMES]}
    message = {"message": {"content": "Hello"}, "finish_reason": "stop"}

    def script(exchange: Exchange) -> Any:
        is_list = exchange.method == "GET"
        return [http_answer(models if is_list else {"model": served, "choices": [message]})]

    return ScriptedServer(script)


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("chat", "chat:latest"),
        ("CHAT", "chat:latest"),
        ("library/chat", "chat:latest"),
        ("chat:latest", "chat:latest"),
        ("Chat:7B", "chat:7b"),
        ("team/chat", "team/chat:latest"),
        ("Org/Model", "Org/Model"),
    ],
)
def test_ollamas_names_are_compared_as_ollama_does(asked: str, listed: str) -> None:
    with _serve(listed) as server, OpenAICompatibleProvider(f"{server.url}/v1") as provider:
        assert provider.supports_model(asked)
        assert provider.model_info(asked).name == listed
        assert provider.chat("x", model=asked).warnings == ()


@pytest.mark.parametrize("asked", ["chat", "CHAT", "library/chat", "v1/chat"])
def test_a_local_provider_finds_a_server_by_ollamas_names(asked: str) -> None:
    with _serve("chat:latest") as server:
        v1 = OpenAICompatibleProvider(f"{server.url}/v1", name="v1")
        with LocalProvider([v1]) as local:
            answer = local.chat("x", model=asked)
            assert (answer.provider, answer.tried, answer.warnings) == ("v1", (), ())
            assert local.supports_model(asked)
            assert local.model_capabilities(asked) == v1.model_capabilities("chat")


@pytest.mark.parametrize("asked", ["org/model", "Model", "chat:8b", "other/chat", "chat:7"])
def test_other_names_must_be_equal(asked: str) -> None:
    with _serve("chat:latest") as server, OpenAICompatibleProvider(f"{server.url}/v1") as provider:
        assert not provider.supports_model(asked)
        with pytest.raises(ModelNotFoundError):
            provider.model_info(asked)
        (warning,) = provider.chat("x", model=asked).warnings
        assert "answered with 'chat:latest'" in warning
