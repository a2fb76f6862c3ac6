"""The verb ``engine install``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, List

from localproviders import cli
from localproviders.cli import engine


def test_install_is_skipped_where_it_makes_no_sense(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(engine, "why_unsupported", lambda: "too old")
    monkeypatch.setattr(
        sys.modules["localproviders.engine.install"], "why_unsupported", lambda: "too old"
    )

    assert cli.main(["engine", "install", "--if-supported"]) == 0
    assert "skipped: too old" in capsys.readouterr().out
    assert cli.main(["engine", "install"]) == 2


def test_install_tells_of_pips_failure(monkeypatch: Any, capsys: Any) -> None:
    def fail() -> None:
        raise subprocess.CalledProcessError(3, ["pip"])

    monkeypatch.setattr(engine, "why_unsupported", lambda: None)
    monkeypatch.setattr(engine, "install", fail)

    assert cli.main(["engine", "install"]) == 1
    assert "status 3" in capsys.readouterr().err


def test_install_installs(monkeypatch: Any) -> None:
    done: List[bool] = []
    monkeypatch.setattr(engine, "why_unsupported", lambda: None)
    monkeypatch.setattr(engine, "install", lambda: done.append(True))

    assert cli.main(["engine", "install"]) == 0
    assert done == [True]
