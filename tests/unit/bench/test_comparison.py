from __future__ import annotations

import pytest

from localproviders.bench import Change, Comparison, compare
from tests.support.bench import figure, results


def _change(metric: str, before: tuple, after: tuple) -> Change:  # type: ignore[type-arg]  # Python 3.8
    return Change(
        kind="prompt", size=128, metric=metric, before=figure(*before), after=figure(*after)
    )


def test_the_ratio_is_of_the_medians() -> None:
    assert _change("first_token_s", (2, 4, 6), (1, 2, 3)).ratio == 0.5
    assert _change("first_token_s", (0,), (1,)).ratio is None


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        ("first_token_s", (4, 4, 5, 5), (1, 2, 2, 3), "faster"),
        ("first_token_s", (1, 2, 2, 3), (4, 4, 5, 5), "slower"),
        ("total_tokens_per_s", (4, 4, 5, 5), (1, 2, 2, 3), "slower"),
        ("total_tokens_per_s", (1, 2, 2, 3), (4, 4, 5, 5), "faster"),
        ("first_token_s", (4, 4, 5, 5), (1, 2, 2, 4), ""),  # they touch
        ("first_token_s", (4, 5, 5), (1, 2, 3), ""),  # by chance in 10 % of the cases
        ("first_token_s", (5,), (1,), ""),
        ("first_token_s", (4, 4, 5, 5, 5, 5), (1, 2, 3), "faster"),  # by chance in 2.4 %
    ],
)
def test_a_change_is_marked_where_the_spreads_do_not_overlap(
    metric: str,
    before: tuple,  # type: ignore[type-arg]  # Python 3.8
    after: tuple,  # type: ignore[type-arg]
    verdict: str,
) -> None:
    assert _change(metric, before, after).verdict == verdict


def test_equal_results_have_no_clear_change_and_no_difference() -> None:
    found = compare(results(), results(measured_at="2027-01-01T00:00:00Z"))
    assert {change.ratio for change in found.changes} == {1}
    assert not any(change.is_clear for change in found.changes)
    assert (found.differences, found.missing) == ((), ())


def test_twice_the_speed_is_faster_in_every_figure() -> None:
    found = compare(results(), results(speed=2))
    assert {change.verdict for change in found.changes} == {"faster"}
    assert len(found.changes) == 1 + 3 * 3 + 4 * 3
    change = found.find("at_once", 8, "total_tokens_per_s")
    assert change is not None and change.ratio == pytest.approx(2)
    assert found.find("at_once", 9, "total_tokens_per_s") is None


def test_another_model_or_server_is_named() -> None:
    found = compare(results(), results(model="qwen3", digest=None, server_version="0.41.0"))
    assert found.differences == (
        "server version: 0.40.5 before, 0.41.0 now",
        "model: llama3.2 before, qwen3 now",
        "digest: abc123 before, unknown now",
    )


def test_a_cell_that_only_one_has_is_named() -> None:
    new = results()
    cells = tuple(cell for cell in new.cells if cell.key not in (("load", 0), ("prompt", 512)))
    missing = compare(results(), new.replace(cells=cells)).missing
    assert missing[0] == "only before: load: load s"
    assert missing[1].startswith("only before: prompt of 512 tokens: first token s, prompt tokens")
    assert compare(new.replace(cells=cells), results()).missing[0].startswith("only now: load")


def test_a_comparison_survives_its_dictionary() -> None:
    found = compare(results(), results(speed=2, model="x"))
    assert Comparison.from_dict(found.to_dict()) == found
