"""The pytest fixtures of the package; pytest finds them by itself once it is installed.

Everything else is loaded inside the fixtures, so that a test run without them pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import pytest

if TYPE_CHECKING:
    from localproviders.testing.lmstudio import FakeLMStudio
    from localproviders.testing.ollama import FakeOllama


@pytest.fixture
def fake_ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    """Give a running `FakeOllama`; ``OllamaProvider()`` without an address finds it."""
    from localproviders.testing import FakeOllama

    with FakeOllama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.fixture
def fake_lmstudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLMStudio]:
    """Give a running `FakeLMStudio`; ``LMStudioProvider()`` without an address finds it."""
    from localproviders.testing import FakeLMStudio

    with FakeLMStudio() as server:
        # LM Studio has no variable for its address.
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", server.port)
        yield server
