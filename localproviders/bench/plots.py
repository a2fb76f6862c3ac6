"""Line charts as inline SVG. Their colours are CSS classes in the style sheet of the page."""

from __future__ import annotations

import math
from html import escape
from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple

from localproviders.bench.results import Figure
from localproviders.bench.wording import number

# The drawing is as wide as the screen of a phone. So the text in a chart is not enlarged or reduced
# on a phone.
_WIDTH, _HEIGHT = 360, 240
_LEFT, _TOP, _BOTTOM = 40, 30, 200
# Right end of the axis: for lines without names, and for lines with names to the right of the axis.
_RIGHT, _RIGHT_OF_NAMED = 356.0, 270.0
# Distance of the outermost points from the ends of the axis.
_INSET = 14
# Smallest distance of the names of two lines.
_NAME_GAP = 14
# Smallest distance of two labels of the horizontal axis.
_LABEL_GAP = 26
# The vertical axis reaches at least to this multiple of the highest value, to leave space for
# labels.
_HEADROOM = 1.12
_MOST_TICKS = 5
# Relative rounding error that is ignored when the steps of an axis are computed.
_ROUNDING = 1e-9
# Height of a label, and width of one of its characters.
_LABEL_HEIGHT, _CHARACTER = 13, 6.6


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        name: The name to the right of the line; empty for none.
        style: Class of the colour: ``one``, ``two`` or ``old``.
        points: Each position on the horizontal axis, with the figure there.
        has_values: Whether each point is labelled with its median.
    """

    name: str
    style: str
    points: Sequence[Tuple[float, Figure]]
    has_values: bool = False

    @property
    def last(self) -> float:
        """The median of the last point."""
        return self.points[-1][1].median


class Chart(NamedTuple):
    """A chart of figures against a size.

    Attributes:
        name: Prefix of the ids of this chart, unique on the page.
        title: Title for screen readers.
        description: The numbers in words, for screen readers.
        x_label: Label of the horizontal axis, with its unit.
        y_label: Label of the vertical axis, with its unit.
        series: The lines.
        is_doubling: Whether the horizontal axis is logarithmic, with equal distances for each
            doubling.
    """

    name: str
    title: str
    description: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    is_doubling: bool = False


def draw(chart: Chart) -> str:
    """Return a chart as an ``svg`` element.

    The points are the medians of the rounds. A wide bar behind each point reaches from the lowest
    to the highest value.
    """
    xs = sorted({x for series in chart.series for x, _ in series.points})
    highest = max(figure.high for series in chart.series for _, figure in series.points)
    ticks = _ticks(highest * _HEADROOM)
    right = _RIGHT_OF_NAMED if any(series.name for series in chart.series) else _RIGHT
    place_x, place_y = _horizontal(xs, chart.is_doubling, right), _vertical(ticks[-1])
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-labelledby="{chart.name}-title {chart.name}-text">',
        f'<title id="{chart.name}-title">{escape(chart.title)}</title>',
        f'<desc id="{chart.name}-text">{escape(chart.description)}</desc>',
        *_grid(ticks, place_y, right),
        *_x_axis(xs, place_x),
        _text(0, 12, chart.y_label, "start"),
        _text((_LEFT + right) / 2, _HEIGHT - 4, chart.x_label, "middle"),
    ]
    for series in chart.series:
        parts += _lines(series, place_x, place_y)
    for series in chart.series:  # in front of all lines
        parts += _values(series, place_x, place_y)
    return "\n".join([*parts, *_names(chart.series, place_y, right), "</svg>"])


_Place = Callable[[float], float]


def _horizontal(xs: Sequence[float], is_doubling: bool, right: float) -> _Place:
    if is_doubling:
        first, last = math.log2(xs[0]), math.log2(xs[-1])
        width, span = right - _LEFT - 2 * _INSET, (last - first) or 1
        return lambda x: _LEFT + _INSET + (math.log2(x) - first) / span * width
    return lambda x: _LEFT + x / xs[-1] * (right - _INSET - _LEFT)


def _vertical(top: float) -> _Place:
    return lambda y: _BOTTOM - y / top * (_BOTTOM - _TOP)


def _ticks(highest: float) -> List[float]:
    """Return round numbers from 0 to the first one that is not below the highest value."""
    highest = highest or 1.0
    least = highest / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= least * (1 - _ROUNDING))
    return [step * index for index in range(math.ceil(highest / step - _ROUNDING) + 1)]


def _grid(ticks: Sequence[float], place: _Place, right: float) -> Iterator[str]:
    for tick in ticks:
        style = "grid" if tick else "axis"
        yield _line(style, _LEFT, place(tick), right, place(tick))
        yield _text(_LEFT - 6, place(tick) + 4, _tick_label(tick, ticks[1]), "end")


def _tick_label(tick: float, step: float) -> str:
    if step >= 1000:
        return f"{tick / 1000:g}k" if tick else "0"
    return f"{tick:.6g}"


def _x_axis(xs: Sequence[float], place: _Place) -> Iterator[str]:
    last = _WIDTH + _LABEL_GAP * 2.0
    for x in reversed(xs):  # the label of the largest size is the most important one
        yield _line("axis", place(x), _BOTTOM, place(x), _BOTTOM + 4)
        if last - place(x) >= _LABEL_GAP:
            yield _text(place(x), _BOTTOM + 17, f"{x:g}", "middle")
            last = place(x)


def _lines(series: Series, place_x: _Place, place_y: _Place) -> Iterator[str]:
    for x, figure in series.points:
        if len(figure.values) > 1:
            low, high = place_y(figure.low), place_y(figure.high)
            yield _line(f"range {series.style}", place_x(x), low, place_x(x), high)
    corners = " ".join(f"{place_x(x):.1f},{place_y(f.median):.1f}" for x, f in series.points)
    yield f'<polyline class="curve {series.style}" points="{corners}"/>'
    for x, figure in series.points:
        place = f'cx="{place_x(x):.1f}" cy="{place_y(figure.median):.1f}"'
        yield f'<circle class="{series.style}" {place} r="4"/>'


def _values(series: Series, place_x: _Place, place_y: _Place) -> Iterator[str]:
    """Yield the medians as labels, to the left of the points and above a rising line.

    A label that would cover the label of a point further to the right is left out.
    """
    placed: List[Tuple[float, float, float]] = []
    for x, figure in reversed(series.points) if series.has_values else ():
        label = number(figure.median)
        right, height = place_x(x) - 7, place_y(figure.median) - 6
        left = right - len(label) * _CHARACTER
        is_free = all(
            right < other_left or left > other_right or abs(height - other) >= _LABEL_HEIGHT
            for other_left, other_right, other in placed
        )
        if is_free:
            placed.append((left, right, height))
            yield _text(right, height, label, "end", f"value {series.style}")


def _names(series: Sequence[Series], place_y: _Place, right: float) -> Iterator[str]:
    """Yield the names of the lines, each beside the last point of its line, without overlaps."""
    named = sorted((each for each in series if each.name), key=lambda each: -each.last)
    lowest = float(_TOP - _NAME_GAP)
    for index, each in enumerate(named):
        below = len(named) - 1 - index
        height = min(place_y(each.last) + 4, _BOTTOM - below * _NAME_GAP)
        lowest = height = max(height, lowest + _NAME_GAP)
        yield _text(right + 6, height, each.name, "start", f"value {each.style}")


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="{style}" {ends}/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
