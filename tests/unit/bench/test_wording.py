from __future__ import annotations

import pytest

from localproviders.bench import Cell, Figure, Results
from localproviders.bench.wording import duration, number, rounds_of, size_of, spread
from tests.support.bench import figure, results


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.1534, "0.153"),
        (0.99949, "0.999"),
        (0.9996, "1.00"),
        (1.234, "1.23"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1234.4, "1234"),
        (9999.4, "9999"),
        (9999.6, "10.0k"),
        (45_300, "45.3k"),
        (2_000_000, "2000k"),
    ],
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (75, "75.0 s")]
)
def test_a_short_duration_is_in_milliseconds(value: float, text: str) -> None:
    assert duration(value) == text


def test_a_single_value_has_no_spread() -> None:
    assert (spread(figure(2)), spread(figure(2, 1))) == ("", "1.00-2.00")


def test_sizes_are_in_bytes_of_ten() -> None:
    assert size_of(16_500_000_000, "of memory") == "16.5 GB of memory"
    assert (size_of(246_587_904), size_of(None)) == ("246.6 MB", None)


def test_the_rounds_are_those_that_have_figures() -> None:
    def rounds(*numbers: int) -> str:
        cells = [
            Cell(kind="prompt", size=n, figures={"first_token_s": Figure(values=(1.0,) * n)})
            for n in numbers
        ]
        return rounds_of(Results(cells=(Cell(kind="load"), *cells)))

    assert (rounds(5, 5), rounds(3, 5, 4), rounds(1)) == ("5 rounds", "3 to 5 rounds", "1 round")
    assert rounds() == "no rounds"
    assert rounds_of(results(rounds=4)) == "4 rounds"
