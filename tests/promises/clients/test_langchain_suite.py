"""LangChain's published test suites pass against the fake servers."""

from __future__ import annotations

from typing import Any, Iterator, Type

import pytest

from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama, FakeOpenAICompatible
from tests.promises.clients.model import reply

_REASON = "LangChain is not installed: nox -s clients installs it"
suites = pytest.importorskip("langchain_tests.integration_tests", reason=_REASON)
langchain_ollama = pytest.importorskip("langchain_ollama", reason=_REASON)
langchain_openai = pytest.importorskip("langchain_openai", reason=_REASON)

pytestmark = pytest.mark.slow

_REFUSED: Any = pytest.importorskip("openai", reason=_REASON).BadRequestError

_ALL = ("chat", "completion", "tools", "vision", "thinking")
_MODELS = (
    FakeModel(name="chat", abilities=_ALL),
    FakeModel(name="vectors", abilities=("embeddings",)),
)


class OnFake:
    """A suite that runs against a fake server."""

    server_class: Any = FakeOllama
    server: Any = None

    @pytest.fixture(autouse=True, scope="class")
    def _serve(self) -> Iterator[None]:
        with self.server_class(_MODELS) as server:
            server.usual = reply
            type(self).server = server
            yield


class TestChatOllama(OnFake, suites.ChatModelIntegrationTests):
    """`ChatOllama`, which keeps its model for five minutes."""

    @property
    def chat_model_class(self) -> Type[Any]:
        return langchain_ollama.ChatOllama

    @property
    def chat_model_params(self) -> Any:
        # Loading the certificates takes longer than a test.
        options = {"verify": False, "trust_env": False}
        return {
            "model": "chat",
            "base_url": self.server.url,
            "keep_alive": "5m",
            "client_kwargs": options,
        }

    @property
    def has_tool_choice(self) -> bool:
        return False


class TestOllamaEmbeddings(OnFake, suites.EmbeddingsIntegrationTests):
    """`OllamaEmbeddings`, which takes seconds only."""

    @property
    def embeddings_class(self) -> Type[Any]:
        return langchain_ollama.OllamaEmbeddings

    @property
    def embedding_model_params(self) -> Any:
        return {"model": "vectors", "base_url": self.server.url, "keep_alive": 300}


class TestChatOpenAI(OnFake, suites.ChatModelIntegrationTests):
    """`ChatOpenAI` on a server like llama.cpp's."""

    server_class = FakeOpenAICompatible

    @property
    def chat_model_class(self) -> Type[Any]:
        return langchain_openai.ChatOpenAI

    @property
    def chat_model_params(self) -> Any:
        base_url = f"{self.server.url}/v1"
        return {"model": "chat", "base_url": base_url, "api_key": "none", "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestOpenAIEmbeddings(OnFake, suites.EmbeddingsIntegrationTests):
    """`OpenAIEmbeddings`, which would have to download a tokenizer to send token ids."""

    server_class = FakeOpenAICompatible

    @property
    def embeddings_class(self) -> Type[Any]:
        return langchain_openai.OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> Any:
        return {
            "model": "vectors",
            "base_url": f"{self.server.url}/v1",
            "api_key": "none",
            "check_embedding_ctx_length": False,
        }


class TestChatOpenAIOnLMStudio(TestChatOpenAI):
    """`ChatOpenAI` on LM Studio."""

    server_class = FakeLMStudio

    @property
    def structured_output_kwargs(self) -> Any:
        return {"method": "json_schema"}

    @property
    def supports_json_mode(self) -> bool:
        return False

    # The suite allows no other form of an exception: it must be marked, with a reason.
    @pytest.mark.xfail(raises=_REFUSED, strict=True, reason="LM Studio refuses to choose a tool")
    def test_tool_choice(self, model: Any) -> None:
        super().test_tool_choice(model)

    @pytest.mark.xfail(raises=_REFUSED, strict=True, reason="LM Studio refuses to choose a tool")
    def test_structured_output_pydantic_2_v1(self, model: Any) -> None:
        super().test_structured_output_pydantic_2_v1(model)
