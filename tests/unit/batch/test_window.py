"""The window finds its size by itself, on each kind of server, in a simulation with a fake clock."""

from __future__ import annotations

from typing import Callable, Dict

import pytest

from localproviders.batch.window import BUSY, DELIVERED, Ended, Window, Windows
from tests.unit.batch.simulation import Server, Simulation, seconds

_SERVERS: Dict[str, Callable[[], Dict[str, Server]]] = {
    "1 slot": lambda: {"a": Server(1)},
    "2 slots": lambda: {"a": Server(2)},
    "4 slots": lambda: {"a": Server(4)},
    "16 slots": lambda: {"a": Server(16)},
    "slow": lambda: {"a": Server(3, 60.0)},
    "one dies": lambda: {"a": Server(4, dies_at=100.0), "b": Server(4)},
    "short queue": lambda: {"a": Server(4, queue=4)},
}
_FIXED = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48)


@pytest.mark.parametrize("kind", sorted(_SERVERS))
@pytest.mark.parametrize("seed", [1, 2])
def test_auto_is_at_most_five_percent_slower_than_the_best_fixed_window(
    kind: str, seed: int
) -> None:
    rows = 400 if kind == "slow" else 1500
    # With a larger window than slots and queue, most requests are refused: this is never the best.
    most = 12 if kind == "short queue" else max(_FIXED)
    best = min(seconds(_SERVERS[kind], fixed, rows, seed) for fixed in _FIXED if fixed <= most)
    assert seconds(_SERVERS[kind], None, rows, seed) <= best * 1.05


def test_it_starts_at_the_number_of_slots() -> None:
    assert Windows(None, {"a": 2, "b": 6}).size == 8
    assert Windows(None, {"a": None}).size == 4
    assert Windows(None, {}).size == 4
    assert Windows(7, {"a": 2}).size == 7


def test_it_does_not_grow_far_beyond_the_slots() -> None:
    simulation = Simulation({"a": Server(4)}, Windows(None, {}), 3000, 5)
    simulation.run()
    assert 3 <= simulation.windows.size <= 8


def test_a_busy_server_halves_it_once_for_all_requests_of_that_size() -> None:
    window = Window(16)
    numbers = [window.start() for _ in range(16)]
    for number in numbers:
        window.end(Ended(number, BUSY, 1.0))
    assert window.size == 8


def test_a_first_token_that_takes_much_longer_halves_it() -> None:
    window = Window(8)

    def deliver(rounds: int, first_s: float) -> None:
        for _ in range(rounds):
            for number in [window.start() for _ in range(window.size)]:
                window.end(Ended(number, DELIVERED, 1.0 * max(1, window.size / 8), 20, first_s))

    deliver(4, 0.1)
    settled = window.size
    deliver(1, 5.0)
    assert window.size <= settled // 2


def test_the_windows_of_two_hosts_are_independent() -> None:
    windows = Windows(None, {"a": 8, "b": 8})
    windows.end("a", windows.start(), Ended(0, BUSY, 1.0))
    assert windows.size == 12


def test_an_unknown_host_gets_a_window_when_it_answers() -> None:
    windows = Windows(None, {})
    for host in ("a", "b"):
        windows.end(host, windows.start(), Ended(0, DELIVERED, 1.0))
    assert windows.size == 8
    windows.end(None, windows.start(), Ended(0, BUSY, 1.0))
    assert windows.size == 8  # no host is named
