from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple
from xml.etree import ElementTree

import pytest

from localproviders.bench.plots import Chart, Series, draw
from tests.support.bench import figure


def _svg(*series: Series, **changes: Any) -> ElementTree.Element:
    fields: Dict[str, Any] = {
        "name": "c",
        "title": "A title & more",
        "description": "1: 2 s",
        "x_label": "Size",
        "y_label": "Seconds",
        "series": series,
    }
    text = draw(Chart(**{**fields, **changes}))
    return ElementTree.fromstring(text)


def _ticks(svg: ElementTree.Element) -> List[str]:
    return [each.text or "" for each in svg.iter("text") if each.get("text-anchor") == "end"]


def _series(*points: Tuple[float, Any], **changes: Any) -> Series:
    return Series(**{"name": "", "style": "one", "points": points, **changes})


def test_a_chart_is_well_formed_and_has_a_title_for_screen_readers() -> None:
    svg = _svg(_series((1, figure(1, 2)), (2, figure(3))))
    assert svg.get("role") == "img"
    names = str(svg.get("aria-labelledby")).split()
    assert [svg.find(f".//*[@id='{name}']").text for name in names] == ["A title & more", "1: 2 s"]  # type: ignore[union-attr]  # they exist


def test_both_axes_have_labels() -> None:
    texts = [each.text for each in _svg(_series((1, figure(1)))).iter("text")]
    assert {"Size", "Seconds"} <= {*texts}


def test_higher_values_are_higher_and_the_axis_begins_at_zero() -> None:
    svg = _svg(_series((1, figure(2)), (2, figure(4))))
    low, high = (float(each.get("cy", "")) for each in svg.iter("circle"))
    zero = max(
        float(each.get("y1", "")) for each in svg.iter("line") if each.get("class") == "axis"
    )
    assert (zero - high) == pytest.approx(2 * (zero - low), abs=0.2)
    assert _ticks(svg)[0] == "0"


def test_the_spread_is_drawn_from_the_lowest_to_the_highest_value() -> None:
    svg = _svg(_series((1, figure(2, 3, 4)), (2, figure(4))))
    (bar,) = [each for each in svg.iter("line") if "range" in str(each.get("class"))]
    circles = {float(each.get("cy", "")) for each in svg.iter("circle")}
    assert (
        float(bar.get("y1", "")) > float(bar.get("y2", "")) and float(bar.get("y2", "")) in circles
    )


def test_points_of_a_doubling_axis_are_equally_far_apart() -> None:
    svg = _svg(_series(*((x, figure(1)) for x in (1, 2, 4, 8))), is_doubling=True)
    xs = [float(each.get("cx", "")) for each in svg.iter("circle")]
    steps = [b - a for a, b in zip(xs, xs[1:])]
    assert max(steps) - min(steps) < 0.3


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0.0123, ["0", "0.005", "0.01", "0.015"]),
        (3.9, ["0", "1", "2", "3", "4", "5"]),
        (88, ["0", "20", "40", "60", "80", "100"]),
        (123_456, ["0", "50k", "100k", "150k"]),
        (0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_the_ticks_are_round_numbers(highest: float, ticks: List[str]) -> None:
    assert _ticks(_svg(_series((1, figure(highest)), (2, figure(highest / 2))))) == ticks


def test_labels_of_neighbouring_sizes_do_not_touch() -> None:
    sizes = (32, 33, 34, 64, 4096)
    svg = _svg(_series(*((x, figure(1)) for x in sizes)))
    places = {
        each.text: float(each.get("x", ""))
        for each in svg.iter("text")
        if (each.text or "").isdigit()
    }
    assert "4096" in places
    xs = sorted(x for text, x in places.items() if text in {str(size) for size in sizes})
    assert all(b - a >= 26 for a, b in zip(xs, xs[1:]))


def test_names_of_close_lines_are_below_each_other() -> None:
    lines = [
        _series((1, figure(1.0)), (2, figure(value)), name=name)
        for name, value in (("a", 1.0), ("b", 1.01), ("c", 1.02))
    ]
    svg = _svg(*lines)
    places = {
        str(each.text): float(each.get("y", ""))
        for each in svg.iter("text")
        if str(each.text) in "abc"
    }
    assert sorted(places, key=places.__getitem__) == ["c", "b", "a"]
    assert all(b - a >= 14 for a, b in zip(*[sorted(places.values())[i:] for i in (0, 1)]))


def test_values_stand_beside_their_points_if_wanted() -> None:
    svg = _svg(_series((1, figure(1.234)), (2, figure(5)), has_values=True))
    texts = [each.text for each in svg.iter("text")]
    assert {"1.23", "5.00"} <= {*texts}


def test_everything_is_inside_the_drawing() -> None:
    series = _series((128, figure(1, 9)), (2048, figure(5)), name="each request", has_values=True)
    text = draw(Chart("c", "t", "d", "x", "y", [series]))
    for name, most in (("x", 360), ("cx", 360), ("x2", 360), ("y", 240), ("cy", 240), ("y2", 240)):
        numbers = [float(each) for each in re.findall(rf' {name}="(-?[\d.]+)"', text)]
        assert numbers and min(numbers) >= 0 and max(numbers) <= most
