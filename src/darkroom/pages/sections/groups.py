"""The section on groups and further columns of the source: where it is better and where worse."""

import math
from collections.abc import Sequence

import numpy as np

from darkroom.base.errors import InputError
from darkroom.metrics.predictions_file import GIVEN
from darkroom.pages.charts import HIGHEST_START, interval, ticks
from darkroom.pages.document import Content, Html, element, folded, join, name_of, paragraph, table
from darkroom.pages.sections.words import decimal
from darkroom.versions.damage import reading
from darkroom.versions.intervals import Interval, interval_in, wilson
from darkroom.versions.recorded import INTERVALS
from darkroom.versions.results import Results

FEW = 5  # images: of fewer nothing can be said
SHOWN = 12
MAX_COLUMNS = 6
Columns = dict[str, dict[str, tuple[int, Interval]]]
"""By column and value the number of images and the accuracy."""


def groups(found: Sequence[Results]) -> Html | None:
    """Draw the accuracy of every value of every column; None if the data have no columns."""
    drawn = []
    for results in found:
        try:
            by = recorded(results) or measured(results)
        except InputError:  # said where predictions matter more
            continue
        parts = [_one(name, values) for name, values in list(by.items())[:MAX_COLUMNS] if len(values) > 1]
        if parts:
            drawn.append(join(element("h3", name_of(results.name)) if len(found) > 1 else None, *parts))
    return join(*drawn) if drawn else None


def recorded(results: Results) -> Columns:
    """Return what evaluate measured; empty if it did not."""
    by = results.intervals.get("by")
    with reading(INTERVALS, results.revision):
        return {
            column: {value: (int(each["images"]), interval_in(each, "accuracy")) for value, each in values.items()}
            for column, values in (by or {}).items()
        }


def measured(results: Results) -> Columns:
    """Measure the accuracy of every value of every column of the predictions that has enough images."""
    test = results.predictions.get("test")
    found: Columns = {}
    if test is None:
        return found
    for column, values in test.columns.items():
        names, places = np.unique(
            np.array(["" if value is None else value for value in values], dtype=object), return_inverse=True
        )
        counts = np.bincount(places, minlength=len(names)).tolist()
        right = np.bincount(places, test.right, minlength=len(names)).tolist()
        of_value = zip(names.tolist(), counts, right, strict=True)
        found[column] = {name: (count, wilson(hits / count, count)) for name, count, hits in of_value if name and count >= FEW}
    return found


def _one(name: str, values: dict[str, tuple[int, Interval]]) -> Html:
    order = sorted(values, key=lambda value: (math.isnan(values[value][1].value), values[value][1].value, value))
    lows = [found.low for _, found in values.values() if math.isfinite(found.low)]
    start = max(0.0, min(ticks(min(lows, default=0.0), 1.0)[0], HIGHEST_START))
    rows: list[list[Content]] = []
    for value in order:
        count, found = values[value]
        ends = (found.low, found.high) if math.isfinite(found.low) else (None, None)
        rows.append([name_of(value), count, decimal(found.value, 3), interval(found.value, *ends, start=start)])
    header: list[Content] = ["value", "images", "accuracy", ""]
    rest = rows[SHOWN:]
    return join(
        paragraph("By ", element("b", name_of(name.removeprefix(GIVEN))), ", the worst first:"),
        table(header, rows[:SHOWN], texts=(0, 3)),
        folded(f"{len(rest)} more", table(header, rest, texts=(0, 3))) if rest else None,
        element("small", f"On an axis from {start:g} to 1; values with fewer than {FEW} images are not shown."),
    )
