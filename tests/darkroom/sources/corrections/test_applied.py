"""Corrections reach data/raw from every kind of source; the source's files stay as they are."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.data.labels import names
from darkroom.data.pack import Pack
from darkroom.sources.corrections.applied import SHOWN, lines
from darkroom.sources.corrections.table import read_corrections
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

Write = Callable[..., Pack]


@pytest.fixture
def photos(root: Path, image: Callable[..., bytes]) -> Path:
    """Three cats and three dogs; one of them is named like a formula."""
    for number, name in enumerate(["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/1.png", "dog/=2.png"]):
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(image(number))
    return root / "set"


@pytest.fixture
def write(root: Path, download: Callable[..., DownloadParams]) -> Write:
    """Write the rows of a table, and pack the source."""

    def run(*rows: str, header: str = "id,given,label", **changes: Any) -> Pack:
        (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        params = download(**{"source": "folder", "folder": "set", "corrections": "labels.csv"} | changes)
        with files.replaced_dir(root / "raw") as directory, read_source(params, directory) as listing:
            write_pack(listing, directory, params, read_corrections(params.corrections))
        return Pack.open(root / "raw")

    return run


def labelled(pack: Pack) -> dict[str, str]:
    return dict(zip(pack.ids, names(pack.labels, pack.classes), strict=True))


def test_labels_are_changed_and_images_left_out(write: Write, photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    pack = write("cat/0.png,cat,dog", "cat/1.png,cat,cat", "dog/0.png,dog,remove", "dog/=2.png,dog,cat")
    assert labelled(pack) == {
        "cat/0.png": "dog",
        "cat/1.png": "cat",
        "cat/2.png": "cat",
        "dog/1.png": "dog",
        "dog/=2.png": "cat",
    }
    assert pack.dataset["corrected"] == [
        {"id": "cat/0.png", "given": "cat", "label": "dog"},
        {"id": "dog/=2.png", "given": "dog", "label": "cat"},
    ]
    assert pack.dataset["removed"] == ["dog/0.png"]
    assert pack.dataset["counts_per_class"] == {"train": {"cat": 3, "dog": 2}}
    assert {path: path.read_bytes() for path in photos.rglob("*.png")} == before


def test_an_id_like_a_formula_is_found_by_its_cell(write: Write, photos: Path) -> None:
    (photos / "dog" / "=2.png").rename(photos.parent / "kept.png")
    (photos / "=x").mkdir()
    (photos.parent / "kept.png").rename(photos / "=x" / "-2.png")
    pack = write("'=x/-2.png,'=x,dog", "dog/0.png,dog,'=x")
    assert (labelled(pack)["=x/-2.png"], labelled(pack)["dog/0.png"]) == ("dog", "=x")


def test_without_effect_data_raw_is_the_same(write: Write, photos: Path, root: Path) -> None:
    assert photos
    write(header="id,label")
    plain = files.sha256(root / "raw" / "dataset.json")
    assert "corrected" not in json.loads((root / "raw" / "dataset.json").read_text())
    write("cat/0.png,cat,cat", "gone.png,cat,cat", "dog/0.png,cat,dog")  # the last one was corrected in the source since
    assert files.sha256(root / "raw" / "dataset.json") == plain


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["cat/1.pgn,cat,dog"], "row 2: the source has no image 'cat/1.pgn'; did you mean 'cat/1.png'?"),
        (["zzz,cat,dog"], "row 2: the source has no image 'zzz'; remove the row, or set download.corrections to the table of"),
        (["cat/0.png,cat,dgo"], "row 2 ('cat/0.png'): the source has no class 'dgo'; did you mean 'dog'?"),
        (["cat/0.png,cat,Dog"], "row 2 ('cat/0.png'): the source has no class 'Dog'; did you mean 'dog'?"),
        (["cat/0.png,cat,remov"], "row 2 ('cat/0.png'): the source has no class 'remov'; did you mean 'remove'?"),
        (["cat/0.png,cat,7"], "row 2 ('cat/0.png'): the source has no class '7'; there are cat, dog, and 'remove' to leave"),
        (["cat/0.png,cat,"], "row 2 ('cat/0.png') has no label; write a class, or 'remove' to leave the image out"),
        (["dog/0.png,bird,cat"], "row 2 ('dog/0.png') was written for the label 'bird', but the source says 'dog'; look at"),
        ([f"cat/{number}.png,cat,dog" for number in range(3)], "leaves no image of class 'cat'; keep one, or remove the class"),
    ],
)
def test_a_wrong_row_is_one_line_and_nothing_is_written(
    write: Write, photos: Path, root: Path, rows: list[str], message: str
) -> None:
    assert photos
    with pytest.raises(InputError, match=re.escape(f"labels.csv: {message}")):
        write(*rows)
    assert not (root / "raw").exists()


def test_a_removed_class_is_named_with_the_table(write: Write, photos: Path) -> None:
    assert photos
    with pytest.raises(InputError, match=r"labels.csv: leaves out 3 image\(s\), and of the others: set: no image of class 'cat'"):
        write(*(f"cat/{number}.png,cat,remove" for number in range(3)))


def test_a_class_named_like_the_word_for_leaving_out(write: Write, photos: Path) -> None:
    (photos / "cat").rename(photos / "remove")
    with pytest.raises(InputError, match=r"labels\.csv: 'remove' leaves an image out, but is a class of the source as well"):
        write("dog/0.png,dog,remove")


def test_several_labels(write: Write, photos: Path) -> None:
    (photos / "several.csv").write_text("path,label\ncat/0.png,cat\ncat/1.png,cat|dog\ndog/0.png,dog\ndog/1.png,\n")
    columns = {"path": None, "label": None, "group": None, "split": None, "separator": "|"}
    changes = {"source": "manifest", "manifest": "several.csv", "columns": columns}
    pack = write("cat/0.png,cat,dog; cat", "cat/1.png,dog; cat,cat", "dog/0.png,dog,", "dog/1.png,,dog", **changes)
    assert labelled(pack) == {"cat/0.png": "cat; dog", "cat/1.png": "cat", "dog/0.png": "", "dog/1.png": "dog"}
    assert [each["id"] for each in pack.dataset["corrected"]] == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert write("cat/1.png,cat;dog,dog;cat", **changes).dataset.keys().isdisjoint({"corrected", "removed"})


def test_labels_of_a_source_that_names_its_classes_when_it_is_read(write: Write) -> None:
    pack = write("0000,0,8", source="digits")
    assert labelled(pack)["0000"] == "8"
    assert pack.dataset["corrected"] == [{"id": "0000", "given": "0", "label": "8"}]


def test_what_download_prints() -> None:
    many = [{"id": f"{number}.png", "given": "a", "label": "b"} for number in range(SHOWN)]
    assert list(lines({})) == []
    told = list(lines({"corrected": many, "removed": ["x.png", "y.png"]}))
    assert told[:2] == [f"corrections: {SHOWN} label(s) changed, 2 image(s) left out", "  0.png: a -> b"]
    assert told[-1] == "  ... and 2 more, see data/raw/dataset.json"
    assert list(lines({"corrected": [], "removed": ["x.png"]}))[1:] == ["  x.png: left out"]
