"""A thousand streams leave no descriptor, no thread and no memory behind, however they end."""

from __future__ import annotations

from typing import List

import pytest

from localproviders import OpenAICompatibleProvider
from tests.promises.life.child import PRELUDE, Child, start_program
from tests.promises.life.serving import (
    CHUNKED,
    CountingServer,
    close,
    event,
    hold,
    streamed_response,
)

_SCRIPTS = {
    "abandoned": [CHUNKED, event("Hi"), hold],
    "abandoned in a circle": [CHUNKED, event("Hi"), hold],
    "closed early": [CHUNKED, event("Hi"), hold],
    "cut": [CHUNKED, event("Hi"), close],
    "ended": [streamed_response("Hi", " there")],
}

# 250 streams that leak 20 bytes each, which is less than the smallest Python object.
_QUARTER_BYTES = 250 * 20


@pytest.mark.slow
@pytest.mark.parametrize("ending", _SCRIPTS)
def test_a_thousand_streams_leave_nothing_behind(ending: str) -> None:
    kept = 1 if ending == "ended" else 0
    with CountingServer(lambda _: _SCRIPTS[ending]) as server:
        with start_program("thousand", server.url, ending, "1000") as child:
            measured = child.read_result()
            assert server.wait_until_open(kept)
            child.resume()
            closed = child.read_result()
            assert server.wait_until_open(0)
            child.resume()
            assert child.exit_status() == 0

    assert len(server.exchanges) == 1000 + 50
    assert {now["threads"] for now in measured} == {1}
    assert len({now["descriptors"] for now in measured}) == 1
    assert (
        closed["descriptors"] is None or measured[-1]["descriptors"] - closed["descriptors"] == kept
    )
    assert _smallest_growth([now["bytes"] for now in measured]) < _QUARTER_BYTES


def _smallest_growth(sizes: List[int]) -> int:
    """Return the smallest growth: a leak grows in every quarter, an interpreter cache in one."""
    return min(after - before for before, after in zip(sizes, sizes[1:]))


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", ["del provider", "provider.itself = provider; del provider"])
def test_a_garbage_collected_provider_closes_its_kept_connections(how: str) -> None:
    code = f"""
provider.chat("Hi")
send_result("kept")
wait_for_test()
{how}
gc.collect()
wait_for_test()
"""
    with CountingServer(streamed_response("Hi")) as server:
        with Child(PRELUDE + code, server.url) as child:
            child.read_result()
            assert server.wait_until_open(1)
            child.resume()
            assert server.wait_until_open(0)
            child.resume()
            assert child.exit_status() == 0


def test_a_closed_provider_keeps_no_connection_of_a_stream_that_is_still_held() -> None:
    with CountingServer(streamed_response("Hi")) as server:
        with OpenAICompatibleProvider(server.url, model="m") as provider:
            stream = provider.stream("Hi")
            response = stream.result()
            assert server.wait_until_open(1)
        assert server.wait_until_open(0)

    assert stream.result() is response
