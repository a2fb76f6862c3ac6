"""A fixture for all tests: no search at the usual ports, and an empty cache of searches."""

from __future__ import annotations

from typing import Iterator

import pytest

from localproviders.discovery import candidates, forget
from tests.unit.discovery.support import release_ports


@pytest.fixture(autouse=True)
def _no_usual_ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(candidates, "usual_ports", lambda: {})
    forget()
    yield
    forget()
    release_ports()
