"""The verb `doctor`: its lines, its JSON and its exit code."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, List, Tuple

import pytest

from localproviders import cli
from localproviders.cli import doctor
from localproviders.doctor import Finding, Report

FINDINGS = (
    Finding(
        mark="error",
        fact="the server is down",
        source="config.toml, line 3",
        fix="ollama serve",
        exit_code=5,
    ),
    Finding(mark="warning", fact="a proxy", source="HTTP_PROXY", exit_code=1),
    Finding(mark="ok", fact="requests 2.31.0", source="requests"),
)


def _run(
    monkeypatch: pytest.MonkeyPatch, findings: Tuple[Finding, ...], *words: str
) -> Tuple[int, List[str], Any]:
    """Run the verb; return its exit code, its lines, and the arguments of `examine`."""
    asked: List[Any] = []

    def examine(**options: Any) -> Report:
        asked.append(options)
        return Report(findings=findings, strict=options["strict"])

    monkeypatch.setattr(doctor, "examine", examine)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8"))
    code = cli.main(["doctor", *words])
    return code, written.getvalue().decode().splitlines(), asked[0]


def test_each_finding_has_its_mark_fact_source_and_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines, _ = _run(monkeypatch, FINDINGS)
    assert code == 5
    assert lines == [
        "error    the server is down [config.toml, line 3]",
        "         fix: ollama serve",
        "warning  a proxy [HTTP_PROXY]",
        "ok       requests 2.31.0 [requests]",
        "1 error, 1 warning, 1 ok",
    ]


def test_the_last_line_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, lines, _ = _run(monkeypatch, FINDINGS[1:] * 2)
    assert lines[-1] == "no errors, 2 warnings, 2 ok"


def test_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines, _ = _run(monkeypatch, FINDINGS, "--json")
    assert code == 5
    found = json.loads("".join(lines))["findings"]
    assert [Finding.from_dict(each) for each in found] == list(FINDINGS)
    keys = {"mark", "fact", "source", "fix", "exit_code"}
    assert [set(each) for each in found] == [keys] * len(FINDINGS)
    assert list(json.loads(lines[0])["findings"][0]) == [
        "mark", "fact", "source", "fix", "exit_code"
    ]  # fmt: skip


def test_warnings_count_only_if_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, FINDINGS[1:])[0] == 0
    assert _run(monkeypatch, FINDINGS[1:], "--strict")[0] == 1
    assert _run(monkeypatch, FINDINGS[2:], "--strict")[0] == 0


def test_the_shared_options_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--timeout", "3", "--locality", "private", "--profile", "night"]
    _, _, asked = _run(monkeypatch, (), "--strict", *words)
    assert asked == {
        "timeout_s": 3.0, "locality": "private", "profile": "night", "strict": True
    }  # fmt: skip
