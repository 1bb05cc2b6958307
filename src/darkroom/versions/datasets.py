"""The images of one revision as a table, from the index, the class list and the manifest."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from darkroom.base.errors import InputError
from darkroom.data.labels import SEPARATOR
from darkroom.versions.damage import reading
from darkroom.versions.revisions import Revision

RAW, SPLIT = "data/raw", "data/split"
INDEX, DATASET, MANIFEST = f"{RAW}/index.parquet", f"{RAW}/dataset.json", f"{SPLIT}/manifest.csv"
# 64-bit offsets: the ids of two large data sets together may take more than 2 GB.
TEXT = pa.large_string()


@dataclass(frozen=True)
class Dataset:
    """The images of a revision.

    Attributes
    ----------
    classes : list of K str
        Class names, in the order of the labels.
    images : table of N rows
        `id`, `class` (the name, or several names joined) and `split` (empty where unknown) as text, `pixel_hash` as bytes.
    without_split : str or None
        Why the splits are unknown, if they are.
    """

    classes: list[str]
    images: pa.Table
    without_split: str | None

    def __len__(self) -> int:
        return len(self.images)


def read_dataset(revision: Revision) -> Dataset:
    """Read the table of images of a revision; no pixels are read.

    Raises
    ------
    InputError
        If it has no images, or they are damaged or neither in the cache nor on a remote.
    """
    if RAW not in revision.outs:
        way_out = "name another revision" if revision.commit else "run 'dvc repro', or 'dvc checkout' if this commit has them"
        raise InputError(f"{RAW}: {revision.name} has no images; {way_out}")
    content, described_by = revision.read(INDEX), revision.read(DATASET)
    with reading(RAW, revision):
        dataset = json.loads(described_by)
        recorded = dataset.get("files", {}).get("index.parquet")
        if recorded and hashlib.sha256(content).hexdigest() != recorded:
            raise ValueError("index.parquet does not have the SHA-256 that dataset.json records")
        index = pq.read_table(pa.BufferReader(content), columns=["id", "label", "pixel_hash"])
        classes: list[str] = dataset["classes"]
        columns = {
            "id": _column(index, "id", TEXT),
            "class": _class_names(index["label"].combine_chunks(), classes),
            "pixel_hash": _column(index, "pixel_hash", pa.large_binary()),
        }
    places, why = _splits(revision, columns["id"])
    return Dataset(classes, pa.table(columns | {"split": places}), why)


def _splits(revision: Revision, ids: pa.Array) -> tuple[pa.Array, str | None]:
    """Return the split of each image; empty texts, and the reason, if they are unknown."""
    unknown = pa.array(np.full(len(ids), ""), TEXT)
    if SPLIT not in revision.outs:
        return unknown, f"{revision.name} has no split yet"
    content = revision.read(MANIFEST)
    with reading(SPLIT, revision):
        options = pa.csv.ConvertOptions(include_columns=["split", "id"], column_types={"split": TEXT, "id": TEXT})
        # A class name may contain a line break.
        table = pa.csv.read_csv(
            pa.BufferReader(content), parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=options
        )
        written = _column(table, "id", TEXT)
        splits = _column(table, "split", TEXT)
    # In the manifest, ids that a spreadsheet would take for formulas begin with an apostrophe.
    if not pc.utf8_ltrim(written, "'").equals(pc.utf8_ltrim(ids, "'")):
        return unknown, f"in {revision.name}, {SPLIT} does not match {RAW}"
    return splits, None


def _column(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    column = table[name].combine_chunks().cast(kind)
    if column.null_count:
        raise ValueError(f"the column '{name}' has {column.null_count} empty cells")
    return column


def _class_names(labels: pa.Array, classes: Any) -> pa.Array:
    """Return the class name of each of N images; several names are joined in alphabetical order."""
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("'classes' is not a list of names")
    names = pa.array(classes, TEXT)
    has_lists = pa.types.is_list(labels.type)
    indices = labels.flatten() if has_lists else labels
    if labels.null_count or (len(indices) and not 0 <= pc.min(indices).as_py() <= pc.max(indices).as_py() < len(classes)):
        raise ValueError("a label has no class")
    if not has_lists:
        return names.take(labels)
    alphabet = np.argsort(np.argsort(np.array(classes, dtype=object), kind="stable"), kind="stable")
    order = np.lexsort((alphabet[indices.to_numpy()], labels.value_parent_indices().to_numpy()))
    lengths = labels.value_lengths().to_numpy()
    ends = np.concatenate([[0], np.cumsum(lengths)])
    each = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names.take(indices.take(pa.array(order))))
    return pc.binary_join(each, pa.scalar(SEPARATOR, TEXT))
