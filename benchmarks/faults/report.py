"""The tables of the comparison, in Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .cases import ANOTHER, FAMILIES, VARIABLES, Case, CaseResult
from .judge import WRONG, Verdict


class Line(NamedTuple):
    """A case, its result, and the judgement of the result."""

    case: Case
    result: CaseResult
    verdict: Verdict


class Run(NamedTuple):
    """All cases of one client."""

    name: str
    about: Dict[str, str]
    lines: List[Line]

    @property
    def judged(self) -> List[Line]:
        """The lines that count. Cases in which another model answers are in `other_models` only."""
        return [line for line in self.lines if line.case.row not in ANOTHER]


def share(values: Iterable[Optional[bool]]) -> str:
    """Return the share of true values, in percent of those that are not None."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    # Only a share of exactly all or none is shown as 100 % or 0 %. Others are not rounded to these.
    percent = 100 * sum(known) / len(known)
    shown = min(99, max(1, round(percent))) if 0 < percent < 100 else round(percent)
    return f"{shown} % of {len(known)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


_COLUMNS: Tuple[Tuple[str, Callable[[Verdict], Optional[bool]]], ...] = (
    ("in time", lambda v: v.in_time),
    ("correct", lambda v: v.correct),
    ("typed", lambda v: v.typed),
    ("text kept", lambda v: v.text_kept),
    ("next call works", lambda v: v.next_works),
)


def summary(runs: Sequence[Run]) -> str:
    """Return the table with one row for each client."""
    head = ["client", "version", "cases", "hung", *(name for name, _ in _COLUMNS)]
    rows = []
    for run in runs:
        verdicts = [line.verdict for line in run.judged]
        hung = sum(not verdict.in_time for verdict in verdicts)
        shares = [share(map(column, verdicts)) for _, column in _COLUMNS]
        rows.append([f"`{run.name}`", run.about["version"], len(verdicts), hung, *shares])
    return _table(head, rows)


def families(runs: Sequence[Run]) -> str:
    """Return the table of results by family of faults: in time, correct, typed."""
    head = ["family", *(f"`{run.name}`" for run in runs)]
    rows = []
    for family in FAMILIES:
        cells = []
        for run in runs:
            verdicts = [line.verdict for line in run.judged if line.case.family == family]
            shares = [share(map(column, verdicts)) for _, column in _COLUMNS[:3]]
            cells.append(" · ".join(cell.partition(" %")[0] for cell in shares))
        rows.append([family, *cells])
    return _table(head, rows)


def mistakes(runs: Sequence[Run]) -> str:
    """Return the table with the number of mistakes of each kind."""
    counts = {run.name: Counter(line.verdict.mistake for line in run.judged) for run in runs}
    kinds = sorted({kind for counter in counts.values() for kind in counter if kind})
    head = ["", *(f"`{run.name}`" for run in runs)]
    return _table(head, [[kind, *(counts[run.name][kind] for run in runs)] for kind in kinds])


def by_family_and_form(runs: Sequence[Run], kind: str) -> str:
    """Return the table of one kind of mistake, by family of faults and form of the call."""
    head = ["family, call", *(f"`{run.name}`" for run in runs)]
    counts = {
        run.name: Counter(
            f"{line.case.family}, {line.case.form}"
            for line in run.judged
            if line.verdict.mistake == kind
        )
        for run in runs
    }
    places = sorted({place for counter in counts.values() for place in counter})
    return _table(head, [[place, *(counts[run.name][place] for run in runs)] for place in places])


def undocumented(runs: Sequence[Run]) -> str:
    """Return the table of the exceptions that the clients do not document."""
    rows = []
    for run in runs:
        raised = [line for line in run.judged if line.result.call.error]
        others = Counter(
            line.result.call.error for line in raised if not line.verdict.typed
        ).most_common()
        shown = ", ".join(f"`{name}` {count}" for name, count in others) or "none"
        rows.append([f"`{run.name}`", shown])
    return _table(["client", "undocumented exceptions"], rows)


def environment(runs: Sequence[Run]) -> str:
    """Return the table of calls to loopback that contacted a proxy or sent credentials."""
    head = ["variable or file", *(f"`{run.name}`" for run in runs)]
    rows = []
    for name in VARIABLES:
        cells = []
        for run in runs:
            mine = [line for line in run.lines if line.case.environment == name]
            leaked = sum(line.result.leaked for line in mine)
            cells.append(f"{leaked} of {len(mine)}")
        rows.append([f"`{name}`", *cells])
    return _table(head, rows)


def other_models(runs: Sequence[Run]) -> str:
    """Return a sentence on the calls in which a model other than the requested one answered."""
    parts = []
    for run in runs:
        mine = [line for line in run.lines if line.case.row in ANOTHER]
        raised = sum(bool(line.result.call.error) for line in mine)
        parts.append(f"`{run.name}` {raised} of {len(mine)}")
    return (
        "Calls that ended in an exception when a model other than the requested one answered: "
        + ", ".join(parts)
        + "."
    )


def all_tables(runs: Sequence[Run]) -> str:
    """Return all tables, with their captions."""
    about = "; ".join(f"`{run.name}` with {run.about['transport']}" for run in runs)
    python = runs[0].about["python"]
    return "\n\n".join(
        [
            f"Python {python}; {about}.",
            summary(runs),
            "Results by family of faults, in percent: in time · correct · typed:",
            families(runs),
            "Mistakes, number of cases:",
            mistakes(runs),
            "Wrong or incomplete answers that look complete, by family and call, number of cases:",
            by_family_and_form(runs, WRONG),
            "Exceptions that the client does not document, with the number of cases:",
            undocumented(runs),
            "Calls to a loopback address in which a proxy was contacted or credentials were sent:",
            environment(runs),
            other_models(runs),
        ]
    )
