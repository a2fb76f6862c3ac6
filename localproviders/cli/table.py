"""Tables for people: aligned columns that fit into the width of a terminal."""

from __future__ import annotations

import shutil
from typing import List, NamedTuple, Optional, Sequence

from localproviders._redact import one_line
from localproviders.cli.color import styled
from localproviders.cli.run import Run

#: The text of an empty cell. It is not blank, so that programs such as ``awk`` see every column.
EMPTY = "-"
_GAP = "  "
# The smallest width to which a column is shortened. The second value is for columns of names.
_NARROWEST = 8
_NARROWEST_NAME = 30
_CUT = ".."
# The Unicode categories of combining marks, and of characters such as the zero-width joiner.
_WITHOUT_WIDTH = ("Mn", "Me", "Cf")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its title.
        is_number: Whether its cells are aligned to the right.
        may_shrink: Whether its cells may be cut so that the table fits into the terminal.
        is_name: Whether its cells are names, which a user may copy into another command. Columns of
            names are shortened last.
    """

    title: str
    is_number: bool = False
    may_shrink: bool = False
    is_name: bool = False

    @property
    def narrowest(self) -> int:
        """The narrowest width to which the column is shortened."""
        return _NARROWEST_NAME if self.is_name else _NARROWEST


def write_table(run: Run, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to the output of a run.

    On a terminal, no line is longer than the terminal is wide: long cells are cut. In a pipe and
    in a file, nothing is cut. Columns are separated by two spaces.

    Raises:
        OutputError: The output cannot be written.
        BrokenPipeError: The reader of the pipe has closed it.
    """
    width = shutil.get_terminal_size().columns if run.output.is_terminal else None
    header, *lines = render(columns, rows, width)
    run.output.write(styled(header, "bold") + "\n" if run.is_colored else f"{header}\n", safe=True)
    for line in lines:
        run.output.write_line(line)


def render(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: Optional[int] = None
) -> List[str]:
    """Return the lines of a table. The first one has the titles.

    Args:
        columns: The columns.
        rows: The cells of each row. Control characters become visible escapes, and an empty cell
            becomes a ``-``.
        width: The number of columns of the terminal; None if nothing is to be cut.
    """
    cells = [[one_line(cell) or EMPTY for cell in row] for row in rows]
    cells.insert(0, [column.title for column in columns])
    widths = [max(map(width_of, column)) for column in zip(*cells)]
    if width is not None:
        widths = _fit(widths, columns, width)
    lines = [_line(row, columns, widths) for row in cells]
    return lines if width is None else [_cut(line, width).rstrip() for line in lines]


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text of one line fills."""
    if text.isascii():
        return len(text)
    import unicodedata  # a large module, which text in ASCII does not need

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    marks = sum(unicodedata.category(character) in _WITHOUT_WIDTH for character in text)
    return len(text) + wide - marks


def gigabytes(size_bytes: Optional[int]) -> str:
    """Return a size in GB, as a number without its unit; empty if it is not known."""
    if size_bytes is None:
        return ""
    return f"{size_bytes / 1e9:.1f}" if size_bytes >= 10e9 else f"{size_bytes / 1e9:.2f}"


def _fit(widths: List[int], columns: Sequence[Column], width: int) -> List[int]:
    """Shorten columns that may shrink, the widest first and names last, until the table fits."""
    widths = list(widths)
    while True:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        wide = [
            (not column.is_name, widths[at], -at)
            for at, column in enumerate(columns)
            if column.may_shrink and widths[at] > column.narrowest
        ]
        if excess <= 0 or not wide:
            return widths
        widths[-max(wide)[-1]] -= 1


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    cells = []
    for cell, column, width in zip(row, columns, widths):
        text = _cut(cell, width)
        blanks = " " * (width - width_of(text))
        cells.append(blanks + text if column.is_number else text + blanks)
    return _GAP.join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    """Return a text of at most `width` columns, which ends in two dots if it was cut."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) + len(_CUT) > width:
        text = text[:-1]
    return text + _CUT
