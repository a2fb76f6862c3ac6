"""Results as plain text for people, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import Iterator, List, Optional, Sequence

from localproviders.bench.comparison import Comparison, title_of
from localproviders.bench.results import Cell, Figure, Results
from localproviders.bench.wording import (
    machine_line,
    model_line,
    notes_of,
    number,
    remarks,
    rounds_of,
    server_line,
    spread,
)

_WIDTH = 80

# For each table: the heading of the first column, and then the name of a figure and a heading for
# each further column.
_COLUMNS = {
    "prompt": (
        "prompt tokens",
        (
            ("first_token_s", "first token, s"),
            ("prompt_tokens_per_s", "prompt, tokens/s"),
            ("generation_tokens_per_s", "answer, tokens/s"),
        ),
    ),
    "at_once": (
        "at once",
        (
            ("first_token_s", "first token, s"),
            ("generation_tokens_per_s", "each, tokens/s"),
            ("total_tokens_per_s", "all, tokens/s"),
        ),
    ),
}

_UNITS = {
    "load_s": "s",
    "first_token_s": "first token, s",
    "prompt_tokens_per_s": "prompt, tokens/s",
    "generation_tokens_per_s": "answer, tokens/s",
    "total_tokens_per_s": "all, tokens/s",
}


def to_table(results: Results) -> str:
    """Return results as plain text with lines of at most 80 characters.

    The text has no line feed at its end.

    Each figure is the median of all rounds. The lowest and the highest value are in parentheses.
    The notes of the cells, and remarks about the method, follow the tables.
    """
    environment = results.environment
    lines = [*_wrapped(f"{model_line(environment)} on {server_line(environment)}")]
    lines += _wrapped(machine_line(environment))
    for cell in results.of_kind("load"):
        load = cell.figures.get("load_s")
        lines += ["", f"load: {_with_spread(load)} s" if load else "load: not measured"]
    for kind in _COLUMNS:
        cells = results.of_kind(kind)
        if cells:
            lines += ["", *_table(kind, cells)]
    notes = [*notes_of(results)]
    if notes:
        lines += ["", *(line for note in notes for line in _wrapped(note, "- "))]
    about = f"Medians of {rounds_of(results)} (lowest-highest)."
    lines += ["", *_wrapped(" ".join([about, *remarks(results)]))]
    return "\n".join(lines)


def comparison_table(comparison: Comparison) -> str:
    """Return a comparison as plain text with lines of at most 80 characters.

    The last column says ``faster`` or ``slower`` only for clear changes (`Change.is_clear`): the
    spreads of the two results do not overlap, and there are enough rounds.
    """
    lines = [f"{'':37}{'before':>10}{'now':>10}{'ratio':>9}"]
    for change in comparison.changes:
        title = f"{title_of(change.kind, change.size)}, {_UNITS[change.metric]}"
        ratio = "" if change.ratio is None else f"{change.ratio:.2f} x"
        old, new = number(change.before.median), number(change.after.median)
        lines.append(f"{title:37}{old:>10}{new:>10}{ratio:>9}  {change.verdict}".rstrip())
    if not comparison.changes:
        lines = ["The two results have no figure in common."]
    for title, texts in (
        ("Differs:", comparison.differences),
        ("Not compared:", comparison.missing),
    ):
        if texts:
            lines += ["", title, *(line for text in texts for line in _wrapped(text, "- "))]
    if any(not each.verdict for each in comparison.changes):
        about = "No verdict: the spreads overlap, or there are fewer than 4 rounds."
        lines += ["", *_wrapped(about)]
    return "\n".join(lines)


def _table(kind: str, cells: Sequence[Cell]) -> Iterator[str]:
    first, columns = _COLUMNS[kind]
    yield f"{first:13}" + "".join(f"{heading:>22}" for _, heading in columns)
    for cell in cells:
        size = str(cell.size)
        if kind == "prompt":
            counted = cell.prompt_tokens
            size = str(counted) if counted is not None else f"about {cell.size}"
        figures = "".join(f"{_with_spread(cell.figures.get(name)):>22}" for name, _ in columns)
        yield f"{size:>13}{figures}"


def _with_spread(figure: Optional[Figure]) -> str:
    if figure is None:
        return "-"
    around = spread(figure)
    return f"{number(figure.median)} ({around})" if around else number(figure.median)


def _wrapped(text: str, mark: str = "") -> List[str]:
    indent = " " * len(mark)
    return textwrap.wrap(text, _WIDTH, initial_indent=mark, subsequent_indent=indent) or [""]
