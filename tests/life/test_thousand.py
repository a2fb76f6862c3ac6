"""A thousand streams, ended in every way, leave nothing behind."""

from __future__ import annotations

from typing import List

import pytest

from localproviders import OpenAICompatibleProvider
from tests.life.child import PRELUDE, Child, program
from tests.life.serving import (
    CHUNKED,
    CountingServer,
    close,
    event,
    hold,
    spoken,
)

_SCRIPTS = {
    "abandoned": [CHUNKED, event("Hi"), hold],
    "abandoned in a circle": [CHUNKED, event("Hi"), hold],
    "closed early": [CHUNKED, event("Hi"), hold],
    "cut": [CHUNKED, event("Hi"), close],
    "ended": [spoken("Hi", " there")],
}

# What the smallest leak of a stream would make of a quarter of the thousand.
_QUARTER_BYTES = 250 * 20


@pytest.mark.parametrize("ending", _SCRIPTS)
def test_a_thousand_streams_leave_nothing(ending: str) -> None:
    kept = 1 if ending == "ended" else 0
    with CountingServer(lambda _: _SCRIPTS[ending]) as server:
        with program("thousand", server.url, ending, "1000") as child:
            measured = child.hear()
            assert server.comes_to(kept)
            child.tell()
            closed = child.hear()
            assert server.comes_to(0)
            child.tell()
            assert child.ends() == 0

    assert len(server.exchanges) == 1000 + 50
    assert {now["threads"] for now in measured} == {1}
    assert len({now["descriptors"] for now in measured}) == 1
    assert (
        closed["descriptors"] is None or measured[-1]["descriptors"] - closed["descriptors"] == kept
    )
    assert _smallest_growth([now["bytes"] for now in measured]) < _QUARTER_BYTES


def _smallest_growth(sizes: List[int]) -> int:
    """A leak grows in every quarter; a cache of the interpreter grows in one."""
    return min(after - before for before, after in zip(sizes, sizes[1:]))


@pytest.mark.parametrize("how", ["del provider", "provider.itself = provider; del provider"])
def test_a_forgotten_provider_closes_what_it_kept(how: str) -> None:
    code = f"""
provider.chat("Hi")
say("kept")
wait()
{how}
gc.collect()
wait()
"""
    with CountingServer(spoken("Hi")) as server:
        with Child(PRELUDE + code, server.url) as child:
            child.hear()
            assert server.comes_to(1)
            child.tell()
            assert server.comes_to(0)
            child.tell()
            assert child.ends() == 0


def test_a_closed_provider_keeps_no_connection_of_a_stream_that_is_still_held() -> None:
    with CountingServer(spoken("Hi")) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            stream = provider.stream("Hi")
            response = stream.result()
            assert server.comes_to(1)
        assert server.comes_to(0)

    assert stream.result() is response
