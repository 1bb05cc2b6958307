"""Charts as SVG inside the page, in the colours of page.css, so that they are dark where the page is. No library, no script.

A drawing is `WIDTH` units wide and shown at about that many pixels, on a phone as on a screen, so that its text stays readable.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from darkroom.pages.document import Content, Html, element, join

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 38  # for the labels of the axes
NUM_COLOURS = 8  # --c0 to --c7 of page.css
DASH = "5 4"
# The mean width of a character of 12 px, to cut texts by.
CHARACTER = 6.6
MAX_TICKS = 6
# Where the axis of small charts of intervals begins at most.
HIGHEST_START = 0.9


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


def colour(number: int) -> str:
    """Return a colour of page.css; after the last follows the first."""
    return f"var(--c{number % NUM_COLOURS})"


@dataclass(frozen=True)
class Axes:
    """The frame of a chart: where its values lie in the drawing.

    Attributes
    ----------
    x, y : (low, high)
        The values at its ends.
    size : (width, height)
        Of the drawing.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    size: tuple[int, int] = (WIDTH, HEIGHT)
    x_ticks: Sequence[float] = field(default=())
    y_ticks: Sequence[float] = field(default=())

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a value in the drawing."""
        return (
            _place(x, self.x, (LEFT, self.size[0] - RIGHT)),
            _place(y, self.y, (self.size[1] - BOTTOM, TOP)),
        )

    def draw(self, label: str, x_label: str, y_label: str | None, *content: Html) -> Html:
        """Return the drawing: grid, numbers, labels of the axes, and the content over them."""
        (width, height), bottom = self.size, self.size[1] - BOTTOM
        parts: list[Html] = []
        for value, text in zip(self.y_ticks, tick_texts(self.y_ticks), strict=True):
            y = self.at(self.x[0], value)[1]
            parts.append(element("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, class_="rule"))
            parts.append(_text(LEFT - 6, y + 4, text, anchor="end", class_="tick"))
        for value, text in zip(self.x_ticks, tick_texts(self.x_ticks), strict=True):
            x = self.at(value, self.y[0])[0]
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(_text(x, bottom + 17, text, class_="tick"))
        parts.append(element("line", x1=LEFT, x2=width - RIGHT, y1=bottom, y2=bottom, class_="axis"))
        parts.append(_text((LEFT + width - RIGHT) / 2, height - 4, x_label, class_="tick"))
        if y_label is not None:
            middle = (TOP + bottom) / 2
            parts.append(_text(12, middle, y_label, class_="tick", transform=f"rotate(-90 12 {middle:.0f})"))
        return drawing(self.size, label, *parts, *content)


def _place(value: float, values: tuple[float, float], places: tuple[float, float]) -> float:
    share = (value - values[0]) / (values[1] - values[0])
    return places[0] + share * (places[1] - places[0])


def drawing(size: tuple[int, int], label: str, *content: Content) -> Html:
    """Return an SVG, which says to those who cannot see it what it shows."""
    return element("svg", *content, viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=label)


def _text(x: float, y: float, content: Content, *, anchor: str = "middle", class_: str | None = None, **more: str) -> Html:
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_, **more)


def shortened(text: str, width: float) -> str:
    """Return a text that is at most about so many units wide, cut in its middle: the end of a name often tells names apart."""
    most = max(3, int(width / CHARACTER))
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"


def ticks(low: float, high: float, most: int = MAX_TICKS, *, whole: bool = False) -> list[float]:
    """Return round numbers from below `low` to above `high`: steps of 1, 2 or 5 times a power of ten.

    If `whole`, the steps are whole numbers, and all lie within.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    power = 10 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = max(1.0, factor * power) if whole else factor * power
        first, last = (
            (math.ceil(low / step), math.floor(high / step)) if whole else (math.floor(low / step), math.ceil(high / step))
        )
        if last - first + 1 <= most:
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Return numbers with the digits that tell them apart."""
    if not values:
        return []
    largest = max(map(abs, values))
    if largest and (largest < 0.001 or largest >= 1e6):
        return [f"{value:.3g}" for value in values]
    for digits in range(6):
        texts = [f"{value:.{digits}f}" for value in values]
        if all(math.isclose(float(text), value, abs_tol=1e-9) for text, value in zip(texts, values, strict=True)):
            break
    return texts


def line_chart(series: Sequence[Series], *, x_label: str, label: str, from_zero: bool = False, most: float | None = None) -> Html:
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
    most
        The largest value that y can have.
    """
    points = [point for each in series for point in each.points if is_finite(point)]
    xs, ys = [point.x for point in points], [point.y for point in points]
    y_ticks = ticks(0.0 if from_zero else min(ys), max(ys))
    y_ticks = [value for value in y_ticks if most is None or value <= most + 1e-9] or [0.0, 1.0]
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


def interval(value: float, low: float | None, high: float | None, *, start: float, number: int = 0) -> Html | None:
    """Return a small chart for a cell of a table: a dot with its interval, on an axis from `start` to 1; None without a value."""
    if not math.isfinite(value):
        return None
    width, height = 120, 14

    def at(each: float) -> float:
        return _place(min(max(each, start), 1.0), (start, 1.0), (5, width - 5))

    parts = [element("line", x1=5, x2=width - 5, y1=7, y2=7, class_="rule")]
    if low is not None and high is not None:
        parts.append(element("line", x1=at(low), x2=at(high), y1=7, y2=7, stroke=colour(number), stroke_width=3, opacity=0.55))
    parts.append(element("circle", cx=at(value), cy=7, r=4, fill=colour(number)))
    label = f"{value:.3f}" if low is None or high is None else f"{value:.3f}, {low:.3f} to {high:.3f}"
    return element("div", drawing((width, height), label, *parts), class_="range")


def bar(parts: Sequence[float], most: float) -> Html:
    """Return a bar for the cell of a table: parts beside each other, the whole width being `most`."""
    shares = [100 * part / most if most > 0 else 0 for part in parts]
    pieces = [element("span", style=f"width:{share:.2f}%;background:{colour(number)}") for number, share in enumerate(shares)]
    return element("div", *pieces, class_="bar")


def legend(series: Sequence[Series]) -> Html:
    """Return what the colours and dashes of a chart mean."""
    return element("div", *(_entry(each) for each in series), class_="legend")


def _entry(series: Series) -> Html:
    line = element(
        "line", x1=0, x2=28, y1=6, y2=6, stroke=series.stroke, stroke_width=3, stroke_dasharray=DASH if series.dashed else None
    )
    sample = element("svg", line, viewBox="0 0 28 12", aria_hidden="true")
    return element("span", sample, element("bdi", series.name))


@dataclass(frozen=True)
class Spot:
    """A point of a map: its place, number of its colour, whether it is ringed."""

    x: float
    y: float
    colour: int
    ringed: bool = False


def map_chart(spots: Sequence[Spot], labels: Sequence[tuple[float, float, str]], *, label: str) -> Html:
    """Return points on a plane without axes, ringed ones on top, and texts over them.

    Parameters
    ----------
    spots
        The points, in any unit.
    labels
        Place and text, in the same unit.
    label
        What it shows, for those who cannot see it.
    """
    size, edge = (WIDTH, WIDTH), 14
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    # The same unit for both directions.
    extent = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    scale = (WIDTH - 2 * edge) / extent
    left, top = (WIDTH - scale * (min(xs) + max(xs))) / 2, (WIDTH - scale * (min(ys) + max(ys))) / 2
    parts = []
    for spot in sorted(spots, key=lambda spot: spot.ringed):
        ring = {"stroke": "var(--ink)", "stroke_width": 1.5} if spot.ringed else {}
        place = {"cx": round(left + scale * spot.x, 1), "cy": round(top + scale * spot.y, 1)}
        parts.append(
            element(
                "circle", **place, r=4.5 if spot.ringed else 3, fill=colour(spot.colour), **ring, opacity=None if ring else 0.75
            )
        )
    for x, y, text in labels:
        short = shortened(text, WIDTH / 3)
        half = len(short) * CHARACTER / 2
        at = min(max(left + scale * x, half), WIDTH - half)
        parts.append(_text(at, top + scale * y + 4, short, class_="over"))
    return drawing(size, label, *parts)
