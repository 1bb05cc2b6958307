"""Charts of a search: values by trial with the best so far, and values over those of a key. In the colours of the pages."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from darkroom.pages import charts
from darkroom.pages.document import Html, element, join
from darkroom.search.results import Step

# A finished trial, one that ended early, the best.
FINISHED, PRUNED = "var(--c0)", "var(--soft)"
RADIUS, BEST_RADIUS = 4, 6
# More categories than this have no room for their names.
MAX_NAMED = 8


class Dot(NamedTuple):
    """A trial in a chart.

    Attributes
    ----------
    x
        Its value of a key, or its number.
    y
        Its value of a metric.
    name
        Of its experiment.
    is_finished, is_best
        A pruned trial is grey; the best one has a ring.
    """

    x: Any
    y: float
    name: str
    is_finished: bool = True
    is_best: bool = False


class Scale(NamedTuple):
    """Where the values of x stand: numbers as they are or by their logarithm, categories beside each other."""

    values: tuple[float, float]
    ticks: list[tuple[float, str]]
    categories: list[Any]
    is_log: bool = False

    def at(self, value: Any) -> float:
        """Return the place of a value in the unit of `values`."""
        if self.categories:
            return float(self.categories.index(value))
        return math.log10(value) if self.is_log else float(value)


def scale_of(values: Sequence[Any], *, categories: Sequence[Any] = (), names: Sequence[str] = (), is_log: bool = False) -> Scale:
    """Return the scale of a key.

    Parameters
    ----------
    values
        Those of the trials.
    categories, names
        All values of a categorical key, in the order of the space, and how they are called.
    is_log
        Whether numbers stand by their logarithm.
    """
    if categories:
        room = (charts.WIDTH - charts.LEFT - charts.RIGHT) / len(categories)
        shown = [charts.shortened(name, room) for name in names] if len(categories) <= MAX_NAMED else []
        return Scale((-0.5, len(categories) - 0.5), [(float(place), name) for place, name in enumerate(shown)], list(categories))
    low, high = float(min(values)), float(max(values))
    if is_log:
        ticks = _powers(low, high)
        ends = [math.log10(low), math.log10(high)]
        margin = 0.05 * (ends[1] - ends[0]) or 0.5
        return Scale((ends[0] - margin, ends[1] + margin), [(math.log10(each), f"{each:.3g}") for each in ticks], [], is_log=True)
    whole = all(float(value).is_integer() for value in values)
    margin = 0.05 * (high - low) or 0.5
    ticks = [tick for tick in charts.ticks(low, high, whole=whole) if low - margin <= tick <= high + margin]
    return Scale((low - margin, high + margin), list(zip(ticks, charts.tick_texts(ticks), strict=True)), [])


def _powers(low: float, high: float) -> list[float]:
    """Return round numbers between two positive ones: powers of ten, with their double and fivefold if there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(found) >= 3:
            return found
    return found if len(found) >= 2 else sorted({low, high})


def scatter(dots: Sequence[Dot], scale: Scale, *, x_label: str, y_label: str, behind: Sequence[Html] = ()) -> Html:
    """Return trials over x; the name of a trial is shown under the mouse."""
    y_ticks = charts.ticks(min(dot.y for dot in dots), max(dot.y for dot in dots))
    axes = _axes(scale, y_ticks)
    bottom = charts.HEIGHT - charts.BOTTOM
    parts = [*behind]
    for value, text in scale.ticks:
        x = axes.at(value, axes.y[0])[0]
        parts.append(element("text", text, x=x, y=bottom + 17, text_anchor="middle", class_="tick"))
    for dot in sorted(dots, key=lambda dot: (dot.is_best, dot.is_finished)):
        x, y = axes.at(scale.at(dot.x), dot.y)
        ring: dict[str, str | int] = {"stroke": "var(--ink)", "stroke_width": 2} if dot.is_best else {}
        name = element("title", f"{dot.name}: {dot.y:.4g}")
        colour = FINISHED if dot.is_finished else PRUNED
        radius = BEST_RADIUS if dot.is_best else RADIUS
        parts.append(element("circle", name, cx=x, cy=y, r=radius, fill=colour, opacity=None if dot.is_best else 0.8, **ring))
    return axes.draw(f"{y_label} over {x_label} of {len(dots)} trials", x_label, None, *parts)


def _axes(scale: Scale, y_ticks: Sequence[float]) -> charts.Axes:
    return charts.Axes(scale.values, (y_ticks[0], y_ticks[-1]), y_ticks=y_ticks)


def history_chart(steps: Sequence[Step], dots: Sequence[Dot], *, metric: str) -> Html:
    """Return the values by trial, and the best so far as a line of steps."""
    scale = scale_of([dot.x for dot in dots])
    axes = _axes(scale, charts.ticks(min(dot.y for dot in dots), max(dot.y for dot in dots)))
    line: list[str] = []
    for step in steps:
        x, y = axes.at(float(step.trial), step.best)
        line.append(f"M{x:.1f} {y:.1f}" if not line else f"H{x:.1f}V{y:.1f}")
    best = element("path", d="".join(line), fill="none", stroke="var(--c1)", stroke_width=2)
    return join(scatter(dots, scale, x_label="trial", y_label=metric, behind=[best]))
