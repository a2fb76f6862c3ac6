"""Two fake servers, and a `LocalProvider` that uses both."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Union

from localproviders import CallEvent, LMStudioProvider, LocalProvider, OllamaProvider, RetryPolicy
from localproviders.local.servers import Breaker
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama

#: No retry, so that the next server is tried at once.
ONCE = RetryPolicy(attempts=1)

Models = Sequence[Union[str, FakeModel]]


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pair(NamedTuple):
    """Two fake servers, the provider that uses them, its events and its clock."""

    ollama: FakeOllama
    lmstudio: FakeLMStudio
    local: LocalProvider
    events: List[CallEvent]
    clock: Clock

    @property
    def fallbacks(self) -> List[CallEvent]:
        """Return the events of fallbacks."""
        return [event for event in self.events if event.kind == "fell_back"]


@contextlib.contextmanager
def pair(
    ollama: Models = ("both", "here"),
    lmstudio: Models = ("both", "qwen/there"),
    first: Optional[str] = None,
    **options: Any,
) -> Iterator[Pair]:
    """Start a fake Ollama and a fake LM Studio, and make a provider for both.

    Args:
        ollama: The models of the Ollama.
        lmstudio: The models of the LM Studio.
        first: ``lmstudio`` if the provider uses that server first.
        options: Further options of `LocalProvider`.
    """
    events: List[CallEvent] = []
    clock = Clock()
    with FakeOllama(ollama) as one, FakeLMStudio(lmstudio) as other:
        providers: List[Any] = [
            OllamaProvider(one.url, retry=ONCE),
            LMStudioProvider(other.url, retry=ONCE),
        ]
        if first == "lmstudio":
            providers.reverse()
        options.setdefault("make_breaker", lambda: Breaker(clock=clock))
        with LocalProvider(providers, listeners=(events.append,), **options) as local:
            yield Pair(one, other, local, events, clock)
