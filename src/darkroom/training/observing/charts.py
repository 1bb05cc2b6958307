"""Line charts as PNG, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.base import files

Lines = Mapping[str, Sequence[float]]
WIDTH_INCHES, HEIGHT_INCHES, DPI = 9.0, 2.2, 100
# Okabe and Ito's, which the colour-blind tell apart; darkened where white asks for it, as on the pages.
COLOURS = ("#0072b2", "#c77700", "#00805d", "#b0568a")
# With more points a marker on each hides the line.
MAX_MARKED = 40


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
    # Imported here, since it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, max(HEIGHT_INCHES * len(panels), 3.5)), dpi=DPI, layout="constrained")
    all_axes: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    all_axes[0].set_title(title, loc="left", fontweight="bold")
    marker = "o" if len(x) <= MAX_MARKED else None
    for axes, (label, lines) in zip(all_axes, panels.items(), strict=True):
        axes.set_prop_cycle(color=COLOURS)
        for name, values in lines.items():
            axes.plot(x, values, label=name, linewidth=1.4, marker=marker, markersize=3)
        if mark is not None:
            axes.axvline(mark, color="black", linestyle="--", linewidth=1, label=f"{mark:.4g}")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.set_xscale("log" if log_x else "linear")
        if label == "%":
            axes.set_ylim(0, 103)  # a line at 100 is seen whole
        elif from_zero:
            axes.set_ylim(0, axes.get_ylim()[1])
        if len(lines) > 1 or mark is not None:
            axes.legend(fontsize="small")
    all_axes[-1].set_xlabel(x_label)
    with files.replaced_file(path) as temporary:
        figure.savefig(temporary, format="png")
