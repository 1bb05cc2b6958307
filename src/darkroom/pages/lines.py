"""Charts of points and lines: metrics over epochs, accuracy over confidence."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from darkroom.pages.charts import WIDTH, Axes, colour, ticks
from darkroom.pages.document import Html, element, join

DASH = "5 4"


class Point(NamedTuple):
    """A point of a chart, with an interval of its y if there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that belong together; those with a NaN are gaps.

    Attributes
    ----------
    name : str
        Its text in the legend.
    points : sequence of Point
    colour : int
        Number of its colour.
    dashed : bool
        Whether its line is dashed.
    marked : float or None
        The x at which it has a ring.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    dashed: bool = False
    marked: float | None = None

    @property
    def stroke(self) -> str:
        """Its colour."""
        return colour(self.colour)


def line_chart(series: Sequence[Series], *, x_label: str, label: str, from_zero: bool = False, is_share: bool = False) -> Html:
    """Return lines over x, such as metrics over epochs, with a legend if there is more than one; what y is says the heading.

    Parameters
    ----------
    series
        At least one with a point that is finite.
    x_label
        Of the axis.
    label
        What y is, for those who cannot see the chart.
    from_zero
        Whether y begins with 0.
    is_share
        Whether y lies between 0 and 1.
    """
    points = [point for each in series for point in each.points if is_finite(point)]
    xs, ys = [point.x for point in points], [point.y for point in points]
    y_ticks = ticks(0.0 if from_zero else min(ys), max(ys))
    if is_share:  # a single value is in the middle of its ticks
        y_ticks = [value for value in y_ticks if -1e-9 <= value <= 1 + 1e-9]
    margin = 0.5 if min(xs) == max(xs) else 0.0
    x_range = (min(xs) - margin, max(xs) + margin)
    y_range = (min(y_ticks[0], *ys), max(y_ticks[-1], *ys))
    axes = Axes(x_range, y_range, x_ticks=ticks(min(xs), max(xs), whole=True), y_ticks=y_ticks)
    drawn = [part for each in series for part in _line(axes, each)]
    chart = axes.draw(f"{label} over {x_label}: {', '.join(each.name for each in series)}", x_label, None, *drawn)
    return join(legend(series) if len(series) > 1 else None, chart)


def is_finite(point: Point) -> bool:
    """Return whether a point can be drawn."""
    return math.isfinite(point.x) and math.isfinite(point.y)


def _line(axes: Axes, series: Series) -> Iterator[Html]:
    for run in _runs(series.points):
        places = [axes.at(point.x, point.y) for point in run]
        if len(places) == 1:
            yield element("circle", cx=places[0][0], cy=places[0][1], r=3, fill=series.stroke)
            continue
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield element(
            "path",
            d=path,
            fill="none",
            stroke=series.stroke,
            stroke_width=2,
            stroke_linejoin="round",
            stroke_dasharray=DASH if series.dashed else None,
        )
    for point in series.points:
        if point.x == series.marked and is_finite(point):
            x, y = axes.at(point.x, point.y)
            yield element("circle", cx=x, cy=y, r=5, fill="var(--card)", stroke=series.stroke, stroke_width=2.5)


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield the points that follow each other without a gap."""
    run: list[Point] = []
    for point in points:
        if is_finite(point):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def reliability_chart(series: Sequence[Series], *, x_label: str = "confidence", y_label: str = "accuracy") -> Html:
    """Return accuracy over confidence, both from 0 to 1, with the interval of each point, and the line where they are equal."""
    size, unit = (WIDTH, WIDTH - 40), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axes = Axes((0.0, 1.0), (0.0, 1.0), size, unit, unit)
    (x1, y1), (x2, y2) = axes.at(0, 0), axes.at(1, 1)
    parts = [element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="axis", stroke_dasharray="2 3")]
    for each in series:
        parts += _with_intervals(axes, each)
    chart = axes.draw(f"{y_label} over {x_label}: {', '.join(each.name for each in series)}", x_label, y_label, *parts)
    return join(legend(series) if len(series) > 1 else None, chart)


def _with_intervals(axes: Axes, series: Series) -> Iterator[Html]:
    """Yield points joined by a line, each with its interval; a dashed series has squares."""
    yield from _line(axes, series)
    for point in filter(is_finite, series.points):
        x, y = axes.at(point.x, point.y)
        if point.low is not None and point.high is not None:
            low, high = axes.at(point.x, point.low)[1], axes.at(point.x, point.high)[1]
            yield element("line", x1=x, x2=x, y1=low, y2=high, stroke=series.stroke, stroke_width=1.5, opacity=0.6)
        if series.dashed:
            yield element("rect", x=x - 3.5, y=y - 3.5, width=7, height=7, fill=series.stroke)
        else:
            yield element("circle", cx=x, cy=y, r=4, fill=series.stroke)


def legend(series: Sequence[Series]) -> Html:
    """Return what the colours and dashes of a chart mean."""
    return element("div", *(_entry(each) for each in series), class_="legend")


def _entry(series: Series) -> Html:
    line = element(
        "line", x1=0, x2=28, y1=6, y2=6, stroke=series.stroke, stroke_width=3, stroke_dasharray=DASH if series.dashed else None
    )
    sample = element("svg", line, viewBox="0 0 28 12", aria_hidden="true")
    return element("span", sample, element("bdi", series.name))
