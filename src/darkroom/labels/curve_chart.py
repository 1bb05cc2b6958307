"""The chart of a learning curve as PNG, drawn without a display."""

from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base import files
from darkroom.labels.curve import MEASURED, Curve, count_text, sentence
from darkroom.labels.power_law import TIMES


def draw_curve(path: Path, curve: Curve) -> None:
    """Write the chart as PNG: what was measured with intervals, the curves that agree with it, and twice the images."""
    # Imported here, since it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = Figure(figsize=(8.0, 4.6), dpi=110, layout="constrained")
    axes: Any = figure.subplots()
    measured = [point for point in curve.points if point.kind == MEASURED]
    x = np.array([point.per_class for point in measured])
    y = np.array([point.accuracy for point in measured])
    ends = np.array([[point.accuracy - point.low, point.high - point.accuracy] for point in measured]).T
    now = curve.now / curve.num_classes
    marks = {round(value, 3): count_text(value) for value in x}
    if not curve.forecast.doubt:
        marks[round(TIMES * now, 3)] = count_text(TIMES * now)
        counts = np.geomspace(x[0] * curve.num_classes, TIMES * curve.now, 80)
        low, middle, high = curve.forecast.accuracies(counts)
        each = counts / curve.num_classes
        is_known = each <= x[-1]
        axes.fill_between(each, low, high, color="#0072b2", alpha=0.15, linewidth=0, label="95 % of the curves that agree")
        axes.plot(each[is_known], middle[is_known], color="#0072b2", linewidth=1.4)
        axes.plot(each[~is_known], middle[~is_known], color="#0072b2", linewidth=1.4, linestyle="--", label="expected")
    axes.errorbar(x, y, yerr=ends, fmt="o", color="black", markersize=4, capsize=2, linewidth=1, label="measured, with 95 %")
    axes.axvline(now, color="#c77700", linestyle=":", linewidth=1.2, label=f"now: {count_text(now)} a class")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(marks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(list(marks.values()))
    axes.set_xlabel("training images a class")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    title = sentence(curve)
    axes.set_title(title[0].upper() + title[1:], loc="left", fontsize=10, fontweight="bold", wrap=True)
    figure.text(0.995, 0.005, f"features of {curve.backbone}", ha="right", va="bottom", fontsize=7, color="0.4")
    with files.replaced_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "./darkroom labels curve"})
