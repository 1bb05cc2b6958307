"""Dividing the pictures into train, val and test, and the manifest that says which picture is where."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from darkroom import files
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack
from darkroom.errors import InputError
from darkroom.params import SplitParams

LEFT_OUT = "left_out"
PLACES = (*SPLITS, LEFT_OUT)
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which rows of the pack are trained on, validated on and tested on.

    Attributes
    ----------
    classes : list of str
        Class names; a label is an index into it.
    rows : dict of (n,) int64
        Ascending rows of the pack, by split.
    sha256 : str
        Hash of the manifest, by which a model says what it was trained on.
    """

    classes: list[str]
    rows: dict[str, Rows]
    sha256: str

    @classmethod
    def open(cls, directory: Path, pack: Pack) -> Self:
        """Read `manifest.csv`.

        Raises
        ------
        InputError
            If it is missing, damaged, or was made from other pictures than those of the pack.
        """
        path = directory / "manifest.csv"
        try:
            report = files.read_sealed_json(directory / "split.json")
            digest = files.sha256(path)
            if digest != report["manifest_sha256"]:
                raise ValueError("its SHA-256 is not the one that split.json records")
            with path.open(encoding="utf-8", newline="") as file:
                entries = [(int(row["row"]), PLACES.index(row["split"]), int(row["label"])) for row in csv.DictReader(file)]
            rows = np.array([entry[0] for entry in entries], np.int64)
            labels = np.array([entry[2] for entry in entries], np.int64)
            places = np.array([entry[1] for entry in entries], np.int64)
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise InputError(f"data/split/{name}: does not exist; run 'dvc repro split' or 'dvc checkout'") from None
        except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
            raise InputError(f"data/split: is damaged ({error}); run 'dvc checkout', or 'dvc repro --force split'") from None
        if not np.array_equal(rows, np.arange(len(pack))) or not np.array_equal(labels, pack.labels):
            raise InputError("data/split/manifest.csv: is of other pictures than data/raw; run 'dvc repro split'")
        return cls(
            classes=pack.classes,
            rows={split: rows[places == PLACES.index(split)] for split in SPLITS},
            sha256=digest,
        )


def divide(pack: Pack, params: SplitParams, seed: int) -> NDArray[np.str_]:
    """Name the split of every picture: the source's own val and test are kept, missing ones are carved from its train.

    Identical pictures stay together: a picture of train that also stands in the source's own val or test is left out of train,
    one of val that also stands in test is left out of val. The source's test set is never altered.

    Returns
    -------
    splits : (N,) str
        `train`, `val`, `test` or `left_out`.

    Raises
    ------
    InputError
        If a class has too few pictures to stand in every split.
    """
    splits: NDArray[np.str_] = pack.splits.astype("<U8")
    pictures = np.array(pack.pixel_hashes, dtype=object)
    held_out: set[bytes] = set()
    for name in ("test", "val", "train"):
        rows = np.flatnonzero(splits == name)
        splits[[row for row in rows if pictures[row] in held_out]] = LEFT_OUT
        held_out.update(pictures[rows])
    train = np.flatnonzero(splits == "train")
    # Fractions are of the different pictures that the source calls train, before anything was carved from them.
    different = len(set(pictures[train]))
    for name, fraction in (("test", params.test_fraction), ("val", params.val_fraction)):
        if not (splits == name).any():
            count = round(fraction * different)
            splits[_carve(pack, train, pictures, count, key=f"split.{name}_fraction", seed=seed)] = name
            train = np.flatnonzero(splits == "train")
    _check_every_class(pack, splits)
    return splits


def _carve(pack: Pack, rows: Rows, pictures: NDArray[np.object_], count: int, *, key: str, seed: int) -> Rows:
    """Return about `count` of the rows, stratified by label, identical pictures all inside or all outside."""
    from sklearn.model_selection import train_test_split

    first_of = {pictures[row]: row for row in rows[::-1]}
    firsts = np.array(sorted(first_of.values()), np.int64)
    labels = pack.labels[firsts]
    present = np.bincount(labels, minlength=len(pack.classes))
    if present.min() < 2:
        name = pack.classes[int(present.argmin())]
        others = "" if present.min() else ": all that it has in train stand in val or test as well"
        raise InputError(
            f"data/raw: class '{name}' has {present.min()} different picture(s) to split{others}; add some, or remove it"
        )
    rest = len(firsts) - count
    if min(count, rest) < len(pack.classes):
        which = f"gives {count} of {len(firsts)}" if count < rest else f"leaves {rest} of {len(firsts)}"
        raise InputError(
            f"params.yaml: {key}: {which} pictures, fewer than one for each of the {len(pack.classes)} classes; "
            f"{'raise' if count < rest else 'lower'} it, or add pictures"
        )
    _, carved = train_test_split(firsts, test_size=count, stratify=labels, random_state=seed)
    chosen = {pictures[row] for row in carved}
    return np.array([row for row in rows if pictures[row] in chosen], np.int64)


def _check_every_class(pack: Pack, splits: NDArray[np.str_]) -> None:
    for split in SPLITS:
        counts = np.bincount(pack.labels[splits == split], minlength=len(pack.classes))
        if counts.min() == 0:
            name = pack.classes[int(counts.argmin())]
            raise InputError(
                f"data/split: class '{name}' has no picture in {split}; add pictures of it, remove it, "
                f"or raise split.{split if split != 'train' else 'val'}_fraction"
            )


def write_split(directory: Path, pack: Pack, splits: NDArray[np.str_], params: SplitParams, seed: int) -> None:
    """Write `manifest.csv` (row, split, label, class, id) and `split.json` (counts, what was left out, duplicates)."""
    with (directory / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "split", "label", "class", "id"])
        labels = pack.labels.tolist()
        writer.writerows(
            (row, split, label, files.csv_text(pack.classes[label]), files.csv_text(name))
            for row, (split, label, name) in enumerate(zip(splits.tolist(), labels, pack.ids, strict=True))
        )
    files.write_sealed_json(
        directory / "split.json",
        {
            "manifest_sha256": files.sha256(directory / "manifest.csv"),
            "classes": pack.classes,
            "pictures": {split: int((splits == split).sum()) for split in SPLITS},
            "per_class": {split: _per_class(pack, splits == split) for split in SPLITS},
            "left_out": [pack.ids[row] for row in np.flatnonzero(splits == LEFT_OUT)],
            "duplicates": _duplicates(pack),
            "seed": seed,
            "params": params.model_dump(),
        },
    )


def _per_class(pack: Pack, chosen: NDArray[np.bool_]) -> dict[str, int]:
    counts = np.bincount(pack.labels[chosen], minlength=len(pack.classes))
    return dict(zip(pack.classes, counts.tolist(), strict=True))


def _duplicates(pack: Pack) -> list[dict[str, list[str]]]:
    """Return the groups of pictures with identical pixels, and the classes that each group stands in."""
    counts = Counter(pack.pixel_hashes)
    groups: dict[bytes, list[int]] = {}
    for row, picture in enumerate(pack.pixel_hashes):
        if counts[picture] > 1:
            groups.setdefault(picture, []).append(row)
    return [
        {"ids": [pack.ids[row] for row in rows], "classes": sorted({pack.classes[pack.labels[row]] for row in rows})}
        for rows in groups.values()
    ]
