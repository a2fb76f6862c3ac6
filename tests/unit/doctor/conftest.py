"""The fixture `machine` for the tests of an examination."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

import pytest

from tests.unit.discovery.support import release_ports
from tests.unit.doctor.support import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine without trouble."""
    with ExitStack() as stack:
        yield Machine(stack, monkeypatch, tmp_path)
    release_ports()
