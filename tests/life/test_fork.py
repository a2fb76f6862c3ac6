"""Parent and child of a fork each get their own answers, on connections of their own."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Dict, Set

import pytest

from tests.life.child import answers, program
from tests.life.serving import CountingServer, echo

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.parametrize("threads", ["0", "4"])
def test_parent_and_children_ask_on_connections_of_their_own(threads: str) -> None:
    with CountingServer(echo) as server:
        with program("forking", server.url, threads) as child:
            assert child.hear() == [0] * 6
            child.tell()
            assert server.comes_to(0)
            child.tell()
            assert child.ends() == 0

    owners: Dict[int, Set[str]] = defaultdict(set)
    for exchange in server.exchanges:
        data = exchange.json
        asked = data["messages"][0]["content"] if "messages" in data else data["input"][0]
        owners[exchange.connection].add(asked if asked.startswith("child") else "parent")
    assert all(len(owner) == 1 for owner in owners.values())
    assert set.union(*owners.values()) == {"parent", *(f"child {n}" for n in range(6))}


def test_a_fork_at_any_line_of_a_call_in_another_thread_leaves_the_child_free() -> None:
    with CountingServer(echo) as server:
        lines, bad = answers("fork_anywhere", server.url)

    assert bad == []
    assert lines > 100
