"""The verb ``doctor``, which examines this machine and prints what it found."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Dict, Iterator

from localproviders.cli.options import add_place
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.verbs import Verb
from localproviders.doctor import Finding, Report, examine
from localproviders.doctor.findings import counted


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")
    add_place(parser)


def _run(arguments: Namespace, run: Run) -> int:
    limit = {} if arguments.timeout is None else {"timeout_s": arguments.timeout}
    report = examine(
        locality=arguments.locality,
        profile=arguments.profile,
        strict=arguments.strict,
        **limit,
    )
    if arguments.json:
        run.output.write_json({"findings": [_as_json(finding) for finding in report.findings]})
    else:
        for line in _lines(report):
            run.output.write_line(line)
    return report.exit_code


def _as_json(finding: Finding) -> Dict[str, Any]:
    """Return a finding as JSON. The key ``fix`` is there even if there is no fix."""
    return {**finding.to_dict(), "fix": finding.fix, "exit_code": finding.exit_code}


def _lines(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield from _finding_lines(finding)
    errors = counted(len(report.with_mark("error")), "error")
    warnings = counted(len(report.with_mark("warning")), "warning")
    yield f"{errors}, {warnings}, {len(report.with_mark('ok'))} ok"


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.mark:<8} {finding.fact} [{finding.source}]"
    if finding.fix is not None:
        yield f"{'':<8} fix: {finding.fix}"


VERBS = {
    "doctor": Verb(
        "Find what is wrong on this machine, and the command that mends it. No prompt is sent. "
        "The exit code is the highest one of the errors found, or 0 if there are none.",
        "localproviders doctor || localproviders doctor --json",
        _add_arguments,
        _run,
    )
}
