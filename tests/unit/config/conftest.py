"""A fixture with system, home and project folders below the temporary folder of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from localproviders import Config
from localproviders.config import files

SYSTEM, USER, PROJECT = "etc/config.toml", "home/.config/localproviders/config.toml", "home/work"


class Machine:
    """The configuration files and environment variables that `load` reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ: Dict[str, str] = {"HOME": str(root / "home")}
        self.work = root / PROJECT
        self.work.mkdir(parents=True)

    def write(self, place: str, text: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def system(self, text: str) -> Path:
        return self.write(SYSTEM, text)

    def user(self, text: str) -> Path:
        path = self.write(USER, text)
        path.chmod(0o600)  # it may hold a key
        return path

    def project(self, text: str, name: str = "localproviders.toml") -> Path:
        return self.write(f"{PROJECT}/{name}", text)

    def load(self, **arguments: Any) -> Config:
        return Config.load(directory=self.work, environ=self.environ, **arguments)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(files, "SYSTEM_ELSEWHERE", str(tmp_path / SYSTEM))
    monkeypatch.setattr("sys.platform", "linux")
    return Machine(tmp_path)
