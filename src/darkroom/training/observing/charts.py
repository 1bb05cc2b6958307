"""Line charts as PNG, drawn by Pillow: importing matplotlib for one takes a tenth of a short training's processor time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from darkroom.base import files

Lines = Mapping[str, Sequence[float]]
# Pixels: of the image, of a panel with what stands above and below it, and of what stands around its frame.
WIDTH, HEIGHT, HEADER, FOOTER = 900, 220, 34, 26
LEFT, RIGHT, TOP, BOTTOM = 86, 16, 24, 24
# Drawn larger and reduced, which smooths the lines.
ENLARGED = 2
FONT_SIZE, TITLE_SIZE = 13, 15
INK, GRID, FRAME = "#222222", "#dddddd", "#888888"
# Okabe and Ito's, which the colour-blind tell apart; darkened where white asks for it, as on the pages.
COLOURS = ("#0072b2", "#c77700", "#00805d", "#b0568a")
# With more points a marker on each hides the line.
MAX_MARKED = 40
MAX_TICKS = 6
# What an axis leaves free beside the outermost values, as a share of its length.
MARGIN = 0.05
# A line at 100 is seen whole.
PERCENT = (0.0, 103.0)


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes
    ----------
    low, high : float
        The values at its ends.
    label : str
        What they are, with their unit.
    is_log : bool
        Whether it is logarithmic.
    """

    low: float
    high: float
    label: str
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the axis a value stands: 0 at its start, 1 at its end."""
        low, high, value = (math.log10(each) if self.is_log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round values along the axis: powers of ten on a logarithmic one, and 2 and 5 times these on a short one."""
        if self.is_log:
            exponents = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            powers = [10.0**exponent for exponent in exponents if 10.0**exponent >= self.low]
            if len(powers) > 1:
                return powers[:: math.ceil(len(powers) / MAX_TICKS)]
            values = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
            return [value for value in values if self.low <= value <= self.high]
        smallest = (self.high - self.low) / MAX_TICKS
        power = 10.0 ** math.floor(math.log10(smallest))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= smallest * (1 - 1e-9))
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Panel:
    """A frame with lines in it: y, and (n,) numbers of each line by its name."""

    y: Axis
    lines: Lines


@dataclass(frozen=True)
class Chart:
    """Panels above each other that share x: (n,) numbers. `mark` is the value of x of a vertical line."""

    title: str
    values: Sequence[float]
    x: Axis
    panels: list[Panel]
    mark: float | None


def draw_lines(
    path: Path,
    x: Sequence[float],
    panels: Mapping[str, Lines],
    *,
    title: str,
    x_label: str,
    log_x: bool = False,
    from_zero: bool = False,
    mark: float | None = None,
) -> None:
    """Write a PNG of panels above each other that share x.

    Parameters
    ----------
    path
        The file.
    x
        (n,) numbers.
    panels
        Label of the y axis to its lines by name, (n,) numbers each; NaN leaves a gap. An axis called "%" ends at 100.
    title
        What the chart shows.
    x_label
        Label of the x axis, with its unit.
    log_x
        Whether x is logarithmic.
    from_zero
        Whether y axes start at 0.
    mark
        Value of x to draw a vertical line at.
    """
    laid_out = [
        Panel(_axis(label, [value for line in lines.values() for value in line], from_zero=from_zero), lines)
        for label, lines in panels.items()
    ]
    across = _axis(x_label, [*x, *([] if mark is None else [mark])], is_log=log_x)
    with files.replaced_file(path) as temporary:
        render(Chart(title, x, across, laid_out, mark)).save(temporary, format="PNG")


def _axis(label: str, values: Sequence[float], *, is_log: bool = False, from_zero: bool = False) -> Axis:
    """Return the axis on which finite values are seen."""
    if label == "%":
        return Axis(*PERCENT, label)
    finite = [math.log10(value) if is_log else value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    low = 0.0 if from_zero else low
    margin = MARGIN * (high - low) or MARGIN * abs(high) or MARGIN
    low, high = low - margin, high + margin
    if is_log:
        return Axis(10**low, 10**high, label, is_log=True)
    return Axis(0.0 if from_zero else low, high, label)


def render(chart: Chart) -> Image.Image:
    """Return the drawing of a chart."""
    size = (WIDTH * ENLARGED, (HEADER + HEIGHT * len(chart.panels) + FOOTER) * ENLARGED)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.text((LEFT * ENLARGED, HEADER * ENLARGED // 2), chart.title, INK, _font(TITLE_SIZE), anchor="lm")
    for number, panel in enumerate(chart.panels):
        top = (HEADER + HEIGHT * number) * ENLARGED
        frame = (LEFT * ENLARGED, top + TOP * ENLARGED, size[0] - RIGHT * ENLARGED, top + (HEIGHT - BOTTOM) * ENLARGED)
        _draw_panel(image, chart, panel, frame)
    pen.text((size[0] // 2, size[1] - FOOTER * ENLARGED // 2), chart.x.label, INK, _font(FONT_SIZE), anchor="mm")
    return image.reduce(ENLARGED)


def _draw_panel(image: Image.Image, chart: Chart, panel: Panel, frame: tuple[int, int, int, int]) -> None:
    """Draw a panel whose frame is (left, top, right, bottom)."""
    pen, (left, top, right, bottom), font = ImageDraw.Draw(image), frame, _font(FONT_SIZE)

    def across(value: float) -> float:
        return left + chart.x.share(value) * (right - left)

    def up(value: float) -> float:
        return bottom - panel.y.share(value) * (bottom - top)

    for value in chart.x.ticks():
        pen.line((across(value), top, across(value), bottom), GRID, ENLARGED)
        pen.text((across(value), bottom + 4 * ENLARGED), f"{value:.6g}", INK, font, anchor="mt")
    for value in panel.y.ticks():
        pen.line((left, up(value), right, up(value)), GRID, ENLARGED)
        pen.text((left - 5 * ENLARGED, up(value)), f"{value:.6g}", INK, font, anchor="rm")
    pen.rectangle(frame, outline=FRAME, width=ENLARGED)
    for place, values in enumerate(panel.lines.values()):
        colour = COLOURS[place % len(COLOURS)]
        for part in _parts(chart.values, values):
            points = [(across(x), up(y)) for x, y in part]
            pen.line(points, colour, 2 * ENLARGED, joint="curve")
            for x, y in points if len(chart.values) <= MAX_MARKED else []:
                pen.circle((x, y), 2.5 * ENLARGED, colour)
    if chart.mark is not None:
        for y in range(top, bottom, 10 * ENLARGED):
            pen.line((across(chart.mark), y, across(chart.mark), min(y + 6 * ENLARGED, bottom)), "black", ENLARGED)
    _draw_legend(pen, chart, panel, (right, top - TOP * ENLARGED // 2))
    _draw_upright(image, panel.y.label, (0, (top + bottom) // 2))


def _parts(x: Sequence[float], values: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of a line between its gaps, as points."""
    part: list[tuple[float, float]] = []
    for point in zip(x, values, strict=True):
        if all(map(math.isfinite, point)):
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _draw_legend(pen: ImageDraw.ImageDraw, chart: Chart, panel: Panel, corner: tuple[int, int]) -> None:
    """Name the lines above a panel, from its right corner on: one alone is what the axis says."""
    names = [(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(panel.lines)]
    if chart.mark is not None:
        names.append((f"{chart.mark:.4g}", "black"))
    right, middle = corner
    for name, colour in reversed(names) if len(names) > 1 else []:
        pen.text((right, middle), name, INK, _font(FONT_SIZE), anchor="rm")
        right -= round(_font(FONT_SIZE).getlength(name)) + 5 * ENLARGED
        pen.line((right - 20 * ENLARGED, middle, right, middle), colour, 2 * ENLARGED)
        right -= 36 * ENLARGED


def _draw_upright(image: Image.Image, label: str, place: tuple[int, int]) -> None:
    """Draw a label from bottom to top, its lines from left to right; `place` is the middle of its left side."""
    font = _font(FONT_SIZE)
    box = ImageDraw.Draw(image).multiline_textbbox((0, 0), label, font, align="center")
    flat = Image.new("RGB", (math.ceil(box[2]), math.ceil(box[3]) + 2 * ENLARGED), "white")
    ImageDraw.Draw(flat).multiline_text((0, 0), label, INK, font, align="center")
    turned = flat.rotate(90, expand=True)
    image.paste(turned, (place[0] + 6 * ENLARGED, place[1] - turned.height // 2))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font inside Pillow, which has ASCII."""
    return ImageFont.load_default(size * ENLARGED)
