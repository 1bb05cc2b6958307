"""The manifest of a split: what is written is read again, what does not belong to the pack is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom import files
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split, summary, write_split
from darkroom.data.splitting import divide
from darkroom.errors import InputError
from darkroom.params import Params


def test_what_is_written_is_read_again(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    images = [(number % 2, "train", number) for number in range(60)] + [
        (1 - number % 2, "test", number) for number in range(50, 70)
    ]
    pack = make_pack(images)
    params = make_params({"split.folds": 4, "split.fold": 1}).split
    division = divide(pack, params, 0)
    (tmp_path / "split").mkdir()
    write_split(tmp_path / "split", pack, division, params, 0)
    opened = Split.open(tmp_path / "split", pack)
    assert {name: rows.tolist() for name, rows in opened.rows.items()} == {
        name: [row for row, split in enumerate(division.splits) if split == name] for name in opened.rows
    }
    report = json.loads((tmp_path / "split" / "split.json").read_text())
    assert report["images"] == {name: len(rows) for name, rows in opened.rows.items()} | {"left_out": 10}
    assert report["duplicates"] == {"equal": 10, "near": 0, "across_splits": 0, "conflicts": 10}
    lines = (tmp_path / "split" / "duplicates.csv").read_text().splitlines()
    assert len(lines) == 11
    assert lines[1] == "equal,0,left_out,test,class 0,class 1,50,60,00050,00060"
    manifest = (tmp_path / "split" / "manifest.csv").read_text().splitlines()
    assert manifest[0] == "row,split,fold,label,class,id"
    folds = [line.split(",")[:3] for line in manifest[1:]]
    assert all((fold == "1") == (split == "val") for _, split, fold in folds if split in ("train", "val"))
    assert all(fold == "" for _, split, fold in folds if split in ("test", "left_out"))
    assert summary(pack, division) == (
        "37 train, 13 val, 20 test; 2 classes; 10 left out as duplicates; 10 pair(s) of equal images, see "
        "data/split/duplicates.csv; 10 of them with two labels"
    )


def test_a_manifest_of_other_images_is_refused(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(50)])
    params = make_params().split
    folder = tmp_path / "split"
    folder.mkdir()
    with pytest.raises(InputError, match=r"data/split/split\.json: does not exist; run 'dvc repro split'"):
        Split.open(folder, pack)
    write_split(folder, pack, divide(pack, params, 0), params, 0)
    text = (folder / "manifest.csv").read_text()
    for damaged, message in (
        (text[: len(text) // 2], "is of other images|is damaged"),
        (text.replace("\n7,", "\n9,"), "is of other images than data/raw; run 'dvc repro split'"),
        (text.replace("row,", "raw,"), "is damaged"),
        (text.replace(",train,", ",trian,"), "is damaged"),
        ("", "is of other images"),
    ):
        (folder / "manifest.csv").write_text(damaged)
        with pytest.raises(InputError, match=r"is damaged .*SHA-256 of manifest\.csv is not the one that split"):
            Split.open(folder, pack)
        sealed = files.read_sealed_json(folder / "split.json")
        digests = sealed["files"] | {"manifest.csv": files.sha256(folder / "manifest.csv")}
        files.write_sealed_json(folder / "split.json", sealed | {"files": digests})
        with pytest.raises(InputError, match=message):
            Split.open(folder, pack)


def test_a_changed_list_of_duplicates_is_refused(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(50)])
    params = make_params().split
    write_split(tmp_path, pack, divide(pack, params, 0), params, 0)
    Split.open(tmp_path, pack)
    (tmp_path / "duplicates.csv").write_text("kind\n")
    with pytest.raises(InputError, match=r"is damaged .*SHA-256 of duplicates\.csv .*run 'dvc checkout'"):
        Split.open(tmp_path, pack)
