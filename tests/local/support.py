"""Two fake servers, and a `LocalProvider` over them."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Union

from localproviders import CallEvent, LMStudioProvider, LocalProvider, OllamaProvider, RetryPolicy
from localproviders.local.breaker import Breaker
from localproviders.testing import FakeLMStudio, FakeModel, FakeOllama

#: Nothing is sent again, so that a dead server is left at once.
ONCE = RetryPolicy(attempts=1)

Models = Sequence[Union[str, FakeModel]]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pair(NamedTuple):
    """Two servers, the provider over them, and what its listener heard."""

    ollama: FakeOllama
    lmstudio: FakeLMStudio
    local: LocalProvider
    events: List[CallEvent]
    clock: Clock

    @property
    def fallbacks(self) -> List[CallEvent]:
        return [event for event in self.events if event.kind == "fell_back"]


@contextlib.contextmanager
def pair(
    ollama: Models = ("both", "here"),
    lmstudio: Models = ("both", "qwen/there"),
    first: Optional[str] = None,
    **options: Any,
) -> Iterator[Pair]:
    """Start an Ollama and an LM Studio, in this order unless `first` says otherwise."""
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
