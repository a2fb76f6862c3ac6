"""Each verb beside chat, embed and list, under a fault of each kind."""

from __future__ import annotations

import pytest

from tests.faults.verbs import VERBS, cases, check

_VERBS = {verb.id: verb for verb in VERBS}


@pytest.mark.parametrize(("verb", "fault"), cases())
def test_a_verb_ends_as_promised(verb: str, fault: str) -> None:
    check(_VERBS[verb], fault)
