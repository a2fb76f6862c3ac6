"""Deadline and cancellation of a call, checked exactly on a fake clock."""

from __future__ import annotations

import math
import socket
import threading
from typing import Callable, Iterator, List, Optional, Tuple

import pytest

from localproviders._http.deadline import (
    ANSWERING,
    AWAITING,
    CONNECTING,
    DRAIN_S,
    DRAINING,
    SENDING,
    Call,
    Phase,
    Stop,
    shut_down,
)
from localproviders.types.limits import CancelToken, Limits
from tests.support.timing import GRACE_S

_LIMITS = Limits(connect_s=3, load_s=600, first_token_s=300, idle_s=120, total_s=1800)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair() -> Iterator[Tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def _stop(ask: Callable[[], object]) -> Tuple[Optional[str], float]:
    with pytest.raises(Stop) as caught:
        ask()
    return caught.value.limit, caught.value.limit_s


# A phase, the seconds that it allows at its start, and the limit that ends it with its value.
_PHASES = [
    (CONNECTING, 3, "connect_s", 3),
    (AWAITING, 900, "first_token_s", 900),
    (DRAINING, DRAIN_S, "drain", DRAIN_S),
]
_STEPS = [SENDING, ANSWERING]


@pytest.mark.parametrize(("phase", "seconds", "limit", "value"), _PHASES)
def test_a_phase_ends_exactly_at_its_limit(
    clock: Clock, phase: Phase, seconds: float, limit: str, value: float
) -> None:
    call = Call(_LIMITS, clock=clock)
    clock.now += 64
    call.enter(phase)
    assert call.left() == pytest.approx(seconds)
    clock.now = 1064 + seconds * 0.75
    assert call.left() == pytest.approx(seconds * 0.25)
    clock.now = 1064 + seconds
    assert _stop(call.left) == (limit, value)
    stop = call.timed_out()
    assert (stop.limit, stop.limit_s) == (limit, value)


@pytest.mark.parametrize("phase", _STEPS)
def test_silence_is_bounded_at_each_wait_anew(clock: Clock, phase: Phase) -> None:
    call = Call(_LIMITS, clock=clock)
    call.enter(phase)
    for _ in range(10):
        assert call.left() == 120
        clock.now += 100
    clock.now = 1120
    stop = call.timed_out()
    assert (stop.limit, stop.limit_s) == ("idle_s", 120)


@pytest.mark.parametrize("phase", [*_STEPS, CONNECTING, AWAITING, DRAINING])
def test_the_total_wins_where_it_is_nearer(clock: Clock, phase: Phase) -> None:
    call = Call(_LIMITS, clock=clock)
    clock.now = 2799.96875
    call.enter(phase)
    assert call.left() == 0.03125
    clock.now = 2800
    assert _stop(call.left) == ("total_s", 1800)
    stop = call.timed_out()
    assert (stop.limit, stop.limit_s) == ("total_s", 1800)


def test_a_wait_cut_by_the_total_is_not_blamed_on_silence(clock: Clock) -> None:
    call = Call(_LIMITS.replace(total_s=100.0), clock=clock)
    call.enter(ANSWERING)
    assert call.left() == 100
    clock.now = 1100
    assert call.timed_out().limit == "total_s"


def test_a_wait_cut_by_silence_is_not_blamed_on_the_total(clock: Clock) -> None:
    call = Call(_LIMITS.replace(total_s=121.0), clock=clock)
    call.enter(ANSWERING)
    assert call.left() == 120
    clock.now = 1120
    assert call.timed_out().limit == "idle_s"


@pytest.mark.parametrize("phase", [CONNECTING, AWAITING, *_STEPS, DRAINING])
def test_a_phase_ends_the_clock_of_the_phase_before(clock: Clock, phase: Phase) -> None:
    call = Call(_LIMITS, clock=clock)
    call.enter(DRAINING)
    clock.now += 1
    call.enter(phase)
    assert call.left() in (3, 120, 900, DRAIN_S, pytest.approx(DRAIN_S))


def test_the_first_token_alone_counts_where_the_model_is_loaded(clock: Clock) -> None:
    call = Call(_LIMITS.replace(load_s=0), clock=clock)
    call.enter(AWAITING)
    clock.now += 300
    assert _stop(call.left) == ("first_token_s", 300)


@pytest.mark.parametrize("phase", [CONNECTING, AWAITING, *_STEPS])
def test_infinity_waits_for_ever(clock: Clock, phase: Phase) -> None:
    limits = dict.fromkeys(_LIMITS.replace(load_s=1.0).__dict__, math.inf)
    call = Call(Limits(**limits), clock=clock)
    call.enter(phase)
    clock.now += 1e12
    assert call.left() is None


def test_elapsed_counts_from_the_start(clock: Clock) -> None:
    call = Call(_LIMITS, clock=clock)
    clock.now += 2.5
    assert call.elapsed_s == 2.5


def test_before_any_phase_the_total_counts(clock: Clock) -> None:
    call = Call(_LIMITS, clock=clock)
    assert call.left() == 1800


# --- ending from outside --------------------------------------------------------------------


def test_a_cancelled_call_stops_without_a_limit(clock: Clock) -> None:
    call = Call(_LIMITS, clock=clock)
    call.cancel()
    assert _stop(call.left) == (None, 0.0)
    assert call.timed_out().limit is None


@pytest.mark.parametrize("before", [True, False])
def test_a_token_ends_the_call_whether_thrown_before_or_after(clock: Clock, before: bool) -> None:
    token = CancelToken()
    if before:
        token.cancel()
    call = Call(_LIMITS, token, clock)
    assert call.cancelled is before
    token.cancel()
    assert call.cancelled
    assert token.cancelled


def test_one_token_ends_every_call_and_forgets_those_that_are_over(clock: Clock) -> None:
    token = CancelToken()
    calls = [Call(_LIMITS, token, clock) for _ in range(3)]
    calls[0].finish()
    token.cancel()
    assert [call.cancelled for call in calls] == [False, True, True]


def test_over_may_be_said_twice(clock: Clock) -> None:
    call = Call(_LIMITS, CancelToken(), clock)
    call.finish()
    call.finish()


def test_cancelling_wakes_the_reader(
    clock: Clock, pair: Tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    call = Call(_LIMITS, clock=clock)
    call.attach(mine)
    got: List[bytes] = []
    reader = threading.Thread(target=lambda: got.append(mine.recv(1)))
    reader.start()
    call.cancel()
    reader.join(5)
    assert got == [b""]


def test_a_detached_socket_is_left_alone(
    clock: Clock, pair: Tuple[socket.socket, socket.socket]
) -> None:
    mine, other = pair
    for detach in (lambda call: call.detach(mine), lambda call: call.detach()):
        call = Call(_LIMITS, clock=clock)
        call.attach(mine)
        detach(call)
        call.cancel()
        other.sendall(b"x")
        assert mine.recv(1) == b"x"


@pytest.mark.parametrize("end", ["detach", "finish", "cancel"])
def test_a_forked_child_waits_for_no_lock_of_its_parent(
    clock: Clock, pair: Tuple[socket.socket, socket.socket], end: str
) -> None:
    mine, other = pair
    call = Call(_LIMITS, CancelToken(), clock)
    call.attach(mine)
    call._process = -1  # as in a forked child: another process made the call
    ended = threading.Event()

    def child() -> None:
        getattr(call, end)()
        ended.set()

    with call._lock:  # in a fork, a thread that the child does not have may hold it
        thread = threading.Thread(target=child, daemon=True)
        thread.start()
        assert ended.wait(GRACE_S)
    thread.join()
    other.sendall(b"x")
    assert mine.recv(1) == b"x"  # the parent can still read


def test_attaching_to_a_cancelled_call_stops_at_once(
    clock: Clock, pair: Tuple[socket.socket, socket.socket]
) -> None:
    mine, _ = pair
    call = Call(_LIMITS, clock=clock)
    call.cancel()
    assert _stop(lambda: call.attach(mine)) == (None, 0.0)
    assert mine.recv(1) == b""


def test_cancel_does_what_else_it_is_told(clock: Clock) -> None:
    call = Call(_LIMITS, clock=clock)
    said: List[str] = []
    call.on_cancel = lambda: said.append("woken")
    call.cancel()
    assert said == ["woken"]


def test_shutting_down_a_closed_socket_is_no_error() -> None:
    sock = socket.socket()
    sock.close()
    shut_down(sock)


def test_a_stop_is_no_oserror_that_a_library_would_rewrap() -> None:
    assert not issubclass(Stop, OSError)
