"""What every test starts from: a clean environment."""

from __future__ import annotations

import pytest

_FOREIGN = (
    "OLLAMA_HOST",
    "OLLAMA_API_KEY",
    "LM_API_TOKEN",
    "LMSTUDIO_API_TOKEN",
    "LOCALPROVIDERS_LOCALITY",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_FOREIGN, *_PROXIES, *(name.lower() for name in _PROXIES)):
        monkeypatch.delenv(name, raising=False)
