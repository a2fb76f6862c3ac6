"""A new output in the order of the rows, and what a kill during its two renames leaves."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from localproviders import batch
from localproviders.batch import rewriting
from localproviders.batch.paths import RunPaths
from localproviders.testing import Refusal
from tests.unit.batch.support import Ollama, chats, lines_of


class _Killed(BaseException):
    """Stands for a kill at this moment."""


def _failed_once(ollama: Ollama, output: Path) -> None:
    """Make an output with a failed row, which a second run replaces."""
    ollama.server.reply_with(Refusal(status="400 Bad Request", body={"error": "no"}))
    assert ollama.run(chats(5), output).failed == 1


@pytest.mark.parametrize("moment", ["before", "first", "second"])
@pytest.mark.parametrize("use", ["run", "read", "status"])
def test_a_kill_between_the_renames(
    moment: str, use: str, ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    _failed_once(ollama, output)
    replace, calls = os.replace, []

    def killed(source: str, target: str) -> None:
        if ".new" in source and ".manifest" not in source:
            calls.append(source)
            if moment == "before" or (moment == "first" and len(calls) == 2):
                raise _Killed
        replace(source, target)
        if moment == "second" and len(calls) == 2:
            raise _Killed

    monkeypatch.setattr(rewriting.os, "replace", killed)
    with pytest.raises(_Killed):
        ollama.run(chats(5), output, retry_failed=True)
    monkeypatch.undo()
    if use == "run":
        report = ollama.run(chats(5), output)
        assert (report.succeeded, report.failed) == (5, 0)
        assert len(lines_of(output)) == 5
    uses: Dict[str, Callable[[Path], Any]] = {
        "run": batch.status,
        "status": batch.status,
        "read": lambda path: batch.BatchReport(succeeded=len(list(batch.read(path)))),
    }
    assert uses[use](output).succeeded == 5
    if use == "run":
        assert not any(".new" in path.name for path in tmp_path.iterdir())


def test_the_new_output_has_the_order_of_the_rows(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    _failed_once(ollama, output)
    ollama.run(chats(5), output, retry_failed=True)
    assert [line["custom_id"] for line in lines_of(output)] == [f"r{n}" for n in range(5)]
    assert not os.path.exists(RunPaths(output).failures)


def test_a_disk_that_is_full_at_the_end(
    ollama: Ollama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    _failed_once(ollama, output)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rewriting, "fill", fail)
    report = ollama.run(chats(5), output, retry_failed=True)
    assert (report.succeeded, report.stopped, report.exit_code) == (5, "disk", 74)
    assert not any(".new" in path.name for path in tmp_path.iterdir())
    monkeypatch.undo()
    assert ollama.run(chats(5), output).exit_code == 0
    assert len(lines_of(output)) == 5


def test_new_files_of_a_killed_run_are_removed(ollama: Ollama, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ollama.run(chats(5), output)
    new = rewriting.beside(RunPaths(output))
    shutil.copy(output, new.output)
    Path(new.journal).write_bytes(b"half a journal")
    assert ollama.run(chats(5), output).skipped == 5
    assert not any(".new" in path.name for path in tmp_path.iterdir())
