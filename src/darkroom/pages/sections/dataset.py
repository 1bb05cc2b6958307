"""The section on the data: images of every class and split, sizes, samples."""

import shlex
from collections.abc import Sequence

import numpy as np

from darkroom.base.errors import InputError
from darkroom.pages.charts import bar, colour
from darkroom.pages.document import Content, Html, element, folded, join, name_of, paragraph, table
from darkroom.pages.sections.words import SPLITS, each
from darkroom.pages.thumbnails import sheet
from darkroom.versions.damage import reading
from darkroom.versions.recorded import SPLIT
from darkroom.versions.results import Results, Row

FILE = f"{SPLIT}/classes.csv"
MAX_CLASSES, SHOWN_ENDS = 30, 10
LONG = 12  # rows of a table after which the rest is folded


def dataset(found: Sequence[Results]) -> Html:
    """Draw the data of every version of them that there is."""
    versions: dict[tuple[str, ...], list[Results]] = {}
    for results in found:
        versions.setdefault(results.data_version, []).append(results)
    if len(versions) == 1:
        same = paragraph("All have the same images and the same split.") if len(found) > 1 else None
        return join(same, *each(found[:1], _one))
    first, second = (same[0].name for same in list(versions.values())[:2])
    note = paragraph(
        "They differ in images or split; what differs is listed by ",
        element("code", f"./darkroom compare data {shlex.join((first, second))}"),
    )
    drawn = [
        join(element("h3", name_of(", ".join(results.name for results in same))), *each(same[:1], _one))
        for same in versions.values()
    ]
    return join(note, *drawn)


def _one(results: Results) -> Html:
    rows = results.rows_of(FILE)
    with reading(FILE, results.revision):
        splits = [split for split in SPLITS if split == "train" or any(int(row[split]) for row in rows)]
        counts = np.array([[int(row[split]) for split in splits] for row in rows])
        if not len(counts):
            raise ValueError("it has no classes")
        names = _names(results, rows)
    total = paragraph(
        ", ".join(f"{count} {SPLITS[split]}" for split, count in zip(splits, counts.sum(axis=0).tolist(), strict=True)),
        f"; {len(names)} classes; the largest has {_ratio(counts[:, 0])} times as many training images as the smallest.",
    )
    return join(total, _classes(names, counts, splits), _sizes(results), _samples(results))


def _names(results: Results, rows: Sequence[Row]) -> list[str]:
    written = [row["class"] for row in rows]
    try:
        return results.classes if len(results.classes) == len(rows) else written
    except InputError:
        return written


def _ratio(counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> str:
    return f"{counts.max() / max(1, counts.min()):.2f}" if len(counts) else "1"


def _classes(names: Sequence[str], counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", splits: Sequence[str]) -> Html:
    order = np.argsort(-counts[:, 0], kind="stable").tolist()
    most = float(counts.sum(axis=1).max(initial=0))
    swatches = [
        join(element("span", class_="swatch", style=f"background:{colour(place)}"), split.replace("_", " "))
        for place, split in enumerate(splits)
    ]

    def of(places: Sequence[int]) -> Html:
        rows = [[name_of(names[place]), *counts[place].tolist(), bar(counts[place].tolist(), most)] for place in places]
        return table(["class", *swatches, ""], rows, texts=(0, len(splits) + 1))

    if len(names) <= MAX_CLASSES:
        return of(range(len(names)))
    ends = paragraph(f"The {SHOWN_ENDS} largest and the {SHOWN_ENDS} smallest classes:")
    return join(ends, of([*order[:SHOWN_ENDS], *order[-SHOWN_ENDS:]]))


def _sizes(results: Results) -> Content:
    """Return how many images are how large, or one sentence if all are of one size."""
    try:
        rows = results.rows_of(f"{SPLIT}/sizes.csv")
        counts = [sum(int(row[split]) for split in SPLITS if split in row) for row in rows]
        names = [row["shorter_side"] for row in rows]
    except (InputError, KeyError, ValueError):
        return None
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return None
    if len(filled) == 1:
        return paragraph(f"The shorter side of all images is {names[filled[0]]} pixels.")
    places = range(filled[0], filled[-1] + 1)
    body: list[list[Content]] = [[f"{names[place]} px", counts[place], bar([counts[place]], max(counts))] for place in places]
    shown = table(["shorter side", "images", ""], body, texts=(0, 2))
    return join(element("h3", "Sizes"), shown) if len(body) <= LONG else folded("Sizes", shown)


def _samples(results: Results) -> Content:
    try:
        drawn = sheet(results.bytes_of(f"{SPLIT}/images/samples.png"), "Images of the classes, with their splits")
    except InputError:
        return None
    return folded("Samples of the classes", drawn) if drawn is not None else None
