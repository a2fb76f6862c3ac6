"""Runs the table of faults over each client, and prints the comparison."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from localproviders.testing import ScriptedServer
from tests.faults.bench import BACKENDS, Outcome

from . import report
from .cases import PROXY_ANSWER, Case, Seen, cases, good_answers, refused, surroundings
from .judge import Verdict, judge
from .session import CACHE, CLIENTS, ROOT, Came, Client, Session, install

PAGE = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run everything that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="client", help=", ".join(CLIENTS))
    parser.add_argument("--python", default="python3.11", help="the Python of the clients")
    parser.add_argument("--only", default="", help="only rows whose name has this in it")
    parser.add_argument("--last", action="store_true", help="run nothing, show the last run")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    asked = parser.parse_args(arguments)
    unknown = set(asked.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    CACHE.mkdir(exist_ok=True)
    names = asked.clients or list(CLIENTS)
    if not asked.last:
        for name in names:
            _run_and_keep(CLIENTS[name], asked.python, asked.only)
    runs = [_kept(name) for name in names]
    text = report.everything(runs)
    print(text)
    if asked.write:
        write(text)


def _run_and_keep(client: Client, python: str, only: str) -> None:
    started = time.monotonic()
    run = run_client(client, python, only)
    _keep(run)
    took_s = time.monotonic() - started
    print(f"{client.name}: {len(run.lines)} cases in {took_s:.0f} s", file=sys.stderr)


def run_client(client: Client, python: str, only: str = "") -> report.Run:
    """Run every case over one client."""
    executable = install(client, python)
    lines: List[report.Line] = []
    about: Dict[str, str] = {}
    with ScriptedServer(PROXY_ANSWER) as proxy:
        todo = cases(client.backend, not client.module.startswith("own"), proxy)
        todo = [case for case in todo if only in case.row]
        for group in _by_environment(todo):
            with contextlib.ExitStack() as stack:
                extra = stack.enter_context(surroundings(group[0].environment, proxy))
                session = stack.enter_context(Session(client, executable, extra))
                lines += [_line(session, case, not extra) for case in group]
                about = about or session.about
    return report.Run(client.name, about, lines)


def _by_environment(todo: Sequence[Case]) -> Iterator[List[Case]]:
    for name in dict.fromkeys(case.environment for case in todo):
        yield [case for case in todo if case.environment == name]


def _line(session: Session, case: Case, warm: bool) -> report.Line:
    backend = BACKENDS[session.client.backend]
    with backend.start() as server:
        good = good_answers(server)
        if warm and not session.running:
            # What a client loads at its first call is no part of the case.
            session.connect(server.url)
            for form in good:
                session.call(form)
    seen = case.run(session, backend, case.form)
    return report.Line(case, seen, judge(case, seen, good))


def _keep(run: report.Run) -> None:
    """Leave every case in a file beside the environments, to look up."""
    found: List[Any] = [
        {
            "family": line.case.family,
            "row": line.case.row,
            "form": line.case.form,
            "environment": line.case.environment,
            "wanted": "an error" if line.case.outcome.error else "the answer",
            "verdict": line.verdict._asdict(),
            "came": line.seen.came._asdict(),
            "after": line.seen.after and line.seen.after._asdict(),
            "leaked": line.seen.leaked,
        }
        for line in run.lines
    ]
    text = json.dumps({"about": run.about, "cases": found}, indent=1)
    (CACHE / f"{run.name}.json").write_text(text, encoding="utf-8")


def _kept(name: str) -> report.Run:
    """Give what the last run left; what was expected is no longer needed."""
    kept = json.loads((CACHE / f"{name}.json").read_text(encoding="utf-8"))
    lines = [
        report.Line(
            Case(one["family"], one["row"], one["form"], Outcome(), refused, one["environment"]),
            Seen(Came(**one["came"]), one["after"] and Came(**one["after"]), one["leaked"]),
            Verdict(**one["verdict"]),
        )
        for one in kept["cases"]
    ]
    return report.Run(name, kept["about"], lines)


def write(text: str, page: Path = PAGE) -> None:
    """Put the tables between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
