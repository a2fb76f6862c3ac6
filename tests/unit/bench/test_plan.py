from __future__ import annotations

from typing import Any, Dict

import pytest

from localproviders import ConfigurationError
from localproviders.bench import Plan


def test_the_usual_plan_has_four_lengths_and_four_numbers_of_requests() -> None:
    plan = Plan()
    assert (len(plan.lengths), plan.at_once, plan.rounds) == (4, (1, 2, 4, 8), 5)


def test_the_quick_plan_is_a_part_of_the_usual_one() -> None:
    quick, usual = Plan.quick(), Plan()
    assert {*quick.lengths} < {*usual.lengths} and {*quick.at_once} < {*usual.at_once}
    assert quick.rounds < usual.rounds and quick.loads < usual.loads


def test_sizes_are_sorted_without_repetitions() -> None:
    plan = Plan(lengths=[512, 128, 512], at_once=(4, 1))  # type: ignore[arg-type]  # a list works, too
    assert (plan.lengths, plan.at_once) == ((128, 512), (1, 4))


def test_a_plan_survives_its_dictionary() -> None:
    plan = Plan(lengths=(64,), rounds=7)
    assert Plan.from_dict(plan.to_dict()) == plan


def test_prompts_at_once_have_the_first_length() -> None:
    assert Plan(lengths=(64, 512)).at_once_length == 64
    assert Plan(lengths=()).at_once_length == 128


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lengths": (31,)}, "lengths has the value 31, and must be a whole number from 32 to"),
        ({"lengths": (128.0,)}, "lengths has the value 128.0"),
        ({"lengths": 128}, "lengths is 128, and must be a tuple"),
        ({"lengths": "128"}, "lengths is '128', and must be a tuple"),
        ({"lengths": tuple(range(100, 117))}, "lengths has 17 numbers, and may have at most 16"),
        ({"at_once": (0,)}, "at_once has the value 0"),
        ({"at_once": (True,)}, "at_once has the value True"),
        ({"rounds": 0}, "rounds has the value 0, and must be a whole number from 1 to 100"),
        ({"max_tokens": 1}, "max_tokens has the value 1"),
        ({"loads": -1}, "loads has the value -1"),
        ({"lengths": (), "at_once": (), "loads": 0}, "the plan measures nothing"),
    ],
)
def test_an_impossible_plan_is_refused_with_the_value(fields: Dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match="^" + message.replace("(", r"\(")):
        Plan(**fields)
