"""The circuit breaker: a failing server is tried last for some time, but is never excluded."""

from __future__ import annotations

from typing import List

import pytest

from localproviders import (
    AllFailedError,
    LocalProvider,
    ModelNotFoundError,
    OllamaProvider,
    RepetitionError,
    RetryPolicy,
    StreamInterruptedError,
)
from localproviders.local.servers import Breaker
from localproviders.testing import FakeOllama
from tests.unit.local.support import Clock, Pair, pair


def test_it_opens_at_the_third_failure_in_a_row_and_half_opens_behind_its_pause() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
        assert not breaker.is_open
    breaker.failed()
    assert breaker.is_open
    clock.now += 30
    assert not breaker.is_open
    breaker.trying()
    assert breaker.is_open  # for all calls except the one that tries the server
    breaker.succeeded()
    assert not breaker.is_open


def test_a_failed_trial_opens_it_anew() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause_s=5, clock=clock)
    breaker.failed()
    clock.now += 5
    breaker.trying()
    breaker.failed()
    clock.now += 4.9
    assert breaker.is_open
    clock.now += 0.1
    assert not breaker.is_open


def _ask(made: Pair) -> str:
    return made.local.chat("Hi", model="both").provider


def _break_ollama(made: Pair) -> None:
    made.ollama.break_next("status 500 with JSON", times=None)
    assert [_ask(made) for _ in range(3)] == ["lmstudio"] * 3
    made.ollama.heal()


def test_a_server_that_failed_three_times_is_left_alone_until_the_pause_is_over() -> None:
    with pair() as made:
        _break_ollama(made)
        asked = len(made.ollama.exchanges)
        answer = made.local.chat("Hi", model="both")
        assert answer.provider == "lmstudio"
        assert len(made.ollama.exchanges) == asked
        (tried,) = answer.tried
        assert (tried.provider, tried.error) == ("ollama", None)
        assert "skipped" in tried.message
        made.clock.now += 30
        assert _ask(made) == "ollama"
        assert _ask(made) == "ollama"


def test_the_last_candidate_is_asked_however_often_it_failed() -> None:
    with pair() as made:
        _break_ollama(made)
        assert made.local.chat("Hi", model="ollama/both").provider == "ollama"
        _break_ollama(made)
        made.lmstudio.stop()
        assert _ask(made) == "ollama"


def test_repetitions_of_a_provider_that_finds_nobody_count_one_by_one() -> None:
    quick = RetryPolicy(attempts=3, first_wait_s=0.01)
    with FakeOllama(["m"]) as dead, FakeOllama(["m"]) as other:
        first = OllamaProvider(dead.url, name="dead", retry=quick)
        with LocalProvider([first, OllamaProvider(other.url)], model="m") as local:
            dead.stop()
            errors = [local.chat("Hi").tried[0].error for _ in range(2)]
    assert errors == ["UnreachableError", None]  # the second call does not try it


def test_a_success_in_between_starts_the_count_anew() -> None:
    with pair() as made:
        seen: List[str] = []
        for _ in range(4):
            made.ollama.break_next("status 500 with JSON", times=2)
            seen += [_ask(made), _ask(made), _ask(made)]
        assert seen == ["lmstudio", "lmstudio", "ollama"] * 4


def test_streams_that_break_count_too() -> None:
    with pair() as made:
        made.ollama.break_next("body cut", times=3)
        for _ in range(3):
            with pytest.raises(StreamInterruptedError):
                made.local.stream("Hi", model="both").result()
        assert _ask(made) == "lmstudio"


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_that_repeats_itself_is_no_fault_of_its_server(whole: bool) -> None:
    with pair() as made:
        made.ollama.break_next("a repetition that the server ends", times=4)
        for _ in range(4):
            with pytest.raises(RepetitionError):
                _ask(made) if whole else made.local.stream("Hi", model="both").result()
        assert _ask(made) == "ollama"
        assert made.lmstudio.exchanges == []


def test_a_model_that_is_missing_does_not_count_against_its_server() -> None:
    with pair() as made:
        for _ in range(5):
            with pytest.raises(ModelNotFoundError):
                made.local.chat("Hi", model="nowhere")
        assert _ask(made) == "ollama"


def test_all_open_and_all_dead_is_still_every_reason() -> None:
    with pair() as made:
        made.ollama.stop()
        made.lmstudio.stop()
        for _ in range(5):
            with pytest.raises(AllFailedError) as caught:
                _ask(made)
            assert len(caught.value.errors) == 2


def test_a_trial_that_says_nothing_of_the_server_leaves_the_next_one_free_to_try() -> None:
    with pair() as made:
        _break_ollama(made)
        made.clock.now += 30
        with pytest.raises(ModelNotFoundError):
            made.local.chat("Hi", model="nowhere")
        assert _ask(made) == "ollama"
