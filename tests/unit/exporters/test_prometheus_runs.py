"""The samples about runs of the command: the last end, the last success, the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import pytest

from localproviders import ConfigurationError
from localproviders.exporters import TextfileExporter, measures

_TIME = "localproviders_run_last_success_timestamp_seconds"
_CODE = "localproviders_run_exit_code"
_END = "localproviders_run_last_end_timestamp_seconds"


def _read(path: Path) -> Dict[Tuple[str, str], float]:
    samples = measures.parse(path.read_text(encoding="utf-8"))
    return {(name, dict(labels)["verb"]): value for (name, labels), value in samples.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nightly.prom"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Dict[str, float]:
    now = {"now": 1000.0}
    monkeypatch.setattr("localproviders.exporters.measures.time.time", lambda: now["now"])
    return now


def test_a_success_sets_all_three(path: Path, clock: Dict[str, float]) -> None:
    TextfileExporter(path).record_run("chat", 0)
    assert _read(path) == {(_CODE, "chat"): 0, (_END, "chat"): 1000, (_TIME, "chat"): 1000}


def test_a_failure_keeps_the_time_of_the_last_success(path: Path, clock: Dict[str, float]) -> None:
    TextfileExporter(path).record_run("chat", 0)
    clock["now"] = 2000.0
    TextfileExporter(path).record_run("chat", 11)
    assert _read(path) == {(_CODE, "chat"): 11, (_END, "chat"): 2000, (_TIME, "chat"): 1000}
    clock["now"] = 3000.0
    TextfileExporter(path).record_run("chat", 5)  # a smaller code replaces a larger one
    assert _read(path)[_CODE, "chat"] == 5


def test_a_first_failure_has_no_success(path: Path) -> None:
    TextfileExporter(path).record_run("embed", 75)
    assert {name for name, _ in _read(path)} == {_CODE, _END}


def test_verbs_are_separate(path: Path) -> None:
    exporter = TextfileExporter(path, labels={"script": "nightly"})
    exporter.record_run("chat", 0)
    exporter.record_run("embed", 6)
    found = _read(path)
    assert (found[_CODE, "chat"], found[_CODE, "embed"]) == (0, 6)
    assert 'script="nightly"' in path.read_text(encoding="utf-8")


def test_a_label_of_the_run_is_taken(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'verb'"):
        TextfileExporter(path, labels={"verb": "x"})


def test_a_file_that_cannot_be_written_does_not_raise(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = TextfileExporter(path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("localproviders.exporters.prometheus._replace", fail)
    exporter.record_run("chat", 0)
    assert "could not be written" in caplog.text
