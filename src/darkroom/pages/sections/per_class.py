"""The section on every class: precision, recall and F1 with their intervals and the number of images."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from darkroom.pages.charts import HIGHEST_START, interval, ticks
from darkroom.pages.document import Content, Html, folded, join, name_of, paragraph, table
from darkroom.pages.sections.words import METRICS, decimal, difference, readable
from darkroom.versions.damage import reading
from darkroom.versions.intervals import Interval, interval_in, number, wilson
from darkroom.versions.recorded import EVALUATE
from darkroom.versions.results import Results

FILE = f"{EVALUATE}/per_class.csv"
SHOWN = 20  # classes; the others are folded


class ClassScores(NamedTuple):
    """The scores of a class on the test split."""

    name: str
    support: int
    precision: Interval
    recall: Interval
    f1: Interval


def per_class(found: Sequence[Results]) -> Html:
    """Draw a table of classes, the worst first; of several revisions those that differ most."""
    there, sentences = readable(found, scores)
    if not there:
        return join(*sentences)
    return join(*sentences, _one(there[0]) if len(found) == 1 else _beside(there))


def scores(results: Results) -> list[ClassScores]:
    """Return the scores of every class, in the order of the class list."""
    rows = results.rows_of(FILE)
    with reading(FILE, results.revision):
        names = results.classes
        if len(names) != len(rows):
            names = [row["class"] for row in rows]
        recorded = results.intervals.get("per_class")
        recorded = recorded if isinstance(recorded, dict) else {}
        return [
            ClassScores(
                name, int(float(row["support"])), *(_score(row, key, name, recorded) for key in ("precision", "recall", "f1"))
            )
            for name, row in zip(names, rows, strict=True)
        ]


def _score(row: dict[str, str], key: str, name: str, recorded: dict[str, object]) -> Interval:
    """Return a score with the interval that evaluate recorded; of the recall, a share of the class's images, else Wilson's."""
    value = number(row.get(key))
    found = interval_in(recorded.get(name), key)
    if math.isfinite(found.low):
        return Interval(value, found.low, found.high)
    return wilson(value, int(float(row["support"]))) if key == "recall" else Interval(value)


def _worst_first(found: Sequence[ClassScores]) -> list[ClassScores]:
    return sorted(
        found, key=lambda each: (math.isnan(each.f1.value), each.f1.value if math.isfinite(each.f1.value) else 0.0, each.name)
    )


def _one(results: Results) -> Html:
    found = _worst_first(scores(results))
    ends = [
        end for each in found for end in (each.f1.low, each.f1.value, each.recall.low, each.recall.value) if math.isfinite(end)
    ]
    start = max(0.0, min(ticks(min(ends, default=0.0), 1.0)[0], HIGHEST_START))

    # The chart stands beside the score that has intervals.
    charted = "f1" if any(math.isfinite(each.f1.low) for each in found) else "recall"
    columns = [charted, "precision", "recall" if charted == "f1" else "f1"]
    header = ["class", "images", METRICS[charted], "", *(METRICS[name] for name in columns[1:])]

    def of(some: Sequence[ClassScores]) -> Html:
        return table(header, [_row(each, columns, start) for each in some], texts=(0, 3))

    note = paragraph(f"On the test split, the worst F1 first. Lines are intervals of 95 %, on an axis from {start:g} to 1.")
    rest = found[SHOWN:]
    return join(note, of(found[:SHOWN]), folded(f"{len(rest)} more classes", of(rest)) if rest else None)


def _row(each: ClassScores, columns: Sequence[str], start: float) -> list[Content]:
    charted, *others = (getattr(each, name) for name in columns)
    ends = (charted.low, charted.high) if math.isfinite(charted.low) else (None, None)
    chart = interval(charted.value, *ends, start=start)
    return [name_of(each.name), each.support, decimal(charted.value, 3), chart, *(decimal(score.value, 3) for score in others)]


def _beside(found: Sequence[Results]) -> Html:
    """Return the F1 of every class in several revisions, found by name."""
    tables = [{each.name: each for each in scores(results)} for results in found]
    names = list(dict.fromkeys(name for each in tables for name in each))
    undefined = ClassScores("", 0, *[Interval(math.nan)] * 3)

    def values(name: str) -> list[float]:
        return [each.get(name, undefined).f1.value for each in tables]

    def spread(name: str) -> float:
        finite = [value for value in values(name) if math.isfinite(value)]
        return max(finite) - min(finite) if len(finite) > 1 else -1.0

    order = sorted(names, key=lambda name: (-round(spread(name), 9), name))

    def row(name: str) -> list[Content]:
        numbers = values(name)
        cells: list[Content] = [name_of(name), max(each.get(name, undefined).support for each in tables), decimal(numbers[0], 3)]
        for value in numbers[1:]:
            cells += [decimal(value, 3), difference(value, numbers[0], 3)]
        return cells

    heads: list[Content] = ["class", "images", name_of(found[0].name)]
    for results in found[1:]:
        heads += [name_of(results.name), "difference"]
    note = paragraph("F1 on the test split; the classes that differ most come first.")
    rest = [row(name) for name in order[SHOWN:]]
    shown = table(heads, [row(name) for name in order[:SHOWN]])
    return join(note, shown, folded(f"{len(rest)} more classes", table(heads, rest)) if rest else None)
