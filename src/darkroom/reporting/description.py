"""What the split stage writes about the data: a card, tables, numbers to compare versions by, sheets of images."""

from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base import files
from darkroom.base.errors import one_line
from darkroom.reporting.card import data_card
from darkroom.reporting.contents import (
    SPLITS,
    Contents,
    Histogram,
    class_names,
    count_classes,
    have_two_labels,
    histogram_of_shapes,
    histogram_of_sizes,
    notable_pairs,
    numbers,
)
from darkroom.reporting.csv_table import plain_text, write_csv
from darkroom.reporting.sheets import contact_sheet, sampled_by_class

MAX_SAMPLES = 64
MAX_PAIRS = 16
# A longer table would push other lines off the terminal.
MAX_LINES = 20


def write_description(directory: Path, contents: Contents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    """Write card.md, numbers.json, classes.csv, sizes.csv, shapes.csv and `images/`.

    Parameters
    ----------
    directory
        Folder to write to.
    contents
        The images; at most a few dozen are read.
    dataset, split
        The contents of dataset.json and split.json.
    """
    files.write_text(directory / "card.md", data_card(contents, dataset, split))
    files.write_json(directory / "numbers.json", numbers(contents, dataset, split))
    counts = zip(map(plain_text, contents.classes), *count_classes(contents).T.tolist(), strict=True)
    write_csv(directory / "classes.csv", ("class", *SPLITS), counts)
    _write_histogram(directory / "sizes.csv", "shorter_side", histogram_of_sizes(contents))
    _write_histogram(directory / "shapes.csv", "width_to_height", histogram_of_shapes(contents))
    images = directory / "images"
    images.mkdir()
    _draw_samples(images / "samples.png", contents)
    _draw_duplicates(images / "duplicates.png", contents)


def class_lines(contents: Contents) -> list[str]:
    """Return a table of the images per class and split, or nothing if there are more than `MAX_LINES` classes."""
    if len(contents.classes) > MAX_LINES:
        return []
    counts = count_classes(contents)
    used = [place for place, split in enumerate(SPLITS) if split != "left_out" or counts[:, place].any()]
    names = ["", *map(one_line, contents.classes)]
    cells = [[SPLITS[place] for place in used], *counts[:, used].tolist()]
    width = max(map(len, names))
    return [f"  {name:{width}}" + "".join(f"{cell:>9}" for cell in line) for name, line in zip(names, cells, strict=True)]


def _write_histogram(path: Path, name: str, histogram: Histogram) -> None:
    rows = zip(histogram.bins, histogram.places, *histogram.counts.T.tolist(), strict=True)
    write_csv(path, (name, "place", *SPLITS), rows)


def _draw_samples(path: Path, contents: Contents) -> None:
    """Draw some images of every class, with their splits."""
    used = np.flatnonzero(contents.splits != "left_out")
    places = sampled_by_class(contents.labels[used], len(contents.classes), MAX_SAMPLES)
    rows = np.where(places < 0, -1, used[places])
    images = [contents.read_image(row) if row >= 0 else None for row in rows.ravel().tolist()]
    captions = [(class_names(contents, row), str(contents.splits[row])) for row in rows.ravel().tolist()]
    contact_sheet(images, captions, [False] * len(images), group=rows.shape[1]).save(path)


def _draw_duplicates(path: Path, contents: Contents) -> None:
    """Draw pairs side by side, the most notable first; different labels are red."""
    places = notable_pairs(contents)[:MAX_PAIRS]
    rows = contents.pairs[places].ravel().tolist()
    distances = contents.distances[places].repeat(2).tolist()
    captions = [
        (
            contents.ids[row],
            f"{contents.splits[row]}, " + ("equal" if distance < 0 else f"{distance} bits"),
            class_names(contents, row),
        )
        for row, distance in zip(rows, distances, strict=True)
    ]
    wrong = have_two_labels(contents)[places].repeat(2).tolist()
    shown = [contents.read_image(row) for row in rows]
    contact_sheet(shown, captions, wrong, group=2, empty="no duplicates").save(path)
