"""``localproviders batch run`` is ended in any way, and the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import batch
from tests.promises.batch.support import AskedServer, CommandRunner, kill_at, write_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")

_WINDOW = 8


@pytest.mark.parametrize(
    ("rows", "kills", "options"),
    [
        pytest.param(300, 3, {}, id="few"),
        pytest.param(2_000, 10, {"ordered": True}, id="ordered", marks=pytest.mark.slow),
        pytest.param(2_000, 10, {"compact": True}, id="compact", marks=pytest.mark.slow),
    ],
)
def test_after_kills_each_row_is_there_once(
    rows: int, kills: int, options: Any, tmp_path: Path
) -> None:
    ids = write_rows(tmp_path / "in.jsonl", rows)
    moments = sorted(random.Random(rows).sample(range(1, rows), kills))
    with AskedServer() as server:
        runner = CommandRunner(tmp_path, server.url, concurrency=_WINDOW, **options)
        processes: List[int] = []
        kill_at(server, processes, moments)
        killed = 0
        while moments:
            with runner.started() as process:
                processes.append(process.pid)
                process.communicate(timeout=600)
            assert process.returncode == -signal.SIGKILL
            processes.clear()
            killed += 1
        report = runner.finish()
    assert (report["exit_code"], report["succeeded"]) == (0, rows)
    assert Counter(record.id for record in batch.read(runner.output)) == Counter(ids)
    assert set(server.asked) == {f"text {name}" for name in ids}
    # Results that wait for an earlier one are in flight, too.
    most = 4 * _WINDOW if "ordered" in options else _WINDOW
    assert sum(server.asked.values()) - rows <= killed * most


@pytest.mark.slow
def test_a_row_is_asked_once_if_signals_end_the_run_many_times(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 2_000)
    with AskedServer() as server:
        runner = CommandRunner(tmp_path, server.url, concurrency=_WINDOW)
        for number, code in [(signal.SIGTERM, 13), (signal.SIGINT, 130)] * 4:
            start = sum(server.asked.values())
            with runner.started() as process:
                server.on_chat = lambda count, p=process, n=number, s=start: (
                    os.kill(p.pid, n) if count == s + 100 else None
                )
                process.communicate(timeout=600)
            assert process.returncode == code
        server.on_chat = None
        assert runner.finish()["succeeded"] == 2_000
    assert runner.ids() == Counter(ids)
    assert set(server.asked.values()) == {1}


def test_a_full_disk_has_its_exit_code(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 300)
    with AskedServer() as server:
        runner = CommandRunner(tmp_path, server.url, concurrency=_WINDOW)
        stopped = runner.finish(limit_bytes=40_960)
        assert (stopped["stopped"], stopped["exit_code"]) == ("disk", 74)
        assert runner.finish()["succeeded"] == 300
    assert runner.ids() == Counter(ids)


@pytest.mark.slow
def test_a_server_that_ends_stops_the_run(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 400)
    with AskedServer() as server:
        runner = CommandRunner(tmp_path, server.url, concurrency=_WINDOW)
        with runner.started() as process:
            while sum(server.asked.values()) < 100:
                assert process.poll() is None
            with server.down():
                _, error = process.communicate(timeout=300)
        assert process.returncode == 13, error
        assert "too many rows failed" in error
        assert runner.finish()["succeeded"] == 400
    assert runner.ids() == Counter(ids)
