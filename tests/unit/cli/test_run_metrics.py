"""``--metrics-file``: what a monitor of a cron job can see."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from localproviders.exporters import measures
from localproviders.testing import FakeModel, FakeOllama
from tests.support.model_command import call, run, start, wait_for_request

Capture = pytest.CaptureFixture[str]
_CODE = "localproviders_run_exit_code"
_SUCCESS = "localproviders_run_last_success_timestamp_seconds"


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    with FakeOllama([FakeModel(name="llama3.2")]) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        yield fake


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nightly.prom"


def _read(path: Path) -> Dict[str, float]:
    samples = measures.parse(path.read_text(encoding="utf-8"))
    assert {dict(labels)["script"] for _, labels in samples} == {"nightly"}
    return {name: value for (name, _), value in samples.items()}


def test_a_run_that_made_calls(ollama: FakeOllama, path: Path) -> None:
    done = run("chat", "-m", "ollama/llama3.2", "Hi", "--metrics-file", str(path))
    assert done.code == 0, done.err
    found = _read(path)
    assert found["localproviders_calls_total"] == 1
    assert found[_CODE] == 0 and found[_SUCCESS] > 0


def test_a_run_without_calls(ollama: FakeOllama, path: Path, capsys: Capture) -> None:
    done = call(capsys, "ps", "-m", "ollama/x", "--metrics-file", str(path))
    assert done.code == 0 and _read(path)[_CODE] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["chat", "-m", "ollama/llama9", "Hi"], 8),
        (["chat", "-m", "ollama/", "Hi"], 2),
        (["chat", "-m", "m", "--host", "ollama=http://127.0.0.1:9", "Hi"], 5),
        (["show", "ollama/llama3.2", "-o", "/dev/full"], 74),
    ],
)
def test_a_run_that_failed(
    words: List[str], code: int, ollama: FakeOllama, path: Path, capsys: Capture
) -> None:
    if "/dev/full" in words and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    assert call(capsys, *words, "--metrics-file", str(path)).code == code
    found = _read(path)
    assert found[_CODE] == code and _SUCCESS not in found


@pytest.mark.skipif(os.name == "nt", reason="needs locks of files and signals")
class TestFromOutside:
    def test_a_lock_that_is_held(self, ollama: FakeOllama, path: Path, tmp_path: Path) -> None:
        ollama.report_pause_s = 30.0
        lock = ["--lock", str(tmp_path / "lock")]
        first = start("pull", "ollama/qwen3:0.6b", *lock, OLLAMA_HOST=ollama.url)
        wait_for_request(ollama, first)
        done = run("pull", "ollama/qwen3:0.6b", *lock, "--metrics-file", str(path))
        first.terminate()
        first.communicate(timeout=60)
        assert done.code == 75 and _read(path)[_CODE] == 75

    @pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal(self, how: int, code: int, ollama: FakeOllama, path: Path) -> None:
        ollama.report_pause_s = 30.0
        process = start("pull", "ollama/qwen3:0.6b", "--metrics-file", str(path))
        wait_for_request(ollama, process)
        process.send_signal(how)
        process.communicate(timeout=60)
        assert process.returncode == code and _read(path)[_CODE] == code


@pytest.mark.parametrize("name", ["metrics.txt", "missing/nightly.prom"])
def test_a_file_that_cannot_be_used_is_found_before_the_work(
    name: str, ollama: FakeOllama, tmp_path: Path, capsys: Capture
) -> None:
    words = ["chat", "-m", "ollama/llama3.2", "Hi", "--jitter", "2h"]
    done = call(capsys, *words, "--metrics-file", str(tmp_path / name))
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert ollama.exchanges == []


def test_a_page_of_help_writes_no_metrics(path: Path, capsys: Capture) -> None:
    assert call(capsys, "ps", "--metrics-file", str(path), "--help").code == 0
    assert not path.exists()
