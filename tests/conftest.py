"""What every test starts from: a clean environment, and the same examples at each run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Properties are tried on the same examples each time: a run goes red for a reason in the
# code. To look for new reasons, say how many random examples each of them is to get:
# LOCALPROVIDERS_FUZZ=20000 python -m pytest tests/fuzz
SEARCH = int(os.environ.get("LOCALPROVIDERS_FUZZ", "0"))

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search",
    settings.get_profile("steady"),
    derandomize=False,
    print_blob=True,
    max_examples=max(SEARCH, 1),
)
settings.load_profile("search" if SEARCH else "steady")

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
    # No test reads what the user of this machine has configured.
    monkeypatch.setenv("XDG_CONFIG_HOME", os.path.abspath(os.path.join(os.sep, "nowhere")))
