"""Numbers with colliding hashes take no quadratic time.

Nothing here looks at a clock: with quadratic time these tests would take hours.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Set, Tuple

import pytest

from localproviders.errors import ToolCallError
from localproviders.openai_compatible.wire.tool_calls import ToolCallAssembler
from localproviders.schema import build, check

#: Python's hash of each is 0.
_ALIKE = [number * (2**61 - 1) for number in range(1, 200_001)]
_UNIQUE = {"type": "array", "uniqueItems": True}


@pytest.mark.slow
def test_unique_items_are_looked_for_in_linear_time() -> None:
    assert check(_ALIKE, _UNIQUE) == []
    assert check([*_ALIKE[:9], *_ALIKE[:1]], _UNIQUE) != []


@pytest.mark.parametrize("small", [0, 1, -1, 2**53])
def test_equal_numbers_stay_equal_in_every_form(small: int) -> None:
    for number in (small, small * 2**10, small * 2**100):
        assert (check([number, float(number)], _UNIQUE) == []) is False
        assert check([number, number + 1], _UNIQUE) == []
        assert check(float(number), {"const": number}) == []
        assert check(number, {"enum": [float(number)]}) == []


@pytest.mark.sample(0)
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Set[int], _ALIKE),
        pytest.param(FrozenSet[int], _ALIKE, marks=pytest.mark.slow),
        pytest.param(Dict[str, Set[int]], {"a": _ALIKE}, marks=pytest.mark.slow),
        (Set[Tuple[int, ...]], [[1, number] for number in _ALIKE[:20_000]]),
    ],
)
def test_a_set_of_numbers_with_one_hash_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="the same hash"):
        build(annotation, value)


@pytest.mark.sample(1)
@pytest.mark.parametrize("near", [[-1, -2], [0, 2**61 - 1], [True, 1.5]])
def test_items_that_share_a_hash_by_accident_are_taken(near: List[Any]) -> None:
    pairs = [[one, number] for one in near for number in range(1000)]
    assert len(build(Set[Tuple[float, int]], [[float(a), b] for a, b in pairs])) == 2000


@pytest.mark.slow
def test_calls_with_large_numbers_as_index_are_refused() -> None:
    pieces = [{"index": index, "function": {"name": "f"}} for index in _ALIKE]
    with pytest.raises(ToolCallError):
        ToolCallAssembler().add(pieces)
