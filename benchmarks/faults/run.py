"""Run all cases of the table of faults with each client, and print the comparison."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from localproviders.testing import ScriptedServer
from tests.promises.faults.bench import BACKENDS, Outcome

from . import report
from .cases import (
    PROXY_ANSWER,
    Case,
    CaseResult,
    cases,
    environment_variables,
    refused,
    right_answers,
)
from .judge import Verdict, judge
from .session import CACHE, CLIENTS, ROOT, CallResult, Client, Session, install

PAGE = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the comparison with these command-line arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="client", help=", ".join(CLIENTS))
    parser.add_argument(
        "--python", default="python3.11", help="the Python for the environments of the clients"
    )
    parser.add_argument("--only", default="", help="run only faults whose name contains this text")
    parser.add_argument(
        "--last", action="store_true", help="run no cases; show the results of the last run"
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables to {PAGE.name}")
    options = parser.parse_args(arguments)
    unknown = set(options.clients) - set(CLIENTS)
    if unknown:
        parser.error(
            f"unknown client {', '.join(sorted(unknown))}; there are: {', '.join(CLIENTS)}"
        )
    CACHE.mkdir(exist_ok=True)
    names = options.clients or list(CLIENTS)
    if not options.last:
        for name in names:
            _run_and_save(CLIENTS[name], options.python, options.only)
    runs = [_load(name) for name in names]
    text = report.all_tables(runs)
    print(text)
    if options.write:
        write(text)


def _run_and_save(client: Client, python: str, only: str) -> None:
    started = time.monotonic()
    run = run_client(client, python, only)
    _save(run)
    duration_s = time.monotonic() - started
    print(f"{client.name}: {len(run.lines)} cases in {duration_s:.0f} s", file=sys.stderr)


def run_client(client: Client, python: str, only: str = "") -> report.Run:
    """Run all cases with one client."""
    executable = install(client, python)
    lines: List[report.Line] = []
    about: Dict[str, str] = {}
    with ScriptedServer(PROXY_ANSWER) as proxy:
        selected = cases(client.backend, not client.module.startswith("own"), proxy)
        selected = [case for case in selected if only in case.row]
        for group in _by_environment(selected):
            with contextlib.ExitStack() as stack:
                extra = stack.enter_context(environment_variables(group[0].environment, proxy))
                session = stack.enter_context(Session(client, executable, extra))
                lines += [_run_case(session, case, not extra) for case in group]
                about = about or session.about
    return report.Run(client.name, about, lines)


def _by_environment(selected: Sequence[Case]) -> Iterator[List[Case]]:
    for name in dict.fromkeys(case.environment for case in selected):
        yield [case for case in selected if case.environment == name]


def _run_case(session: Session, case: Case, warm: bool) -> report.Line:
    backend = BACKENDS[session.client.backend]
    with backend.start() as server:
        good = right_answers(server)
        if warm and not session.running:
            # A client imports modules during its first calls. This time must not count, so each
            # form of a call is made once before.
            session.connect(server.url)
            for form in good:
                session.call(form)
    result = case.run(session, backend, case.form)
    return report.Line(case, result, judge(case, result, good))


def _save(run: report.Run) -> None:
    """Write the results of all cases to a file in the folder of the environments."""
    found: List[Any] = [
        {
            "family": line.case.family,
            "row": line.case.row,
            "form": line.case.form,
            "environment": line.case.environment,
            "expected": "an error" if line.case.outcome.error else "the answer",
            "verdict": line.verdict._asdict(),
            "call": line.result.call._asdict(),
            "next_call": line.result.next_call and line.result.next_call._asdict(),
            "leaked": line.result.leaked,
        }
        for line in run.lines
    ]
    text = json.dumps({"about": run.about, "cases": found}, indent=1)
    (CACHE / f"{run.name}.json").write_text(text, encoding="utf-8")


def _load(name: str) -> report.Run:
    """Return the results of the last run.

    The cases have no expected outcome, because they have been judged already.
    """
    saved = json.loads((CACHE / f"{name}.json").read_text(encoding="utf-8"))
    lines = [
        report.Line(
            Case(one["family"], one["row"], one["form"], Outcome(), refused, one["environment"]),
            CaseResult(
                CallResult(**one["call"]),
                one["next_call"] and CallResult(**one["next_call"]),
                one["leaked"],
            ),
            Verdict(**one["verdict"]),
        )
        for one in saved["cases"]
    ]
    return report.Run(name, saved["about"], lines)


def write(text: str, page: Path = PAGE) -> None:
    """Replace the tables between the two markers of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
