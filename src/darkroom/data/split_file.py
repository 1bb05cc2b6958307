"""Reading data/split: which rows of data/raw are trained, validated and tested on."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.labels import indices, is_multilabel
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack, Rows

LEFT_OUT = "left_out"
PLACES = (*SPLITS, LEFT_OUT)
NO_FOLD = -1
MANIFEST = "manifest.csv"
DUPLICATES = "duplicates.csv"


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
        Hash of the manifest; a model records which one it was trained on.
    """

    classes: list[str]
    rows: dict[str, Rows]
    sha256: str
    task: str = "multiclass"

    @classmethod
    def open(cls, directory: Path, pack: Pack) -> Self:
        """Read `manifest.csv`, after checking both tables against the hashes in split.json.

        Raises
        ------
        InputError
            If it is missing or damaged, or belongs to other images than those of the pack.
        """
        try:
            report = files.read_sealed_json(directory / "split.json")
            digests = {name: files.sha256(directory / name) for name in (MANIFEST, DUPLICATES)}
            for name, digest in digests.items():
                if digest != report["files"][name]:
                    raise ValueError(f"the SHA-256 of {name} is not the one in split.json")
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
        if not np.array_equal(rows, np.arange(len(pack))) or labels != label_texts(pack):
            raise InputError("data/split/manifest.csv: belongs to other images than data/raw; run 'dvc repro split'")
        return cls(
            classes=pack.classes,
            task="multilabel" if is_multilabel(pack.labels) else "multiclass",
            rows={split: rows[places == PLACES.index(split)] for split in SPLITS},
            sha256=digests[MANIFEST],
        )


def label_texts(pack: Pack) -> list[str]:
    """Return the labels of each image as the manifest writes them: `3`, or in a multilabel set `0 3`."""
    return [" ".join(map(str, each)) for each in indices(pack.labels)]
