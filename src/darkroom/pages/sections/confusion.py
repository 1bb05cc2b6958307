"""The section on which classes are taken for which: a matrix, or of many classes the most frequent mistakes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.pages.charts import shortened
from darkroom.pages.document import Content, Html, columns, element, folded, join, name_of, paragraph, table
from darkroom.pages.sections.words import each, readable
from darkroom.versions.damage import reading
from darkroom.versions.recorded import EVALUATE
from darkroom.versions.results import Results

MAX_CLASSES = 30
MAX_PAIRS, FEW_PAIRS = 20, 8
HEADING = 120  # units of the name of a column
STRONGEST = 0.55  # opacity, at which text over it stays readable
FILE = f"{EVALUATE}/confusion.csv"
MULTILABEL = (
    "An image has any number of classes: the diagonal counts correct ones, the other cells images in which the class of the row "
    "was missed and that of the column was predicted wrongly."
)
Pair = tuple[int, int]


def confusion(found: Sequence[Results]) -> Html:
    """Draw matrices; of several revisions first the most frequent mistakes beside each other."""
    there, sentences = readable(found, cells)
    if len(found) == 1:
        return join(*each(found, _one))
    if not there:
        return join(*sentences)
    are_few = all(len(results.classes) <= MAX_CLASSES for results in there)
    matrices = [folded(join("Matrix of ", name_of(results.name)), _matrix(results)) for results in there] if are_few else []
    return join(*sentences, _beside(there), *matrices)


def cells(results: Results) -> dict[Pair, int]:
    """Return how many test images of one class were predicted to be another, or the same; without zeros."""
    rows = results.rows_of(FILE)
    with reading(FILE, results.revision):
        # The diagonal comes first and has every class in the order of the class list.
        names: dict[str, int] = {}
        for row in rows:
            if row["actual"] != row["predicted"]:
                break
            names.setdefault(row["actual"], len(names))
        counts = [(names[row["actual"]], names[row["predicted"]], int(row["count"])) for row in rows]
        if names and max(max(actual, predicted) for actual, predicted, _ in counts) >= len(results.classes):
            raise ValueError("it has other classes than the model")
        return {(actual, predicted): count for actual, predicted, count in counts if count}


def _one(results: Results) -> Html:
    note = paragraph(MULTILABEL) if results.task == "multilabel" else None
    if len(results.classes) <= MAX_CLASSES:
        return join(note, columns(element("div", _matrix(results)), element("div", _pairs(results, FEW_PAIRS))))
    return join(note, _pairs(results, MAX_PAIRS))


def _matrix(results: Results) -> Html:
    """Return the matrix as a table, each row shaded by the share of its class."""
    counts, names = cells(results), results.classes
    matrix: NDArray[np.int64] = np.zeros((len(names), len(names)), np.int64)
    for place, count in counts.items():
        matrix[place] = count
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    upright = max(map(len, names), default=0) > 3
    heads = [element("span", shortened(name, HEADING), class_="upright" if upright else None, title=name) for name in names]
    rows = [
        element("tr", element("th", element("small", "true, predicted")), *(element("th", head, scope="col") for head in heads))
    ]
    body = []
    for row, name in enumerate(names):
        line = [_cell(row, column, int(matrix[row, column]), float(shares[row, column]), names) for column in range(len(names))]
        body.append(element("tr", element("th", name_of(shortened(name, 1.5 * HEADING)), title=name, scope="row"), *line))
    drawn = element("table", element("thead", *rows), element("tbody", *body), class_="matrix")
    return join(element("div", drawn, class_="scroll", tabindex="0"), element("small", "Shaded by the share of the true class."))


def _cell(row: int, column: int, count: int, share: float, names: Sequence[str]) -> Html:
    return element(
        "td",
        str(count) if count else None,
        style=f"background:rgba(var(--heat),{STRONGEST * share:.2f})" if count else None,
        class_="same" if row == column else None,
        title=f"true: {names[row]}, predicted: {names[column]}: {count} ({share:.0%})" if count else None,
    )


def _mistaken(counts: dict[Pair, int]) -> list[Pair]:
    """Return the pairs of different classes, the most frequent first."""
    return sorted((pair for pair in counts if pair[0] != pair[1]), key=lambda pair: (-counts[pair], pair))


def _pairs(results: Results, most: int) -> Html:
    counts, names = cells(results), results.classes
    mistaken = _mistaken(counts)
    if not mistaken:
        return paragraph("No class was taken for another.")
    sums = np.zeros(len(names), np.int64)
    for (actual, _), count in counts.items():
        sums[actual] += count
    rows: list[list[Content]] = [
        [
            name_of(names[actual]),
            name_of(names[predicted]),
            counts[actual, predicted],
            f"{counts[actual, predicted] / sums[actual]:.1%}",
        ]
        for actual, predicted in mistaken[:most]
    ]
    shown = table(["true", "predicted", "images", "share of the class"], rows, texts=(0, 1))
    title = f"The most frequent mistakes of {len(mistaken)} kinds" if len(mistaken) > most else "Mistakes"
    return join(element("h3", title), shown)


def _beside(found: Sequence[Results]) -> Html:
    """Return the most frequent mistakes of several revisions beside each other, found by the names of classes."""
    tables = []
    for results in found:
        names, counts = results.classes, cells(results)
        tables.append({(names[a], names[b]): count for (a, b), count in counts.items() if a != b})
    pairs = sorted(
        {pair for each in tables for pair in each}, key=lambda pair: (-max(each.get(pair, 0) for each in tables), pair)
    )
    if not pairs:
        return paragraph("No class was taken for another.")
    rows: list[list[Content]] = [
        [name_of(a), name_of(b), *(each.get((a, b), 0) for each in tables)] for a, b in pairs[:MAX_PAIRS]
    ]
    totals = [sum(each.values()) for each in tables]
    rows.append(["all mistakes", "", *totals])
    return table(["true", "predicted", *(name_of(results.name) for results in found)], rows, texts=(0, 1))
