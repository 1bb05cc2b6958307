"""Writing a split: the manifest is read again as it was written, and the report counts what is in it."""

import json
from collections.abc import Callable
from pathlib import Path

from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import summary, write_split


def test_what_is_written_is_read_again(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    images = [(number % 2, "train", number) for number in range(60)] + [
        (1 - number % 2, "test", number) for number in range(50, 70)
    ]
    pack = make_pack(images)
    params = make_params({"split.folds": 4, "split.fold": 1}).split
    division = assign_splits(pack, params, 0)
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
        "37 train, 13 val, 20 test; 2 classes; 10 duplicates left out; 10 pair(s) of equal images, see "
        "data/split/duplicates.csv; 10 of them with different labels"
    )
