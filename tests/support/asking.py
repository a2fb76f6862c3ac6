"""A provider and its fake server, for tests of calls that send several requests."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import pytest

from localproviders import (
    AnthropicProvider,
    LlamaCppProvider,
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    RetryPolicy,
    ToolCall,
)
from localproviders.testing import (
    FakeAnthropic,
    FakeLlamaCpp,
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
    Reply,
)
from tests.support.locality import PROMPT, lines_with, visible_text

PROVIDERS: Mapping[str, Tuple[Callable[..., FakeServer], Callable[..., ModelProvider]]] = {
    "ollama": (FakeOllama, OllamaProvider),
    "lmstudio": (FakeLMStudio, LMStudioProvider),
    "llamacpp": (FakeLlamaCpp, LlamaCppProvider),
    "anthropic": (FakeAnthropic, AnthropicProvider),
    "openai": (
        FakeOpenAICompatible,
        lambda url, **options: OpenAICompatibleProvider(url + "/v1", **options),
    ),
}


class ServedProvider(NamedTuple):
    """A provider, its fake server, and the requests that the server received."""

    kind: str
    fake: FakeServer
    provider: ModelProvider

    @property
    def chat_path(self) -> str:
        """Return the path of the requests to the model."""
        own = {"ollama": "/api/chat", "anthropic": "/v1/messages"}
        return own.get(self.kind, "/v1/chat/completions")

    @property
    def requests(self) -> List[Dict[str, Any]]:
        """Return the JSON body of each request to the model, in order."""
        return [each.json for each in self.fake.exchanges if each.path == self.chat_path]

    @property
    def messages(self) -> List[Dict[str, Any]]:
        """Return the messages of the last request; in Anthropic's, each result is a message."""
        return [each for message in self.requests[-1]["messages"] for each in _split(message)]

    @property
    def tool_results(self) -> List[str]:
        """Return the texts of the tool results among these messages."""
        return [each["content"] for each in self.messages if each["role"] == "tool"]


def _split(message: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Return a message, or the results of tools in it as messages of the role ``tool``."""
    content = message["content"]
    blocks = content if isinstance(content, list) else [{}]
    if any(block.get("type") != "tool_result" for block in blocks):
        return [message]
    return [{**block, "role": "tool"} for block in blocks]


@contextlib.contextmanager
def serve_provider(kind: str, **options: Any) -> Iterator[ServedProvider]:
    """Start a fake server of this kind, with one loaded model, and make its provider."""
    server, provider = PROVIDERS[kind]
    model = FakeModel(name="m", loaded=True, abilities=("chat", "completion", "tools", "thinking"))
    with server([model]) as fake:
        with provider(fake.url, model="m", **options) as made:
            yield ServedProvider(kind, fake, made)


@pytest.fixture(params=sorted(PROVIDERS))
def served(request: pytest.FixtureRequest) -> Iterator[ServedProvider]:
    """Yield each provider with its fake server; it does not retry."""
    with serve_provider(request.param, retry=RetryPolicy(attempts=1)) as opened:
        yield opened


@pytest.fixture
def ollama() -> Iterator[ServedProvider]:
    """Yield the provider for Ollama with its fake server."""
    with serve_provider("ollama") as opened:
        yield opened


def tool_call_reply(*names_and_arguments: Tuple[str, Dict[str, Any]], text: str = "") -> Reply:
    """Return a reply with one tool call for each pair of a tool name and its arguments."""
    made = [
        ToolCall(id=f"id_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(names_and_arguments, start=1)
    ]
    return Reply(text=text, tool_calls=tuple(made))


def assert_shows_no_prompt(error: BaseException, *more: str) -> None:
    """Check that an error, its frames, its pickle and its dictionary hold no text of the prompt.

    Args:
        error: The error.
        more: Further texts that the error must not hold.
    """
    seen = visible_text(error)
    if isinstance(error, ProviderError):
        seen += json.dumps(error.to_dict()) + visible_text(pickle.loads(pickle.dumps(error)))
    for words in (PROMPT, *more):
        assert lines_with(words, seen) == []
