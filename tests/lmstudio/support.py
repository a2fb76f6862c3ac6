"""A fake LM Studio with a provider on it, and what the provider asked for."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, NamedTuple, Sequence, Union

from localproviders import LMStudioProvider, RetryPolicy
from localproviders.testing import FakeLMStudio, FakeModel

MODEL = "qwen/qwen3-4b"


class Pair(NamedTuple):
    """A server and a provider of it."""

    server: FakeLMStudio
    provider: LMStudioProvider

    def asked(self) -> List[str]:
        """Give what the server was asked since the last time, and forget it."""
        told = [f"{e.method} {e.path}" for e in self.server.exchanges]
        self.server.exchanges.clear()
        return told

    def sent(self, path: str) -> Any:
        """Give the JSON of the last request for a path."""
        return [e.json for e in self.server.exchanges if e.path == path][-1]


@contextlib.contextmanager
def studio(
    models: Sequence[Union[str, FakeModel]] = (MODEL,), *, listeners: Any = (), **options: Any
) -> Iterator[Pair]:
    """Run both for a ``with`` block."""
    with FakeLMStudio(models, **options) as server:
        with LMStudioProvider(
            server.url, model=MODEL, listeners=listeners, retry=RetryPolicy(first_wait_s=0)
        ) as provider:
            yield Pair(server, provider)
