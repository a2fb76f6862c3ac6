"""Prints the size of the fault table after the tests."""

from __future__ import annotations

from typing import Any

from tests.promises.faults.rows import ROWS, cases


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    run = [r for r in reports if "test_a_call_ends_as_promised" in r.nodeid]
    if run:
        took_s = sum(report.duration for report in run)
        terminalreporter.write_line(
            f"fault table: {len(ROWS)} rows, {len(cases())} cases; {len(run)} run in {took_s:.0f} s"
        )
