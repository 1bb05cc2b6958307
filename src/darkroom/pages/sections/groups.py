"""The section on groups and further columns of the source: where it is better and where worse."""

from collections.abc import Sequence

import numpy as np

from darkroom.base.errors import InputError
from darkroom.metrics.predictions_file import GIVEN
from darkroom.pages.charts import interval
from darkroom.pages.document import Content, Html, element, folded, join, name_of, paragraph, table
from darkroom.pages.results import Results, wilson
from darkroom.pages.sections.words import decimal

FEW = 5  # images: of fewer nothing can be said
SHOWN = 12
MAX_COLUMNS = 6


def groups(found: Sequence[Results]) -> Html | None:
    """Draw the accuracy of every value of every column; None if the data have no columns."""
    drawn = []
    for results in found:
        try:
            tables = _columns(results)
        except InputError:  # said where predictions matter more
            continue
        if tables:
            drawn.append(join(element("h3", name_of(results.name)) if len(found) > 1 else None, *tables))
    return join(*drawn) if drawn else None


def _columns(results: Results) -> list[Html]:
    test = results.predictions.get("test")
    if test is None:
        return []
    shown = [(name, _one(values, test.right)) for name, values in list(test.columns.items())[:MAX_COLUMNS]]
    return [
        join(paragraph("By ", element("b", name_of(name.removeprefix(GIVEN))), ", the worst first:"), drawn)
        for name, drawn in shown
        if drawn is not None
    ]


def _one(values: Sequence[str | None], right: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Html | None:
    """Return the table of one column; None if it says nothing: one value only, or few images of each."""
    texts = np.array(["" if value is None else value for value in values], dtype=object)
    names, places = np.unique(texts, return_inverse=True)
    counts = np.bincount(places, minlength=len(names))
    shares = np.bincount(places, right, minlength=len(names)) / counts
    enough = np.flatnonzero(counts >= FEW)
    if len(names) < 2 or not len(enough):
        return None
    rows: list[list[Content]] = []
    for place in enough[np.argsort(shares[enough], kind="stable")].tolist():
        found = wilson(float(shares[place]), int(counts[place]))
        rows.append(
            [
                name_of(names[place]) if names[place] else "(empty)",
                int(counts[place]),
                decimal(found.value, 3),
                interval(*found, start=0.0),
            ]
        )
    header: list[Content] = ["value", "images", "accuracy", ""]
    rest = rows[SHOWN:]
    few = len(names) - len(enough)
    return join(
        table(header, rows[:SHOWN], texts=(0, 3)),
        folded(f"{len(rest)} more", table(header, rest, texts=(0, 3))) if rest else None,
        element("small", f"{few} with fewer than {FEW} images are not shown.") if few else None,
    )
