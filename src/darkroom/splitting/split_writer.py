"""Writing data/split: the manifest with the split of every image, the pairs of duplicates, and counts."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.params import SplitParams
from darkroom.data.labels import count_labels, names
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack
from darkroom.data.split_file import DUPLICATES, LEFT_OUT, MANIFEST, NO_FOLD, PLACES, label_texts
from darkroom.splitting.assign import Assignment

DUPLICATE_COLUMNS = ["kind", "distance", "split", "other_split", "class", "other_class", "row", "other_row", "id", "other_id"]


def write_split(directory: Path, pack: Pack, assignment: Assignment, params: SplitParams, seed: int) -> dict[str, Any]:
    """Write `manifest.csv` (row, split, fold, label, class, id), `duplicates.csv` (pairs) and `split.json` (counts).

    Returns
    -------
    report
        The content of split.json.
    """
    folds = ["" if fold == NO_FOLD else fold for fold in assignment.folds.tolist()]
    _write_csv(
        directory / MANIFEST,
        ["row", "split", "fold", "label", "class", "id"],
        (
            (row, split, fold, label, files.csv_text(classes), files.csv_text(name))
            for row, (split, fold, label, classes, name) in enumerate(
                zip(assignment.splits.tolist(), folds, label_texts(pack), names(pack.labels, pack.classes), pack.ids, strict=True)
            )
        ),
    )
    _write_csv(directory / DUPLICATES, DUPLICATE_COLUMNS, _duplicate_rows(pack, assignment))
    report = {
        "files": {name: files.sha256(directory / name) for name in (MANIFEST, DUPLICATES)},
        "classes": pack.classes,
        "images": {place: int((assignment.splits == place).sum()) for place in PLACES},
        "per_class": {split: _per_class(pack, assignment.splits == split) for split in SPLITS},
        "duplicates": count_duplicates(pack, assignment),
        "seed": params.seed_or(seed),
        "params": params.model_dump(exclude={"seed"}),
    }
    files.write_sealed_json(directory / "split.json", report)
    return report


def count_duplicates(pack: Pack, assignment: Assignment) -> dict[str, int]:
    """Return how many pairs have equal pixels, are near duplicates, are in two splits, and have different labels."""
    found = assignment.duplicates
    first, second = (assignment.splits[found.pairs[:, side]] for side in (0, 1))
    across = (first != second) & (first != LEFT_OUT) & (second != LEFT_OUT)
    return {
        "equal": int((found.distances < 0).sum()),
        "near": int((found.distances >= 0).sum()),
        "across_splits": int(across.sum()),
        "conflicts": int(found.conflicts(pack.labels).sum()),
    }


def summary(pack: Pack, assignment: Assignment) -> str:
    """Return one line: images per split, classes, and what was found among duplicates."""
    notes = [", ".join(f"{np.sum(assignment.splits == name)} {name}" for name in SPLITS), f"{len(pack.classes)} classes"]
    if left_out := int(np.sum(assignment.splits == LEFT_OUT)):
        notes.append(f"{left_out} duplicates left out")
    found = count_duplicates(pack, assignment)
    if found["equal"] or found["near"]:
        kinds = [f"{found[kind]} pair(s) of {kind} images" for kind in ("equal", "near") if found[kind]]
        notes.append(" and ".join(kinds) + ", see data/split/duplicates.csv")
    if found["across_splits"]:
        notes.append(f"{found['across_splits']} of them in two splits")
    if found["conflicts"]:
        notes.append(f"{found['conflicts']} of them with different labels")
    return "; ".join(notes)


def _duplicate_rows(pack: Pack, assignment: Assignment) -> Iterator[tuple[object, ...]]:
    found = assignment.duplicates
    for pair, distance in zip(found.pairs.tolist(), found.distances.tolist(), strict=True):
        yield (
            "equal" if distance < 0 else "near",
            max(distance, 0),
            *(str(assignment.splits[row]) for row in pair),
            *map(files.csv_text, names(pack.labels[pair], pack.classes)),
            *pair,
            *(files.csv_text(pack.ids[row]) for row in pair),
        )


def _write_csv(path: Path, columns: list[str], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _per_class(pack: Pack, chosen: NDArray[np.bool_]) -> dict[str, int]:
    counts = count_labels(pack.labels[chosen], len(pack.classes))
    return dict(zip(pack.classes, counts.tolist(), strict=True))
