"""A run that is ended in any way goes on, and each row has exactly one result at the end."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, List

import pytest

from localproviders import batch
from tests.promises.batch.support import AskedServer, Runner, kill_at, write_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")

_WINDOW = 8


@pytest.mark.parametrize(
    ("rows", "kills", "options"),
    [
        pytest.param(400, 5, {}, id="few"),
        pytest.param(400, 5, {"ordered": True}, id="ordered"),
        pytest.param(20_000, 30, {}, id="many", marks=pytest.mark.slow),
    ],
)
def test_after_kills_each_row_is_there_once_and_only_rows_in_flight_were_asked_again(
    rows: int, kills: int, options: Any, tmp_path: Path
) -> None:
    ids = write_rows(tmp_path / "in.jsonl", rows)
    moments = sorted(random.Random(rows).sample(range(1, rows), kills))
    with AskedServer() as server:
        runner = Runner(tmp_path, server.url, concurrency=_WINDOW, **options)
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
            report = batch.status(runner.output)
            assert report.failed == 0
        report_at_end = runner.finish()
    assert report_at_end["succeeded"] == report_at_end["rows"] == rows
    assert runner.ids() == Counter(ids)
    assert set(server.asked) == {f"text {name}" for name in ids}
    # Results that wait for an earlier one are in flight, too.
    most = _WINDOW if not options else 4 * _WINDOW
    assert sum(server.asked.values()) - rows <= killed * most
    if options:
        assert list(runner.ids()) == ids
    assert {record.row for record in batch.read(runner.output)} == set(range(rows))


def test_sigterm_finishes_the_rows_in_flight(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 300)
    with AskedServer() as server:
        runner = Runner(tmp_path, server.url, concurrency=_WINDOW)
        with runner.started() as process:
            server.on_chat = lambda number: (
                os.kill(process.pid, signal.SIGTERM) if number == 100 else None
            )
            process.communicate(timeout=60)
        assert process.returncode == 13
        report = batch.status(runner.output)
        assert (report.stopped, report.failed) == ("cancelled", 0)
        assert report.succeeded == sum(server.asked.values()) < 300
        server.on_chat = None
        assert "asked_again" not in runner.finish()
    assert runner.ids() == Counter(ids)
    assert set(server.asked.values()) == {1}


def test_a_full_disk_stops_the_run_which_goes_on_later(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 300)
    with AskedServer() as server:
        runner = Runner(tmp_path, server.url, concurrency=_WINDOW)
        stopped = runner.finish(limit_bytes=40_000)
        assert (stopped["stopped"], stopped["exit_code"]) == ("disk", 74)
        assert 0 < stopped["succeeded"] < 300
        assert batch.status(runner.output).succeeded == stopped["succeeded"]
        asked = sum(server.asked.values())
        assert runner.finish()["succeeded"] == 300
    assert runner.ids() == Counter(ids)
    assert sum(server.asked.values()) - 300 == asked - stopped["succeeded"] <= 2 * _WINDOW


def test_a_server_that_ends_costs_only_the_rows_in_flight(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "in.jsonl", 400)
    with AskedServer() as server:
        runner = Runner(tmp_path, server.url, concurrency=_WINDOW)
        reached = threading.Event()
        server.on_chat = lambda number: reached.set() if number == 100 else None
        with runner.started() as process:
            assert reached.wait(60)
            with server.down():
                _, error = process.communicate(timeout=120)
            assert process.returncode == 13, error
        assert batch.status(runner.output).stopped == "failures"
        server.on_chat = None
        report = runner.finish()
    assert report["succeeded"] == 400
    assert runner.ids() == Counter(ids)
    assert max(server.asked.values()) <= 3
