"""Line charts as PNG, drawn without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.base import files

Lines = Mapping[str, Sequence[float]]
WIDTH_INCHES, HEIGHT_INCHES, DPI = 9.0, 2.2, 100


def draw_lines(
    path: Path, x: Sequence[float], panels: Mapping[str, Lines], *, x_label: str, log_x: bool = False, mark: float | None = None
) -> None:
    """Write a PNG of panels above each other that share x.

    Parameters
    ----------
    path
        The file.
    x
        (n,) numbers.
    panels
        Label of the y axis to its lines by name, (n,) numbers each; NaN leaves a gap.
    x_label
        Label of the x axis.
    log_x
        Whether x is logarithmic.
    mark
        Value of x to draw a vertical line at.
    """
    # Imported here, since it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, max(HEIGHT_INCHES * len(panels), 3.5)), dpi=DPI, layout="constrained")
    all_axes: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, lines) in zip(all_axes, panels.items(), strict=True):
        for name, values in lines.items():
            axes.plot(x, values, label=name, linewidth=1.2)
        if mark is not None:
            axes.axvline(mark, color="black", linestyle="--", linewidth=1, label=f"{mark:.4g}")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.set_xscale("log" if log_x else "linear")
        if len(lines) > 1 or mark is not None:
            axes.legend(fontsize="small")
    all_axes[-1].set_xlabel(x_label)
    with files.replaced_file(path) as temporary:
        figure.savefig(temporary, format="png")
