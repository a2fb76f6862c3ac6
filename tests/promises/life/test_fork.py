"""After a fork, parent and child receive their own responses, on separate connections."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Dict, Set

import pytest

from tests.promises.life.child import run_program, start_program
from tests.promises.life.serving import CountingServer, echo

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.sample(0)
@pytest.mark.parametrize("threads", ["0", "4"])
@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_parent_and_children_use_separate_connections(
    over: str, threads: str, socket_path: str
) -> None:
    with CountingServer(echo, unix=socket_path if over == "unix" else None) as server:
        with start_program("forking", server.url, threads) as child:
            assert child.read_result() == [0] * 6
            child.resume()
            assert server.wait_until_open(0)
            child.resume()
            assert child.exit_status() == 0

    owners: Dict[int, Set[str]] = defaultdict(set)
    for exchange in server.exchanges:
        data = exchange.json
        asked = data["messages"][0]["content"] if "messages" in data else data["input"][0]
        owners[exchange.connection].add(asked if asked.startswith("child") else "parent")
    assert all(len(owner) == 1 for owner in owners.values())
    assert set.union(*owners.values()) == {"parent", *(f"child {n}" for n in range(6))}


@pytest.mark.slow
def test_a_child_can_make_calls_after_a_fork_at_any_line_of_a_call() -> None:
    with CountingServer(echo) as server:
        lines, failed = run_program("fork_anywhere", server.url)

    assert failed == []
    assert lines > 100
