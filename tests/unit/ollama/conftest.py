"""A fake Ollama with one model, and its provider."""

from __future__ import annotations

from typing import Iterator

import pytest

from localproviders import OllamaProvider, RetryPolicy
from localproviders.testing import FakeOllama


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with FakeOllama(["llama3.2"]) as fake:
        yield fake


@pytest.fixture
def ollama(server: FakeOllama) -> Iterator[OllamaProvider]:
    with OllamaProvider(server.url, timeout=20, retry=RetryPolicy(first_wait_s=0)) as provider:
        yield provider
