"""All other methods than chat, embed and list, under a fault for each step of a call."""

from __future__ import annotations

from typing import Iterable

import pytest

from tests.promises.faults.verbs import BODY_FAULTS, FAULTS, VERBS, cases, check
from tests.support.covering import Case, mark_slow
from tests.support.fake_time import fake_time

_VERBS = {verb.id: verb for verb in VERBS}
_ERRORS = {**FAULTS, **BODY_FAULTS}


def _features(case: Case) -> Iterable[Case]:
    """Return the pairs in a case: method and error classes, backend and fault."""
    verb, fault = case
    names = "/".join(error.__name__ for error in _ERRORS[fault])
    return [(verb, names), (_VERBS[verb].backend, fault)]


@pytest.mark.sample(30)
@pytest.mark.parametrize(("verb", "fault"), mark_slow(cases(), _features))
def test_a_verb_ends_as_promised(verb: str, fault: str) -> None:
    with fake_time():
        check(_VERBS[verb], fault)
