"""The tables, as Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .cases import ANOTHER, FAMILIES, VARIABLES, Case, Seen
from .judge import WRONG, Verdict


class Line(NamedTuple):
    """A case, what was seen, and what is said of it."""

    case: Case
    seen: Seen
    verdict: Verdict


class Run(NamedTuple):
    """All lines of one client."""

    name: str
    about: Dict[str, str]
    lines: List[Line]

    @property
    def judged(self) -> List[Line]:
        """Those that count; another model is told apart."""
        return [line for line in self.lines if line.case.row not in ANOTHER]


def share(values: Iterable[Optional[bool]]) -> str:
    """Give how many of those that apply are true, in percent."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    # Never rounded up to all, nor down to none.
    percent = 100 * sum(known) / len(known)
    shown = min(99, max(1, round(percent))) if 0 < percent < 100 else round(percent)
    return f"{shown} % of {len(known)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


_COLUMNS: Tuple[Tuple[str, Callable[[Verdict], Optional[bool]]], ...] = (
    ("in time", lambda v: v.in_time),
    ("in truth", lambda v: v.in_truth),
    ("typed", lambda v: v.typed),
    ("text kept", lambda v: v.text_kept),
    ("next call works", lambda v: v.next_works),
)


def summary(runs: Sequence[Run]) -> str:
    """One line for each client."""
    head = ["client", "version", "cases", "hung", *(name for name, _ in _COLUMNS)]
    rows = []
    for run in runs:
        verdicts = [line.verdict for line in run.judged]
        hung = sum(not verdict.in_time for verdict in verdicts)
        shares = [share(map(column, verdicts)) for _, column in _COLUMNS]
        rows.append([f"`{run.name}`", run.about["version"], len(verdicts), hung, *shares])
    return _table(head, rows)


def families(runs: Sequence[Run]) -> str:
    """By family of faults: in time, in truth, typed."""
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


def misses(runs: Sequence[Run]) -> str:
    """How truth was missed."""
    counts = {run.name: Counter(line.verdict.missed for line in run.judged) for run in runs}
    kinds = sorted({kind for counter in counts.values() for kind in counter if kind})
    head = ["", *(f"`{run.name}`" for run in runs)]
    return _table(head, [[kind, *(counts[run.name][kind] for run in runs)] for kind in kinds])


def wrong_by_form(runs: Sequence[Run], kind: str) -> str:
    """Where a wrong answer was given as if it were whole: by family and call form."""
    head = ["family, call", *(f"`{run.name}`" for run in runs)]
    counts = {
        run.name: Counter(
            f"{line.case.family}, {line.case.form}"
            for line in run.judged
            if line.verdict.missed == kind
        )
        for run in runs
    }
    places = sorted({place for counter in counts.values() for place in counter})
    return _table(head, [[place, *(counts[run.name][place] for run in runs)] for place in places])


def classes(runs: Sequence[Run]) -> str:
    """Which classes were raised that are not the client's own."""
    rows = []
    for run in runs:
        raised = [line for line in run.judged if line.seen.came.error]
        others = Counter(
            line.seen.came.error for line in raised if not line.verdict.typed
        ).most_common()
        shown = ", ".join(f"`{name}` {count}" for name, count in others) or "none"
        rows.append([f"`{run.name}`", shown])
    return _table(["client", "raised, and not documented by it"], rows)


def environment(runs: Sequence[Run]) -> str:
    """Whether a call to a loopback address leaves it."""
    head = ["in the environment", *(f"`{run.name}`" for run in runs)]
    rows = []
    for name in VARIABLES:
        cells = []
        for run in runs:
            mine = [line for line in run.lines if line.case.environment == name]
            leaked = sum(line.seen.leaked for line in mine)
            cells.append(f"{leaked} of {len(mine)}")
        rows.append([f"`{name}`", *cells])
    return _table(head, rows)


def another_model(runs: Sequence[Run]) -> str:
    """What happens when another model answers than was asked for."""
    told = []
    for run in runs:
        mine = [line for line in run.lines if line.case.row in ANOTHER]
        raised = sum(bool(line.seen.came.error) for line in mine)
        told.append(f"`{run.name}` {raised} of {len(mine)}")
    return "An exception where another model answered than was asked for: " + ", ".join(told) + "."


def everything(runs: Sequence[Run]) -> str:
    """Give all tables."""
    about = "; ".join(f"`{run.name}` over {run.about['beside']}" for run in runs)
    python = runs[0].about["python"]
    return "\n\n".join(
        [
            f"Python {python}; {about}.",
            summary(runs),
            "By family, in percent: in time · in truth · typed.",
            families(runs),
            "How truth was missed, in cases.",
            misses(runs),
            "Where another answer was given as if it were whole, in cases.",
            wrong_by_form(runs, WRONG),
            "Exceptions outside the documented ones, with the number of cases.",
            classes(runs),
            "A proxy was asked, or a credential added, in calls to a loopback address.",
            environment(runs),
            another_model(runs),
        ]
    )
