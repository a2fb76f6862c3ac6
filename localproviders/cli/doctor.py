"""The verb `doctor`: prints what an examination of this machine found."""

from __future__ import annotations

import argparse
import json
from typing import Any, Iterator

from localproviders.doctor import Finding, Report, examine
from localproviders.doctor.findings import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")


def run(arguments: argparse.Namespace, run: Any) -> int:
    """Examine this machine, print the findings to standard output, and return the exit code.

    Args:
        arguments: The options: ``strict``, ``json``, ``timeout``, ``locality`` and ``profile``.
        run: The run of the command, whose ``output.write_line`` prints a line.
    """
    limit = {} if arguments.timeout is None else {"timeout_s": arguments.timeout}
    report = examine(
        locality=arguments.locality,
        profile=arguments.profile,
        strict=arguments.strict,
        **limit,
    )
    for line in [_as_json(report)] if arguments.json else _lines(report):
        run.output.write_line(line)
    return report.exit_code


def _as_json(report: Report) -> str:
    return json.dumps({"findings": [finding.to_dict() for finding in report.findings]})


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
