"""The report on two versions of the data: lines for a terminal, and a complete CSV table."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from darkroom.base import files
from darkroom.base.errors import one_line
from darkroom.data.pack import Rows
from darkroom.versions.differences import KINDS, NONE, Differences
from darkroom.versions.revisions import Revision
from darkroom.versions.text import aligned

COLUMNS = ["kind", *(f"{name}_{when}" for name in ("id", "class", "split", "row") for when in ("before", "after"))]
CHUNK = 10_000


class Change(NamedTuple):
    """One changed image, before and after; empty where there is none."""

    id: tuple[str, str]
    label: tuple[str, str]
    """Class names."""
    split: tuple[str, str]
    row: tuple[int, int]


def changes(differences: Differences, kind: str) -> Iterator[Change]:
    """Yield the differences of one kind; an image may be in several kinds."""
    pairs = differences.rows[kind]
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        columns = (_texts(differences, part, name) for name in ("id", "class", "split"))
        for name, label, split, (before, after) in zip(*columns, part.tolist(), strict=True):
            yield Change(name, label, split, (before, after))


def _texts(differences: Differences, pairs: Rows, name: str) -> Iterator[tuple[str, str]]:
    sides = []
    for side, dataset in enumerate((differences.before, differences.after)):
        there = pairs[:, side] != NONE
        texts = iter(dataset.images[name].take(pairs[there, side]).to_pylist())
        sides.append([next(texts) if is_there else "" for is_there in there.tolist()])
    return zip(*sides, strict=True)


def lines(differences: Differences, before: Revision, after: Revision, limit: int | None) -> Iterator[str]:
    """Yield the lines of the report, with at most `limit` images of each kind; None: all."""
    count = f"{len(differences.before)} -> {len(differences.after)}, {differences.num_unchanged} unchanged"
    yield f"data: {one_line(str(before))} -> {one_line(str(after))}"
    yield f"images: {count}"
    yield f"classes: {_class_counts(differences)}"
    yield from _limited([f"  new   {one_line(name)}" for name in differences.new_classes], limit)
    yield from _limited([f"  gone  {one_line(name)}" for name in differences.lost_classes], limit)
    for kind in KINDS:
        if kind == "moved" and differences.without_split:
            yield f"moved: unknown, since {one_line(' and '.join(differences.without_split))}"
            continue
        total = len(differences.rows[kind])
        yield f"{kind}: {total}"
        yield from aligned([_cells(change) for change in islice(changes(differences, kind), limit)])
        yield from _more(total, limit)


def _class_counts(differences: Differences) -> str:
    """Return a short text on the changes of the class list."""
    parts = [f"{len(differences.before.classes)} -> {len(differences.after.classes)}"]
    for names, mark in ((differences.new_classes, "new"), (differences.lost_classes, "gone")):
        parts += [f"{len(names)} {mark}"] if names else []
    parts += ["in another order"] if differences.is_reordered else []
    return ", ".join(parts) if len(parts) > 1 else f"{len(differences.after.classes)}, unchanged"


def _limited(found: list[str], limit: int | None) -> Iterator[str]:
    yield from found[:limit]
    yield from _more(len(found), limit)


def _more(total: int, limit: int | None) -> Iterator[str]:
    if limit is not None and total > limit:
        yield f"  … and {total - limit} more (--all, --csv FILE)"


def _cells(change: Change) -> list[str]:
    before, after = (text or ("" if row == NONE else "none") for text, row in zip(change.label, change.row, strict=True))
    return [one_line(_arrow(*pair)) for pair in (change.id, (before, after), change.split)]


def _arrow(before: str, after: str) -> str:
    return f"{before} -> {after}" if before and after and before != after else after or before


def write_table(path: Path, differences: Differences) -> None:
    """Write all differences as CSV, atomically: kind, then id, class, split and row before and after; classes first."""
    with files.replaced_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in differences.new_classes:
            writer.writerow(["new class", "", "", "", files.csv_text(name), "", "", "", ""])
        for name in differences.lost_classes:
            writer.writerow(["class gone", "", "", files.csv_text(name), "", "", "", "", ""])
        for kind in KINDS:
            for change in changes(differences, kind):
                texts = (files.csv_text(text) for pair in (change.id, change.label, change.split) for text in pair)
                writer.writerow([kind, *texts, *("" if row == NONE else row for row in change.row)])
