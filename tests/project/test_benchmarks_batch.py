"""The benchmark of batch runs measures each figure of its table."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("resource")  # the benchmark needs this module

from benchmarks.batch import peers, windows
from benchmarks.batch.__main__ import measure, table
from tests.support.docs import ROOT


@pytest.mark.slow
def test_each_figure_is_measured() -> None:
    found = measure(20, 200)
    assert found["files"]["us"] > 0
    assert found["resume"] > 0
    assert all(ratio > 0 for ratio in found["cpu"]["ratios"].values())
    lines = table(found)
    assert len(lines) == 2 + 3 + 1 + 3


def test_the_page_has_the_rows_of_the_table() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    found = {
        "cpu": {"ratios": {1: 1.0, 4: 1.0, 8: 1.0}},
        **{f"memory {10**power}": 30.0 for power in (4, 5, 6)},
        "files": {"us": 40.0, "rows": 100_000},
        "resume": 1.0,
    }
    for line in table(found)[2:]:
        name = line.split(" | ")[0]
        assert re.search(rf"^{re.escape(name)} \|", page, re.MULTILINE), name


def test_a_run_is_timed_against_a_server_with_slots() -> None:
    assert 0 < windows.seconds(windows.Kind(2, 0.001, 20), "auto") < 60


def test_a_run_goes_on_when_one_of_two_servers_is_killed() -> None:
    assert 0.2 <= windows.seconds(windows.Kind(2, 0.01, 200, 0.2), 4) < 60


def test_two_clients_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    peers.main(20)
    names = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names[2:4] == ["| localproviders", "| pool"]
