from __future__ import annotations

from typing import Any, List

import pytest

from localproviders import ContextOverflowError, ServerBusyError
from localproviders.bench.sample import Collector, Sample, Timed, sample_of
from localproviders.types import ServerTimings, Timings, Usage
from tests.support.bench import response

_NONE = ServerTimings()


def _sample(**changes: Any) -> Sample:
    return sample_of([Timed(response(**changes), 0.0, 2.0)], 8)


def test_the_servers_clock_is_used_where_it_has_one() -> None:
    sample = _sample()
    assert sample.figures == {
        "first_token_s": 0.5,
        "prompt_tokens_per_s": 100 / 0.4,
        "generation_tokens_per_s": 8 / 0.8,
    }
    assert (sample.clock, sample.prompt_tokens, sample.completion_tokens) == ("server", 100, 8)
    assert list(sample.notes) == []


def test_else_the_clock_of_the_client_is_used_without_the_first_token() -> None:
    sample = _sample(server_timings=_NONE)
    assert sample.clock == "client"
    assert sample.figures["prompt_tokens_per_s"] == 100 / 0.5
    assert sample.figures["generation_tokens_per_s"] == 7 / 1.0


def test_one_duration_of_the_server_is_not_its_clock() -> None:
    sample = _sample(server_timings=ServerTimings(prompt_s=0.4))
    assert sample.clock == "client"
    assert sample.figures["prompt_tokens_per_s"] == 100 / 0.4


def test_without_counts_there_is_no_speed_and_a_note() -> None:
    sample = _sample(usage=Usage())
    assert sample.figures == {"first_token_s": 0.5}
    assert (sample.clock, sample.prompt_tokens) == (None, None)
    assert list(sample.notes) == ["the server sent no token counts, so there are no speeds"]


def test_cached_tokens_do_not_count_for_the_speed() -> None:
    sample = _sample(usage=Usage(prompt_tokens=100, completion_tokens=8, cached_tokens=40))
    assert sample.figures["prompt_tokens_per_s"] == 60 / 0.4
    assert sample.cached_tokens == 40
    assert "cache" in sample.notes[0]


def test_a_few_cached_tokens_are_no_remark() -> None:
    assert not _sample(usage=Usage(prompt_tokens=100, completion_tokens=8, cached_tokens=9)).notes


def test_a_prompt_that_was_cached_entirely_has_no_speed() -> None:
    sample = _sample(usage=Usage(prompt_tokens=100, completion_tokens=8, cached_tokens=100))
    assert "prompt_tokens_per_s" not in sample.figures


@pytest.mark.parametrize("written", [0, 1])
def test_an_answer_of_one_token_has_no_speed(written: int) -> None:
    sample = _sample(usage=Usage(prompt_tokens=100, completion_tokens=written))
    assert "generation_tokens_per_s" not in sample.figures
    assert sample.notes == [
        "the model ended an answer early, so the speed of the answers is less certain"
    ]


def test_an_answer_without_text_has_no_first_token() -> None:
    sample = _sample(timings=Timings(total_s=1.0))
    assert "first_token_s" not in sample.figures
    assert sample.notes == ["an answer had no text, so its time to the first token is missing"]


def test_durations_of_zero_make_no_speed() -> None:
    zero = ServerTimings(prompt_s=0.0, generation_s=0.0)
    sample = _sample(server_timings=zero, timings=Timings(first_token_s=0.0, total_s=0.0))
    assert sample.figures == {"first_token_s": 0.0}


def test_a_group_counts_all_tokens_over_its_whole_time() -> None:
    timed = [Timed(response(), start, start + 2) for start in (10.0, 10.5, 11.0)]
    timed[1] = Timed(response(timings=Timings(first_token_s=0.9, total_s=1.5)), 10.5, 12.5)
    sample = sample_of(timed, 8, is_group=True)
    assert sample.figures["total_tokens_per_s"] == 24 / 3.0
    assert sample.figures["first_token_s"] == 0.5  # the median of three
    assert "prompt_tokens_per_s" not in sample.figures


def test_a_group_with_a_missing_count_has_no_total() -> None:
    timed = [Timed(response(), 0, 1), Timed(response(usage=Usage()), 0, 1)]
    assert "total_tokens_per_s" not in sample_of(timed, 8, is_group=True).figures


def test_a_request_that_was_sent_several_times_is_noted() -> None:
    (note,) = _sample(attempts=3).notes
    assert note.startswith("a request was sent again")


def _collected(*events: Any, rounds: int = 3) -> Collector:
    collector = Collector("prompt", 128, rounds)
    for event in events:
        (collector.add if isinstance(event, Sample) else collector.fail)(event)
    return collector


def test_a_cell_has_the_values_of_all_rounds() -> None:
    samples = [Sample({"first_token_s": value}, prompt_tokens=n) for value, n in ((1, 9), (2, 10))]
    cell = _collected(*samples).cell()
    assert cell.figures["first_token_s"].values == (1, 2)
    assert cell.prompt_tokens == 10 and cell.notes == ()


def test_a_busy_server_is_tried_twice_in_a_row() -> None:
    busy = ServerBusyError("busy")
    assert _collected(busy).is_open and not _collected(busy, busy).is_open
    assert _collected(busy, Sample({"first_token_s": 1}), busy).is_open


def test_an_error_that_would_come_again_ends_the_cell() -> None:
    collector = _collected(ContextOverflowError("too long"))
    assert not collector.is_open and collector.first_error is not None
    assert collector.cell().notes == ("too long",)


def test_failed_rounds_are_counted_beside_the_others() -> None:
    busy: List[Any] = [ServerBusyError("busy\nnow")]
    cell = _collected(Sample({"first_token_s": 1}), *busy, Sample({"first_token_s": 2})).cell()
    assert cell.notes == (r"1 of 3 rounds failed: busy\nnow",)


def test_rounds_that_the_deadline_left_out_are_noted() -> None:
    some, none, closed = _collected(Sample({"first_token_s": 1})), _collected(), _collected()
    closed.skip("too long")
    for collector in (some, none, closed):
        collector.end("the deadline passed")
    assert some.cell().notes == ("1 of 3 rounds: the deadline passed",)
    assert none.cell().notes == ("the deadline passed",)
    assert closed.cell().notes == ("too long",)


def test_one_clock_of_the_client_makes_the_cell_the_clients() -> None:
    made = _collected(Sample({}, clock="server"), Sample({}, clock="client"), Sample({}))
    assert made.cell().clock == "client"
