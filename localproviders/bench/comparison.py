"""`compare`: compares two results, figure by figure."""

from __future__ import annotations

from dataclasses import fields
from math import comb
from typing import Any, Iterator, Optional, Tuple

from localproviders._record import Record, field, loads, loads_each, record
from localproviders._redact import shortened
from localproviders.bench.results import METRICS, Cell, Environment, Figure, Results

# Facts whose differences are not reported, because they do not explain a change of the speed.
_IGNORED = ("measured_at", "python", "package", "rounds")
# Highest accepted probability that the ranges of two equally fast measurements are separate by
# chance.
_CHANCE = 0.05
_LONGEST_FACT = 40


@record
class Change(Record):
    """The change of one figure between two results.

    Attributes:
        kind: Kind of the cell that has the figure: ``load``, ``prompt`` or ``at_once``.
        size: Size of the cell, as in `Cell`.
        metric: Name of the figure, such as ``first_token_s``.
        before: The figure in the older results.
        after: The figure in the newer results.
    """

    kind: str
    size: int
    metric: str
    before: Figure = field(metadata=loads(Figure.from_dict))
    after: Figure = field(metadata=loads(Figure.from_dict))

    @property
    def ratio(self) -> Optional[float]:
        """The newer median divided by the older one; None if the older one is 0."""
        return self.after.median / self.before.median if self.before.median else None

    @property
    def is_clear(self) -> bool:
        """Whether the ranges from the lowest to the highest value do not overlap.

        It is also False if there are so few rounds that the ranges of two equally fast
        measurements would be separate by chance in more than 5 % of the cases. Four rounds in both
        results are enough.
        """
        rounds = len(self.before.values), len(self.after.values)
        if 2 / comb(sum(rounds), rounds[0]) > _CHANCE:
            return False
        return self.before.high < self.after.low or self.after.high < self.before.low

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` if the change is clear, otherwise an empty text."""
        if not self.is_clear:
            return ""
        is_higher = self.after.median > self.before.median
        return "faster" if is_higher == METRICS[self.metric] else "slower"


@record
class Comparison(Record):
    """The comparison of two results.

    Attributes:
        changes: The figures that both results have, in the order of the newer results.
        differences: The facts that differ, such as another model or server, each on one line with
            both values. Such a difference may be the reason for a change of the speed.
        missing: Descriptions of the figures that only one of the results has.
    """

    changes: Tuple[Change, ...] = field(default=(), metadata=loads_each(Change.from_dict))
    differences: Tuple[str, ...] = field(default=(), metadata=loads(tuple))
    missing: Tuple[str, ...] = field(default=(), metadata=loads(tuple))

    def __post_init__(self) -> None:
        self._keep_as_tuples("changes", "differences", "missing")

    def find(self, kind: str, size: int, metric: str) -> Optional[Change]:
        """Return the change of one figure, or None if one of the results does not have it."""
        wanted = (kind, size, metric)
        found = (each for each in self.changes if (each.kind, each.size, each.metric) == wanted)
        return next(found, None)


def compare(before: Results, after: Results) -> Comparison:
    """Compare two results, figure by figure.

    Cells are matched by their kind and size.

    Args:
        before: The older results.
        after: The newer results.
    """
    old = {cell.key: cell for cell in before.cells}
    new = {cell.key: cell for cell in after.cells}
    return Comparison(
        changes=tuple(
            change for key, cell in new.items() if key in old for change in _changes(old[key], cell)
        ),
        differences=tuple(_differences(before.environment, after.environment)),
        missing=(
            *(f"only before: {name}" for name in _only_in(old, new)),
            *(f"only now: {name}" for name in _only_in(new, old)),
        ),
    )


def _changes(before: Cell, after: Cell) -> Iterator[Change]:
    for metric in METRICS:
        if metric in before.figures and metric in after.figures:
            yield Change(
                kind=after.kind,
                size=after.size,
                metric=metric,
                before=before.figures[metric],
                after=after.figures[metric],
            )


def _differences(before: Environment, after: Environment) -> Iterator[str]:
    for each in fields(before):
        values = getattr(before, each.name), getattr(after, each.name)
        if each.name not in _IGNORED and values[0] != values[1]:
            old, new = (_shown(value) for value in values)
            yield f"{each.name.replace('_', ' ')}: {old} before, {new} now"


def _shown(value: Any) -> str:
    return "unknown" if value is None else shortened(str(value), _LONGEST_FACT)


def _only_in(these: Any, others: Any) -> Iterator[str]:
    for key, cell in these.items():
        other = others.get(key)
        metrics = [m for m in cell.figures if other is None or m not in other.figures]
        if metrics:
            yield f"{title_of(*key)}: {', '.join(m.replace('_', ' ') for m in metrics)}"


def title_of(kind: str, size: int) -> str:
    """Return the title of a cell, such as ``prompt of 512 tokens``."""
    if kind == "load":
        return "load"
    return f"prompt of {size} tokens" if kind == "prompt" else f"{size} at once"
