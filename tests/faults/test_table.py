"""The table of faults, row by row, with every backend and every call form."""

from __future__ import annotations

import pytest

from localproviders.testing.faults import FAULTS
from tests.faults.expected import EXPECTED
from tests.faults.rows import ROWS, cases


@pytest.mark.parametrize(("row", "backend", "form"), cases())
def test_a_call_ends_as_promised(row: str, backend: str, form: str) -> None:
    ROWS[row].check(backend, form)


def test_the_table_holds_the_whole_catalogue() -> None:
    names = [fault.name for fault in FAULTS]

    assert sorted(names) == sorted(EXPECTED)
    assert len(names) == len(set(names))


def test_the_table_is_large_enough() -> None:
    assert len(ROWS) >= 100
