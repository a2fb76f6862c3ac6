"""A ``pull`` that is ended from outside at a random moment leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from localproviders.testing import FakeModel, FakeOllama
from tests.support.model_command import run, start, wait_for_request

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs signals")

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
_MOMENTS = 20
#: Seconds in which the process starts, or pulls a part of the model.
_LONGEST_S = 1.2


def _end(process: subprocess.Popen[bytes], how: signal.Signals, after_s: float) -> None:
    """End a process after a time, unless it has ended before."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=after_s)
        return
    process.send_signal(how)


# The moments of a signal are the seeds: their times depend on the speed of the machine.
@pytest.mark.sample(6)
@pytest.mark.parametrize("seed", range(_MOMENTS))
@pytest.mark.parametrize("how", list(_CODES), ids=lambda how: how.name)
def test_nothing_half_written_and_no_busy_slot(
    how: signal.Signals, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_s = random.Random(f"{how.name} {seed}").uniform(0, _LONGEST_S)
    monkeypatch.chdir(tmp_path)
    with FakeOllama([FakeModel(name="other")]) as fake:
        fake.report_pause_s = 0.05
        process = start("pull", "ollama/llama3.2", "-o", "result.txt", OLLAMA_HOST=fake.url)
        if seed % 2:  # half of the signals come after the request
            wait_for_request(fake, process)
        _end(process, how, after_s)
        out, err = process.communicate(timeout=60)

        assert fake.wait_for_connections(0)
        is_complete = process.returncode == 0
        # Before Python has started, a signal ends the process without our code.
        is_early = process.returncode == 1 and b"init_import_site" in err
        assert is_early or process.returncode in (0, _CODES[how], -how), err
        assert out == b""
        # A signal may also come after the file has its name, while the process ends.
        result, is_written = tmp_path / "result.txt", (tmp_path / "result.txt").exists()
        assert is_written or not is_complete
        assert not is_written or result.read_text("utf-8").startswith("pulled ollama/llama3.2:")
        installed = any(model.name.startswith("llama3.2") for model in fake.models)
        # The server installs the model before its last report, which may be on its way.
        assert installed or not is_complete
        if process.returncode == _CODES[how] != -how:
            assert err == b""

        # The same command again goes on, and removes what a killed process left.
        fake.report_pause_s = 0.0
        done = run("pull", "ollama/llama3.2", "-o", "again.txt", OLLAMA_HOST=fake.url)
        assert (done.code, done.err) == (0, "")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"again.txt", *(["result.txt"] if is_written else [])}
        assert fake.wait_for_connections(0)


@pytest.mark.parametrize("how", list(_CODES), ids=lambda how: how.name)
def test_a_transfer_that_has_begun_is_ended_at_once(how: signal.Signals) -> None:
    with FakeOllama([]) as fake:
        fake.report_pause_s = 30.0
        process = start("pull", "ollama/llama3.2", OLLAMA_HOST=fake.url)
        wait_for_request(fake, process)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (_CODES[how], b"", b"")
        assert fake.wait_for_connections(0)
        assert fake.models == []
