"""The pytest fixtures of this package. pytest finds them if the package is installed.

Each fixture imports the fake servers itself, so that test runs without these fixtures do not
import them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

if TYPE_CHECKING:
    from localproviders.testing.fake import FakeServer
    from localproviders.testing.lmstudio import FakeLMStudio
    from localproviders.testing.ollama import FakeOllama
else:
    FakeLMStudio = FakeOllama = FakeServer = Any  # importing them would slow down every run


@pytest.fixture
def fake_ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    """Yield a running `FakeOllama`, the default server of ``OllamaProvider()`` during the test."""
    from localproviders.testing import FakeOllama  # imports the fake servers

    with FakeOllama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.fixture
def fake_lmstudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLMStudio]:
    """Yield a running `FakeLMStudio`, the default of ``LMStudioProvider()`` during the test."""
    from localproviders.testing import FakeLMStudio  # imports the fake servers

    with FakeLMStudio() as server:
        # Patch the default port, because no environment variable sets LM Studio's address.
        monkeypatch.setattr("localproviders.lmstudio.provider._PORT", server.port)
        yield server


@pytest.fixture
def fake_server() -> Iterator[Callable[..., FakeServer]]:
    """Yield a function that starts the fake server of a kind, such as ``fake_server("ollama")``.

    Further arguments are passed to the constructor of the fake. The servers run until the test
    ends.
    """
    from localproviders.testing import fake_of  # imports the fake servers

    with ExitStack() as servers:

        def start(kind: str, *args: Any, **options: Any) -> FakeServer:
            return servers.enter_context(fake_of(kind)(*args, **options))

        yield start
