"""The command lines of docs/cron.md, run as cron and systemd run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from localproviders.testing import FakeOllama, Reply
from tests.support.docs import ROOT

_PAGE = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8")
_CRON = re.findall(
    r"^15 2 \* \* \* (/srv/summary/venv/bin/localproviders .+)$", _PAGE, re.MULTILINE
)
_SYSTEMD = re.findall(r"^ExecStart=(/srv/summary/venv/bin/localproviders .+)$", _PAGE, re.MULTILINE)
_UNITS = re.findall(r"`/etc/systemd/system/([\w.]+)`.*?```\n(.*?)```", _PAGE, re.DOTALL)

# The variables that cron passes to a job, according to its manual.
_ENVIRONMENT = ["PATH=/usr/bin:/bin", "SHELL=/bin/sh"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the place of ``/srv/summary``, with the command and the report."""
    program = tmp_path / "venv" / "bin" / "localproviders"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m localproviders "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "report.txt").write_text("Nothing happened: 3 €.", encoding="utf-8")
    return tmp_path


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama(["llama3.2"]) as found:
        found.usual = Reply(text="Nothing, for 3 €.")
        yield found


def _start(line: str, folder: Path, ollama: FakeOllama) -> Any:
    here = line.replace("/srv/summary", str(folder)).replace("--jitter 5m", "--jitter 0.01")
    shell = ["/bin/sh", "-c", here]
    return subprocess.Popen(
        ["env", "-i", *_ENVIRONMENT, f"OLLAMA_HOST={ollama.url}", *shell],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _run(line: str, folder: Path, ollama: FakeOllama) -> Dict[str, Any]:
    with _start(line, folder, ollama) as process:
        out, err = process.communicate(timeout=120)
    return {"status": process.returncode, "out": out, "err": err.decode()}


def test_the_page_has_the_lines() -> None:
    assert (len(_CRON), len(_SYSTEMD)) == (1, 1)
    assert {name for name, _ in _UNITS} >= {"summarize.service", "summarize.timer"}


@pytest.mark.parametrize("line", [*_CRON, *_SYSTEMD])
class TestLine:
    def test_it_works_and_says_nothing(self, line: str, folder: Path, ollama: FakeOllama) -> None:
        for _ in range(2):  # the second night replaces the first one's file
            assert _run(line, folder, ollama) == {"status": 0, "out": b"", "err": ""}
        assert (folder / "summary.txt").read_text("utf-8") == "Nothing, for 3 €.\n"
        asked = [each.json for each in ollama.exchanges if each.path == "/api/chat"][-1]
        assert "Nothing happened: 3 €." in asked["messages"][-1]["content"]
        assert "localproviders_calls_total" in (folder / "summary.prom").read_text()

    def test_a_second_run_ends_at_once(self, line: str, folder: Path, ollama: FakeOllama) -> None:
        (folder / "summary.txt").write_text("yesterday's")
        ollama.break_next("body stalled")
        with _start(line, folder, ollama) as first:
            while not (folder / "summary.lock").exists() or not ollama.exchanges:
                assert first.poll() is None
            second = _run(line, folder, ollama)
            first.kill()
        assert second["status"] == 75
        assert second["err"].count("\n") == 1
        assert (folder / "summary.txt").read_text() == "yesterday's"

    def test_an_error_is_one_line_with_a_command(
        self, line: str, folder: Path, ollama: FakeOllama
    ) -> None:
        ollama.models.clear()
        done = _run(line, folder, ollama)
        assert (done["status"], done["out"]) == (8, b"")
        assert done["err"].count("\n") == 1
        assert "localproviders pull ollama/llama3.2" in done["err"]
        assert not (folder / "summary.txt").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_the_units_are_valid(folder: Path) -> None:
    paths: List[str] = []
    for name, text in _UNITS:
        path = folder / name
        path.write_text(text.replace("/srv/summary", str(folder)).replace("User=summary\n", ""))
        paths.append(str(path))
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    done = subprocess.run(
        ["systemd-analyze", "verify", *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    said = done.stdout.decode()
    assert [line for line in said.splitlines() if str(folder) in line or "summar" in line] == []
