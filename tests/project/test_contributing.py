"""The guide for contributors, and the files beside it, fit the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.docs import ROOT

_RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
_NOX = (ROOT / "noxfile.py").read_text(encoding="utf-8")
_SESSIONS = re.findall(r"@nox\.session.*\ndef (\w+)\(", _NOX)
_FORGE = ROOT / ".github"

in_a_clone = pytest.mark.skipif(not _FORGE.is_dir(), reason="a source archive has no hidden files")


def test_the_checks_run_each_session_but_the_one_for_contributors() -> None:
    line = next(line for line in _RUN.splitlines() if line.startswith("nox rest "))
    beside = re.findall(r"(?m)^run_beside (.+)$", _RUN)
    run = [*line.partition(" || ")[0].split()[2:], *" ".join(beside).split()]
    assert sorted(run) == sorted({*_SESSIONS} - {"tests"})


def test_the_guide_names_sessions_files_and_folders_that_exist() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(guide.splitlines()) <= 90
    assert {*re.findall(r"nox -s (\w+)", guide)} <= {*_SESSIONS}
    named = re.findall(r"(?<![\w/.])((?:localproviders|tests|\.ci)/[\w/.]*\w)", guide)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@in_a_clone
def test_the_workflow_covers_each_python_and_pins_each_action() -> None:
    text = (_FORGE / "workflows" / "checks.yml").read_text(encoding="utf-8")
    assert {*re.findall(r'"(3\.\d+)"', text)} >= {f"3.{minor}" for minor in range(8, 15)}
    actions = re.findall(r"uses: (\S+)", text)
    assert len(actions) == 4
    for action in actions:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
    assert "permissions:\n  contents: read\n" in text


@in_a_clone
def test_hooks_are_local() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^  - repo: (.+)$", text) == ["local"]
    assert "language: system" in text


@in_a_clone
@pytest.mark.parametrize(
    "path", [*_FORGE.rglob("*.yml"), ROOT / ".pre-commit-config.yaml"], ids=str
)
def test_it_is_yaml(path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
