"""Fixtures of the tests of batches."""

from __future__ import annotations

from typing import Iterator

import pytest

from localproviders import structured, tool_loop
from localproviders._http_provider import (
    cold_loads,
    decide_by_logprobs,
    deciding,
    embedding,
    model_checks,
)
from localproviders.testing import FakeOllama
from tests.unit.batch.support import Ollama

# Pytest rewrites the modules of this package when they are imported, and Python 3.11 cannot parse
# in two threads at once (``AST constructor recursion depth mismatch``). So the modules that a
# provider imports at first use are imported before there are threads.
IMPORTED = (
    cold_loads,
    decide_by_logprobs,
    deciding,
    embedding,
    model_checks,
    structured,
    tool_loop,
)


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    with FakeOllama(["llama3.2", "nomic-embed-text"]) as server:
        made = Ollama(server)
        with made.provider:
            yield made
