"""The values of findings and reports: marks, exit codes, one line, JSON."""

from __future__ import annotations

import json
import pickle
from typing import List

import pytest

from localproviders import LocalityError, UnreachableError
from localproviders.doctor import Finding, Report
from localproviders.doctor.findings import failure, make_report, ok, warning

DOWN = failure(UnreachableError, "the server is down", "a.toml, line 3", "ollama serve")
OUTSIDE = failure(LocalityError, "the server is elsewhere", "a.toml, line 4")
PROXY = warning("a proxy", "HTTP_PROXY", "unset HTTP_PROXY")
FINE = ok("the server answers", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("findings", "code", "strict_code"),
    [
        ([], 0, 0),
        ([FINE], 0, 0),
        ([FINE, PROXY], 0, 1),
        ([OUTSIDE, PROXY], 3, 3),
        ([OUTSIDE, DOWN, FINE], 5, 5),
    ],
)
def test_the_exit_code_is_the_highest_of_the_errors(
    findings: List[Finding], code: int, strict_code: int
) -> None:
    assert make_report(findings, strict=False).exit_code == code
    assert make_report(findings, strict=True).exit_code == strict_code


def test_a_report_has_each_finding_once_and_errors_first() -> None:
    report = make_report([FINE, PROXY, DOWN, PROXY, OUTSIDE], strict=False)
    assert report.findings == (DOWN, OUTSIDE, PROXY, FINE)
    assert str(report).splitlines()[0] == (
        "error: the server is down (a.toml, line 3); fix: ollama serve"
    )


def test_a_finding_is_one_line_whatever_a_server_says() -> None:
    found = warning("a\nb\x1b[2J", "c\rd", "e\nf")
    assert str(found).isprintable()


def test_values_survive_json_and_pickles() -> None:
    report = Report(findings=(DOWN, FINE), strict=True)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert pickle.loads(pickle.dumps(report)) == report
    assert DOWN.to_dict() == {
        "mark": "error",
        "fact": "the server is down",
        "source": "a.toml, line 3",
        "fix": "ollama serve",
        "exit_code": 5,
    }
