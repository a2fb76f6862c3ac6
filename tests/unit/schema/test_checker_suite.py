"""The checker against the public JSON-Schema-Test-Suite, draft 2020-12."""

from __future__ import annotations

from typing import Any, List

import pytest

from localproviders.errors import ConfigurationError
from localproviders.schema import check
from tests.unit.schema.suite import ABSENT, ARCHIVE, REFUSED_FILES, REFUSED_GROUPS, Group, groups

GROUPS = groups()
_EXCUSED = [g for g in GROUPS if g.file in REFUSED_FILES or (g.file, g.name) in REFUSED_GROUPS]
_CLAIMED = [group for group in GROUPS if group not in _EXCUSED]

pytestmark = pytest.mark.skipif(not ARCHIVE, reason=ABSENT)


def _outcomes(group: Group) -> List[Any]:
    found: List[Any] = []
    for case in group.cases:
        try:
            right = (not check(case["data"], group.schema)) == case["valid"]
            found.append("right" if right else f"wrong: {case['description']}")
        except ConfigurationError:
            found.append("refused")
    return found


@pytest.mark.parametrize("group", _CLAIMED, ids=str)
def test_each_value_is_judged_as_the_standard_does(group: Group) -> None:
    assert set(_outcomes(group)) == {"right"}


@pytest.mark.parametrize("group", _EXCUSED, ids=str)
def test_what_is_not_claimed_is_refused_or_right(group: Group) -> None:
    assert set(_outcomes(group)) <= {"right", "refused"}


def test_the_suite_is_there() -> None:
    assert len(_CLAIMED) > 250
    assert sum(len(group.cases) for group in _CLAIMED) > 900


def test_nothing_is_excused_without_need() -> None:
    refused = {(group.file, group.name) for group in GROUPS if "refused" in _outcomes(group)}
    assert set(REFUSED_GROUPS) <= refused
    assert set(REFUSED_FILES) <= {file for file, _ in refused}
