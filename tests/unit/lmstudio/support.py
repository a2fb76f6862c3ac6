"""A fake LM Studio with a provider, and the requests that the server received."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, NamedTuple, Sequence, Union

from localproviders import LMStudioProvider, RetryPolicy
from localproviders.testing import FakeLMStudio, FakeModel

MODEL = "qwen/qwen3-4b"


class Pair(NamedTuple):
    """A fake server and its provider."""

    server: FakeLMStudio
    provider: LMStudioProvider

    def take_requests(self) -> List[str]:
        """Return method and path of each request since the last call of this function."""
        requests = [f"{e.method} {e.path}" for e in self.server.exchanges]
        self.server.exchanges.clear()
        return requests

    def last_body(self, path: str) -> Any:
        """Return the JSON body of the last request for a path."""
        return [e.json for e in self.server.exchanges if e.path == path][-1]


@contextlib.contextmanager
def studio(
    models: Sequence[Union[str, FakeModel]] = (MODEL,), *, listeners: Any = (), **options: Any
) -> Iterator[Pair]:
    """Start the server and make the provider."""
    with FakeLMStudio(models, **options) as server:
        with LMStudioProvider(
            server.url, model=MODEL, listeners=listeners, retry=RetryPolicy(first_wait_s=0)
        ) as provider:
            yield Pair(server, provider)
