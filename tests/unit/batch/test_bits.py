"""Sets of row numbers."""

from __future__ import annotations

from typing import Set

from hypothesis import given
from hypothesis import strategies as st

from localproviders.batch.bits import Bits

_rows = st.sets(st.integers(0, 100))


def _bits(rows: Set[int]) -> Bits:
    made = Bits()
    assert made.add_all(rows) == len(rows)
    return made


@given(_rows, _rows)
def test_moved_rows_are_in_the_other_set(rows: Set[int], others: Set[int]) -> None:
    source, target = _bits(rows), _bits(others)
    source.move_to(target)
    assert source.count == 0
    assert not any(row in source for row in range(101))
    assert {row for row in range(101) if row in target} == rows | others
    assert target.count == len(rows | others)
