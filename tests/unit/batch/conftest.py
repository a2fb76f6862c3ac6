"""Fixtures of the tests of batches."""

from __future__ import annotations

from typing import Iterator

import pytest

from localproviders.testing import FakeOllama
from tests.unit.batch.support import Ollama


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    with FakeOllama(["llama3.2", "nomic-embed-text"]) as server:
        made = Ollama(server)
        with made.provider:
            yield made
