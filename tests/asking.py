"""A provider and its fake server, for tests of calls that ask more than once."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

from localproviders import (
    LMStudioProvider,
    ModelProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    ProviderError,
    ToolCall,
)
from localproviders.testing import (
    FakeLMStudio,
    FakeModel,
    FakeOllama,
    FakeOpenAICompatible,
    FakeServer,
    Reply,
)
from tests.locality.support import PROMPT, find, shown

PROVIDERS: Mapping[str, Tuple[Callable[..., FakeServer], Callable[..., ModelProvider]]] = {
    "ollama": (FakeOllama, OllamaProvider),
    "lmstudio": (FakeLMStudio, LMStudioProvider),
    "openai": (
        FakeOpenAICompatible,
        lambda url, **options: OpenAICompatibleProvider(url + "/v1", **options),
    ),
}


class Desk(NamedTuple):
    """A provider, the fake server behind it, and what the server was asked."""

    kind: str
    fake: FakeServer
    provider: ModelProvider

    @property
    def asked(self) -> List[Dict[str, Any]]:
        """The JSON of each request to the model, in order."""
        paths = ("/api/chat", "/v1/chat/completions")
        return [each.json for each in self.fake.exchanges if each.path in paths]

    @property
    def messages(self) -> List[Dict[str, Any]]:
        """The conversation as it was sent last."""
        return list(self.asked[-1]["messages"])

    @property
    def results(self) -> List[str]:
        """The results of tools in it."""
        return [each["content"] for each in self.messages if each["role"] == "tool"]


@contextlib.contextmanager
def desk(kind: str, **options: Any) -> Iterator[Desk]:
    """Start a fake server of this kind, with a model that is loaded."""
    server, provider = PROVIDERS[kind]
    with server([FakeModel(name="m", loaded=True)]) as fake:
        with provider(fake.url, model="m", **options) as made:
            yield Desk(kind, fake, made)


def calls(*names_and_arguments: Tuple[str, Dict[str, Any]], text: str = "") -> Reply:
    """Give a reply that calls tools: pairs of a name and arguments."""
    made = [
        ToolCall(id=f"id_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(names_and_arguments, start=1)
    ]
    return Reply(text=text, tool_calls=tuple(made))


def assert_shows_no_prompt(error: BaseException, *more: str) -> None:
    """Look for the prompt in an error, its frames, its pickle and its dictionary."""
    seen = shown(error)
    if isinstance(error, ProviderError):
        seen += json.dumps(error.to_dict()) + shown(pickle.loads(pickle.dumps(error)))
    for words in (PROMPT, *more):
        assert find(words, seen) == []
