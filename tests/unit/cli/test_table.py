"""Tables: aligned columns that fit into a terminal, and are complete in a pipe."""

from __future__ import annotations

from typing import List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localproviders.cli.table import Column, gigabytes, render, width_of

_COLUMNS = (Column("MODEL", may_shrink=True), Column("GB", is_number=True), Column("ABILITIES"))


def test_columns_are_aligned_and_numbers_are_on_the_right() -> None:
    rows = [("ollama/llama3.2", "2.02", "chat"), ("a/b", "12.5", "")]
    assert render(_COLUMNS, rows) == [
        "MODEL              GB  ABILITIES",
        "ollama/llama3.2  2.02  chat",
        "a/b              12.5  -",
    ]


def test_a_long_cell_is_cut_so_that_the_table_fits() -> None:
    rows = [("x" * 100, "2.02", "chat")]
    lines = render(_COLUMNS, rows, 40)
    assert [len(line) <= 40 for line in lines] == [True, True]
    assert lines[1].startswith("xxx") and ".." in lines[1] and lines[1].endswith("chat")


def test_names_are_cut_after_all_other_cells() -> None:
    columns = (
        Column("MODEL", may_shrink=True, is_name=True),
        Column("ABILITIES", may_shrink=True),
    )
    rows = [("ollama/nomic-embed-text:latest", "chat,completion,tools")]
    assert render(columns, rows, 42)[1] == "ollama/nomic-embed-text:latest  chat,com.."
    narrow = render(columns, rows, 35)[1]
    assert narrow.startswith("ollama/nomic-embed-text:latest") and len(narrow) <= 35


def test_nothing_is_cut_without_a_width() -> None:
    assert "x" * 1000 in render(_COLUMNS, [("x" * 1000, "", "")])[1]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u202eb", "a\x9bb"])
def test_a_cell_is_one_line_without_control_characters(name: str) -> None:
    lines = render(_COLUMNS, [(name, "1", "c")])
    assert len(lines) == 2 and lines[1].isprintable()


def test_wide_characters_have_two_columns() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert width_of("\u2764\ufe0f") == 1 and width_of("a\u200db") == 2
    lines = render(_COLUMNS, [("日本", "1", "c"), ("abcd", "1", "c")])
    assert width_of(lines[1]) == width_of(lines[2])


@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=8), st.text(max_size=60))),
    st.integers(min_value=10, max_value=200),
)
def test_no_line_is_wider_than_the_terminal(rows: List[List[str]], width: int) -> None:
    lines = render(_COLUMNS, rows, width)
    assert len(lines) == len(rows) + 1
    assert all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, ""), (0, "0.00"), (2019393189, "2.02"), (43_000_000_000, "43.0")],
)
def test_sizes_are_in_gigabytes(size: Optional[int], expected: str) -> None:
    assert gigabytes(size) == expected
