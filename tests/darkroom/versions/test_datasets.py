"""Reading the images of a revision: class names for labels, matching splits, errors of damaged files."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.versions.datasets import DATASET, INDEX, MANIFEST, RAW, SPLIT, read_dataset
from darkroom.versions.revisions import Revision

Content = dict[str, bytes]


class Data(Protocol):
    """As the fixture `digits` gives it."""

    raw: Path
    pack: Pack
    split: Split


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def manifest(rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("split", "id")) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([columns, *rows])
    return file.getvalue().encode()


def content(**changes: Any) -> Content:
    """Return the least that any version of this project has written, with some of it changed."""
    columns = {"id": ["=x", "y"], "label": [1, 0], "pixel_hash": [b"1" * 16, b"2" * 16]} | changes.get("columns", {})
    dataset = {"classes": changes.get("classes", ["cat", "dog"])} | changes.get("dataset", {})
    rows = changes.get("rows", [("val", "'=x"), ("left_out", "y")])
    return {INDEX: parquet(**columns), DATASET: json.dumps(dataset).encode(), MANIFEST: manifest(rows)}


def revision(given: Content, name: str = "main", outs: tuple[str, ...] = (RAW, SPLIT)) -> Revision:
    return Revision(name, None if name == "workspace" else "0" * 40, frozenset(outs), given.__getitem__)


def test_the_least_that_old_versions_have_written() -> None:
    found = read_dataset(revision(content()))
    assert found.images.to_pydict() == {
        "id": ["=x", "y"],
        "class": ["dog", "cat"],
        "pixel_hash": [b"1" * 16, b"2" * 16],
        "split": ["val", "left_out"],
    }
    assert (len(found), found.classes, found.without_split) == (2, ["cat", "dog"], None)


def test_several_labels_are_one_text_for_any_order_of_the_classes() -> None:
    labels = pa.array([[0, 1], []], pa.list_(pa.int32()))
    for classes in (["cat", "dog"], ["dog", "cat"]):
        found = read_dataset(revision(content(columns={"label": labels}, classes=classes)))
        assert found.images["class"].to_pylist() == ["cat; dog", ""]


def test_what_this_version_writes(digits: Data) -> None:
    read = Revision("main", "0" * 40, frozenset((RAW, SPLIT)), lambda path: (digits.raw.parent / path[5:]).read_bytes())
    found = read_dataset(read)
    assert found.without_split is None
    assert found.images["id"].to_pylist() == digits.pack.ids
    assert found.images["pixel_hash"].to_pylist() == digits.pack.pixel_hashes
    assert found.images["class"].to_pylist() == [digits.pack.classes[label] for label in digits.pack.labels]
    for split, rows in digits.split.rows.items():
        assert set(found.images["split"].take(rows).to_pylist()) == {split}


@pytest.mark.parametrize(
    ("given", "outs", "why"),
    [
        (content(), (RAW,), "main has no split yet"),
        (content(rows=[("val", "'=x")]), (RAW, SPLIT), "in main, data/split does not match data/raw"),
        (content(rows=[("val", "'=x"), ("val", "z")]), (RAW, SPLIT), "in main, data/split does not match data/raw"),
    ],
)
def test_images_without_their_split(given: Content, outs: tuple[str, ...], why: str) -> None:
    found = read_dataset(revision(given, outs=outs))
    assert found.without_split == why
    assert found.images["split"].to_pylist() == ["", ""]
    assert found.images["class"].to_pylist() == ["dog", "cat"]


WHOLE = content()
DAMAGED = {
    "torn": ({INDEX: WHOLE[INDEX][:-9]}, "data/raw: is damaged in main (ArrowInvalid: "),
    "empty": ({INDEX: b""}, "data/raw: is damaged in main (ArrowInvalid: "),
    "no json": ({DATASET: b"{"}, "data/raw: is damaged in main (JSONDecodeError: "),
    "no object": ({DATASET: b"[]"}, "data/raw: is damaged in main (AttributeError: "),
    "no classes": ({DATASET: b"{}"}, "data/raw: is damaged in main (KeyError: 'classes')"),
    "classes": (content(classes="ab"), "data/raw: is damaged in main (ValueError: 'classes' is not a list of names)"),
    "bits": (
        content(dataset={"files": {"index.parquet": hashlib.sha256(b"another").hexdigest()}}),
        "data/raw: is damaged in main (ValueError: index.parquet does not have the SHA-256 that dataset.json records)",
    ),
    "label": (content(columns={"label": [0, 2]}), "data/raw: is damaged in main (ValueError: a label has no class)"),
    "below": (content(columns={"label": [0, -1]}), "data/raw: is damaged in main (ValueError: a label has no class)"),
    "empty label": (
        content(columns={"label": [0, None]}),
        "data/raw: is damaged in main (ValueError: a label has no class)",
    ),
    "text label": (content(columns={"label": ["cat", "dog"]}), "data/raw: is damaged in main ("),
    "id": (content(columns={"id": ["x", None]}), "data/raw: is damaged in main (ValueError: the column 'id' has 1 empty"),
    "csv": ({MANIFEST: b"split,id\nval,x,y\n"}, "data/split: is damaged in main (ArrowInvalid: "),
    "column": ({MANIFEST: b"row,id\n0,x\n"}, "data/split: is damaged in main (ArrowKeyError: "),
    "bytes": ({MANIFEST: b"split,id\nval,\xff\n"}, "data/split: is damaged in main (ArrowInvalid: "),
    "no bytes": ({MANIFEST: b""}, "data/split: is damaged in main (ArrowInvalid: "),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage(case: str) -> None:
    changes, message = DAMAGED[case]
    with pytest.raises(InputError) as error:
        read_dataset(revision(WHOLE | changes))
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("; check that commit out and run './darkroom verify'")


def test_a_column_that_is_missing_is_named() -> None:
    index = parquet(id=["=x", "y"], label=[0, 1])
    with pytest.raises(InputError, match="pixel_hash"):
        read_dataset(revision(WHOLE | {INDEX: index}))


@pytest.mark.parametrize(
    ("name", "way_out"), [("main", "name another revision"), ("workspace", "run 'dvc repro', or 'dvc checkout'")]
)
def test_no_images(name: str, way_out: str) -> None:
    with pytest.raises(InputError) as error:
        read_dataset(revision({}, name, ()))
    assert str(error.value).startswith(f"data/raw: {name} has no images; {way_out}")


def test_text_of_the_manifest_is_undone() -> None:
    names = ["'x", "=x", "''=y"]
    hashes = [bytes([number]) * 16 for number in range(3)]
    rows = [("train", files.csv_text(name)) for name in names]
    found = read_dataset(revision(content(columns={"id": names, "label": [0, 0, 0], "pixel_hash": hashes}, rows=rows)))
    assert (found.without_split, found.images["id"].to_pylist()) == (None, names)
