"""The manifest of data/split, which says where every image stands: writing it and reading it."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom import files
from darkroom.data.duplicates import Duplicates
from darkroom.data.labels import count_labels, indices, is_multilabel, names
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack, Rows
from darkroom.errors import InputError
from darkroom.params import SplitParams

LEFT_OUT = "left_out"
PLACES = (*SPLITS, LEFT_OUT)
NO_FOLD = -1
MANIFEST = "manifest.csv"
DUPLICATES = "duplicates.csv"
DUPLICATE_COLUMNS = ["kind", "distance", "split", "other_split", "class", "other_class", "row", "other_row", "id", "other_id"]


@dataclass(frozen=True)
class Division:
    """Where every image of a pack stands.

    Attributes
    ----------
    splits : (N,) str
        `train`, `val`, `test` or `left_out`.
    folds : (N,) int64
        Part of the training images of the source when they are divided into `split.folds`, else -1.
    duplicates
        The same images that were found.
    """

    splits: NDArray[np.str_]
    folds: NDArray[np.int64]
    duplicates: Duplicates


@dataclass(frozen=True)
class Split:
    """Which rows of the pack are trained on, validated on and tested on.

    Attributes
    ----------
    classes : list of str
        Class names; a label is an index into it.
    task : str
        `multiclass`, or `multilabel` where an image has any number of classes.
    rows : dict of (n,) int64
        Ascending rows of the pack, by split.
    sha256 : str
        Hash of the manifest, by which a model says what it was trained on.
    """

    classes: list[str]
    rows: dict[str, Rows]
    sha256: str
    task: str = "multiclass"

    @classmethod
    def open(cls, directory: Path, pack: Pack) -> Self:
        """Read `manifest.csv`, once both tables are what split.json says of them.

        Raises
        ------
        InputError
            If it is missing, damaged, or was made from other images than those of the pack.
        """
        try:
            report = files.read_sealed_json(directory / "split.json")
            digests = {name: files.sha256(directory / name) for name in (MANIFEST, DUPLICATES)}
            for name, digest in digests.items():
                if digest != report["files"][name]:
                    raise ValueError(f"the SHA-256 of {name} is not the one that split.json records")
            with (directory / MANIFEST).open(encoding="utf-8", newline="") as file:
                entries = [(int(row["row"]), PLACES.index(row["split"]), row["label"]) for row in csv.DictReader(file)]
            rows = np.array([entry[0] for entry in entries], np.int64)
            labels = [entry[2] for entry in entries]
            places = np.array([entry[1] for entry in entries], np.int64)
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise InputError(f"data/split/{name}: does not exist; run 'dvc repro split' or 'dvc checkout'") from None
        except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
            raise InputError(f"data/split: is damaged ({error}); run 'dvc checkout', or 'dvc repro --force split'") from None
        if not np.array_equal(rows, np.arange(len(pack))) or labels != _label_texts(pack):
            raise InputError("data/split/manifest.csv: is of other images than data/raw; run 'dvc repro split'")
        return cls(
            classes=pack.classes,
            task="multilabel" if is_multilabel(pack.labels) else "multiclass",
            rows={split: rows[places == PLACES.index(split)] for split in SPLITS},
            sha256=digests[MANIFEST],
        )


def write_split(directory: Path, pack: Pack, division: Division, params: SplitParams, seed: int) -> dict[str, Any]:
    """Write `manifest.csv` (row, split, fold, label, class, id), `duplicates.csv` (pairs) and `split.json` (counts).

    Returns
    -------
    report
        The content of split.json.
    """
    folds = ["" if fold == NO_FOLD else fold for fold in division.folds.tolist()]
    _write_csv(
        directory / MANIFEST,
        ["row", "split", "fold", "label", "class", "id"],
        (
            (row, split, fold, label, files.csv_text(classes), files.csv_text(name))
            for row, (split, fold, label, classes, name) in enumerate(
                zip(division.splits.tolist(), folds, _label_texts(pack), names(pack.labels, pack.classes), pack.ids, strict=True)
            )
        ),
    )
    _write_csv(directory / DUPLICATES, DUPLICATE_COLUMNS, _duplicate_rows(pack, division))
    report = {
        "files": {name: files.sha256(directory / name) for name in (MANIFEST, DUPLICATES)},
        "classes": pack.classes,
        "images": {place: int((division.splits == place).sum()) for place in PLACES},
        "per_class": {split: _per_class(pack, division.splits == split) for split in SPLITS},
        "duplicates": count_duplicates(pack, division),
        "seed": seed,
        "params": params.model_dump(),
    }
    files.write_sealed_json(directory / "split.json", report)
    return report


def count_duplicates(pack: Pack, division: Division) -> dict[str, int]:
    """Return how many pairs have equal pixels, look alike, stand on two sides of what is used, and have two labels."""
    found = division.duplicates
    first, second = (division.splits[found.pairs[:, side]] for side in (0, 1))
    across = (first != second) & (first != LEFT_OUT) & (second != LEFT_OUT)
    return {
        "equal": int((found.distances < 0).sum()),
        "near": int((found.distances >= 0).sum()),
        "across_splits": int(across.sum()),
        "conflicts": int(found.conflicts(pack.labels).sum()),
    }


def summary(pack: Pack, division: Division) -> str:
    """Return one line on where the images stand, and what is the matter with them."""
    notes = [", ".join(f"{np.sum(division.splits == name)} {name}" for name in SPLITS), f"{len(pack.classes)} classes"]
    if left_out := int(np.sum(division.splits == LEFT_OUT)):
        notes.append(f"{left_out} left out as duplicates")
    found = count_duplicates(pack, division)
    if found["equal"] or found["near"]:
        kinds = [f"{found[kind]} pair(s) of {kind} images" for kind in ("equal", "near") if found[kind]]
        notes.append(" and ".join(kinds) + ", see data/split/duplicates.csv")
    if found["across_splits"]:
        notes.append(f"{found['across_splits']} of them in two splits")
    if found["conflicts"]:
        notes.append(f"{found['conflicts']} of them with two labels")
    return "; ".join(notes)


def _duplicate_rows(pack: Pack, division: Division) -> Iterator[tuple[object, ...]]:
    found = division.duplicates
    for pair, distance in zip(found.pairs.tolist(), found.distances.tolist(), strict=True):
        yield (
            "equal" if distance < 0 else "near",
            max(distance, 0),
            *(str(division.splits[row]) for row in pair),
            *map(files.csv_text, names(pack.labels[pair], pack.classes)),
            *pair,
            *(files.csv_text(pack.ids[row]) for row in pair),
        )


def _write_csv(path: Path, columns: list[str], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _label_texts(pack: Pack) -> list[str]:
    """Return the labels of each image as the manifest has them: 3, or in a multilabel set 0 3."""
    return [" ".join(map(str, each)) for each in indices(pack.labels)]


def _per_class(pack: Pack, chosen: NDArray[np.bool_]) -> dict[str, int]:
    counts = count_labels(pack.labels[chosen], len(pack.classes))
    return dict(zip(pack.classes, counts.tolist(), strict=True))
