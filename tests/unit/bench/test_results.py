from __future__ import annotations

import math
from typing import Any, Dict

import pytest

from localproviders.bench import Cell, Environment, Figure, Results
from localproviders.bench.results import METRICS
from tests.support.bench import figure, results


def test_a_figure_has_median_and_range() -> None:
    odd, even = figure(3, 1, 2), figure(4, 1, 2, 3)
    assert (odd.median, odd.low, odd.high) == (2, 1, 3)
    assert even.median == 2.5


def test_a_figure_writes_its_summary_and_reads_its_values() -> None:
    data = figure(3, 1, 2).to_dict()
    assert data == {"median": 2, "low": 1, "high": 3, "values": [3, 1, 2]}
    assert Figure.from_dict(data) == figure(3, 1, 2)


@pytest.mark.parametrize(
    "values", [(), (-1.0,), (math.nan,), (math.inf,), ("1",), (True,), "12", 3]
)
def test_a_figure_refuses_what_is_no_measurement(values: Any) -> None:
    with pytest.raises(ValueError):
        Figure(values=values)


def test_results_survive_their_dictionary() -> None:
    made = results()
    assert Results.from_dict(made.to_dict()) == made


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "speed"}, "kind is 'speed'"),
        ({"kind": "prompt", "size": -1}, "size is -1"),
        ({"kind": "prompt", "size": None}, "size is None"),
        ({"kind": "prompt", "prompt_tokens": 1.5}, "prompt_tokens is 1.5"),
        ({"kind": "prompt", "figures": {"speed": figure(1)}}, "there is no figure 'speed'"),
    ],
)
def test_a_cell_refuses_unknown_kinds_and_wrong_numbers(
    fields: Dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Cell(**fields)


def test_figures_of_a_cell_cannot_be_changed() -> None:
    cell = Cell(kind="load", figures={"load_s": figure(1)})
    with pytest.raises(TypeError):
        cell.figures["load_s"] = figure(2)  # type: ignore[index]  # the test writes to it


@pytest.mark.parametrize(
    "fields", [{"model": 3}, {"cpu_count": "2"}, {"is_local": 1}, {"context_length": 1.5}]
)
def test_an_environment_refuses_values_of_other_types(fields: Dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name} is"):
        Environment(**fields)


def test_texts_are_put_on_one_line() -> None:
    assert Environment(model="a\nb\x1b[31m").model == r"a\nb\x1b[31m"
    assert Cell(kind="load", notes=("a\nb",)).notes == (r"a\nb",)


def test_cells_of_a_kind_are_sorted() -> None:
    made = Results(cells=tuple(Cell(kind="prompt", size=size) for size in (512, 128)))
    assert [cell.size for cell in made.of_kind("prompt")] == [128, 512]
    assert made.is_empty and not results().is_empty


def test_every_metric_has_its_unit_in_its_name() -> None:
    assert all(name.endswith(("_s", "_per_s")) for name in METRICS)
    assert all(is_better == name.endswith("_per_s") for name, is_better in METRICS.items())
