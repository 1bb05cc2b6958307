"""The rows as points, accuracy against speed, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom.base import files
from darkroom.model_choice.results import Row, level, ranked

COLOURS = {"probe": "#0072b2", "partial": "#c77700", "lora": "#b0568a", "full": "#00805d"}
OTHER = "#555555"
NUM_TICKS = 8
# Ways of one network are equally fast: their points are drawn beside each other.
APART = 1.03


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG with the interval of each row; those that are level are filled, the proposed one is ringed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    order, unbeaten = ranked(rows), level(rows)
    figure = Figure(figsize=(9, max(4.5, 0.25 * len(rows) + 3)), dpi=100, layout="constrained")
    axes = figure.subplots()
    named: set[str] = set()
    seen: dict[str, int] = {}
    places: dict[Row, float] = {}
    for place, row in enumerate(order, start=1):
        low, high = row.interval
        seen[row.recipe.backbone] = seen.get(row.recipe.backbone, -1) + 1
        at = places[row] = row.images_per_second * APART ** seen[row.recipe.backbone]
        way, colour = row.recipe.way, COLOURS.get(row.recipe.way, OTHER)
        axes.errorbar(
            at,
            row.accuracy,
            yerr=[[max(0.0, row.accuracy - low)], [max(0.0, high - row.accuracy)]],
            color=colour,
            fmt="o",
            markersize=7,
            markerfacecolor=colour if row in unbeaten else "white",
            capsize=3,
            linewidth=1,
            label=way if way not in named else None,
        )
        named.add(way)
        axes.annotate(str(place), (at, row.accuracy), xytext=(7, 4), textcoords="offset points", fontsize=9)
    best = unbeaten[0]
    axes.plot(places[best], best.accuracy, "o", markersize=14, markerfacecolor="none", color="black", label="proposed")
    axes.set_xscale("log")
    speeds = [row.images_per_second for row in rows]
    ends = 0.8 * min(speeds), 1.3 * max(speeds)
    axes.set_xlim(*ends)
    # Between two powers of ten matplotlib would name none.
    axes.set_xticks(sorted({float(f"{speed:.2g}") for speed in np.geomspace(*ends, NUM_TICKS)[1:-1]}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("images/s of inference")
    axes.set_ylabel("accuracy, with 95 % intervals")
    axes.set_title("Accuracy against speed; rows as numbered in the table, filled: level with the best", loc="left", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", markerscale=0.6)
    with files.replaced_file(path) as temporary:
        figure.savefig(temporary, format="png")
