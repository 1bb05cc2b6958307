"""What charts are made of: SVG inside the page, in the colours of page.css, so that it is dark where the page is. No script.

A drawing is `WIDTH` units wide and shown at about that many pixels, on a phone as on a screen, so that its text stays readable.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from darkroom.pages.document import Content, Html, element

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 38  # for the labels of the axes
NUM_COLOURS = 8  # --c0 to --c7 of page.css
# The mean width of a character of 12 px, to cut texts by.
CHARACTER = 6.6
MAX_TICKS = 6
# Where the axis of small charts of intervals begins at most.
HIGHEST_START = 0.9


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
            place(x, self.x, (LEFT, self.size[0] - RIGHT)),
            place(y, self.y, (self.size[1] - BOTTOM, TOP)),
        )

    def draw(self, label: str, x_label: str, y_label: str | None, *content: Html) -> Html:
        """Return the drawing: grid, numbers, labels of the axes, and the content over them."""
        (width, height), bottom = self.size, self.size[1] - BOTTOM
        parts: list[Html] = []
        for value, words in zip(self.y_ticks, tick_texts(self.y_ticks), strict=True):
            y = self.at(self.x[0], value)[1]
            parts.append(element("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, class_="rule"))
            parts.append(text(LEFT - 6, y + 4, words, anchor="end", class_="tick"))
        for value, words in zip(self.x_ticks, tick_texts(self.x_ticks), strict=True):
            x = self.at(value, self.y[0])[0]
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(text(x, bottom + 17, words, class_="tick"))
        parts.append(element("line", x1=LEFT, x2=width - RIGHT, y1=bottom, y2=bottom, class_="axis"))
        parts.append(text((LEFT + width - RIGHT) / 2, height - 4, x_label, class_="tick"))
        if y_label is not None:
            middle = (TOP + bottom) / 2
            parts.append(text(12, middle, y_label, class_="tick", transform=f"rotate(-90 12 {middle:.0f})"))
        return drawing(self.size, label, *parts, *content)


def place(value: float, values: tuple[float, float], places: tuple[float, float]) -> float:
    """Return the place of a value between two ends."""
    share = (value - values[0]) / (values[1] - values[0])
    return places[0] + share * (places[1] - places[0])


def drawing(size: tuple[int, int], label: str, *content: Content) -> Html:
    """Return an SVG, which says to those who cannot see it what it shows."""
    return element("svg", *content, viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=label)


def text(x: float, y: float, content: Content, *, anchor: str = "middle", class_: str | None = None, **more: str) -> Html:
    """Return a text at a place."""
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


def interval(value: float, low: float | None, high: float | None, *, start: float, number: int = 0) -> Html | None:
    """Return a small chart for a cell of a table: a dot with its interval, on an axis from `start` to 1; None without a value."""
    if not math.isfinite(value):
        return None
    width, height = 120, 14

    def at(each: float) -> float:
        return place(min(max(each, start), 1.0), (start, 1.0), (5, width - 5))

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
