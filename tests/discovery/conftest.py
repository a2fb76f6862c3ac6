"""No test looks at this machine's usual ports, and none sees what another has kept."""

from __future__ import annotations

from typing import Iterator

import pytest

from localproviders.discovery import candidates, forget
from tests.discovery.support import give_ports_back


@pytest.fixture(autouse=True)
def _no_usual_ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(candidates, "PORTS", {})
    forget()
    yield
    forget()
    give_ports_back()
