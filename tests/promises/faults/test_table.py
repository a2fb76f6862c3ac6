"""Each row of the fault table, with every backend and every call form."""

from __future__ import annotations

from typing import Iterable, List

import pytest

from localproviders.testing.faults import FAULTS
from tests.promises.faults.expected import EXPECTED, outcome_of
from tests.promises.faults.rows import ROWS, cases
from tests.support.covering import Case, choose_cases, mark_slow
from tests.support.fake_time import fake_time


def _features(case: Case) -> Iterable[Case]:
    """Return the pairs in a case: row and backend, row and call form, backend and call form."""
    row, backend, form = case
    return [(row, backend), (row, form), (backend, form)]


@pytest.mark.sample(240)
@pytest.mark.parametrize(("row", "backend", "form"), mark_slow(cases(), _features))
def test_a_call_ends_as_promised(row: str, backend: str, form: str) -> None:
    with fake_time():
        ROWS[row].check(backend, form)


def _cases_over_a_socket() -> List[Case]:
    """Return a selection of the cases that need no port: each row, and each backend and form."""
    possible = [case for case in cases() if not ROWS[case[0]].needs_port]
    return sorted(choose_cases(possible, lambda case: [case[0], case[1:]]))


@pytest.mark.sample(12)
@pytest.mark.parametrize(("row", "backend", "form"), _cases_over_a_socket())
def test_a_call_over_a_unix_socket_ends_as_promised(
    row: str, backend: str, form: str, socket_path: str
) -> None:
    with fake_time():
        ROWS[row].check(backend, form, socket_path)


def _limited_cases() -> List[Case]:
    """Return a selection of the cases that the total limit ends."""
    limited = [case for case in cases() if outcome_of(ROWS[case[0]].outcomes, *case[1:]).limited]
    return sorted(choose_cases(limited, lambda case: [case[0], case[1:]]))


@pytest.mark.slow
@pytest.mark.parametrize(("row", "backend", "form"), _limited_cases())
def test_a_limit_ends_a_call_on_a_real_clock_too(row: str, backend: str, form: str) -> None:
    ROWS[row].check(backend, form)


def test_the_table_holds_the_whole_catalogue() -> None:
    names = [fault.name for fault in FAULTS]

    assert sorted(names) == sorted(EXPECTED)
    assert len(names) == len(set(names))


def test_the_table_is_large_enough() -> None:
    assert len(ROWS) >= 100
