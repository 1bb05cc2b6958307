"""Splits are disjoint, stratified, seeded; the source's own sets stay whole; equal pictures never stand on both sides."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom import files
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.packing import write_pack
from darkroom.data.pictures import Decoded
from darkroom.data.splits import Split, divide, write_split
from darkroom.errors import InputError
from darkroom.params import DownloadParams, Params


@pytest.fixture
def make_pack(tmp_path: Path, download: Callable[..., DownloadParams]) -> Callable[..., Pack]:
    """Return a pack of (label, split, value of its pixels) pictures."""

    def make(pictures: list[tuple[int, str, int]]) -> Pack:
        items = []
        for number, (label, split, value) in enumerate(pictures):
            pixels = np.array([[value % 256, value // 256], [0, 1]], np.uint8)
            items.append(Item(f"{number:05d}", split, partial(lambda pixels, label: (Decoded(pixels), label), pixels, label)))
        (tmp_path / "raw").mkdir()
        write_pack(
            Listing("test", items, lambda labels: [f"class {label}" for label in labels], {}), tmp_path / "raw", download()
        )
        return Pack.open(tmp_path / "raw")

    return make


def test_carved_splits_are_disjoint_stratified_and_seeded(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    pack = make_pack([(number % 4 if number % 8 else 0, "train", number) for number in range(1000)])
    params = make_params().split
    splits = divide(pack, params, 0)
    assert Counter(splits.tolist()) == {"train": 700, "val": 100, "test": 200}
    for label in range(4):
        of_class = splits[pack.labels == label]
        assert (of_class == "test").sum() == pytest.approx(0.2 * len(of_class), abs=1)
        assert (of_class == "val").sum() == pytest.approx(0.1 * len(of_class), abs=1)
    assert np.array_equal(divide(pack, params, 0), splits)
    assert not np.array_equal(divide(pack, params, 1), splits)


def test_the_source_s_own_sets_are_kept(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = ["train"] * 100 + ["val"] * 20 + ["test"] * 30
    pack = make_pack([(number % 2, split, number) for number, split in enumerate(own)])
    assert divide(pack, make_params().split, 0).tolist() == pack.splits.tolist()


def test_only_the_missing_set_is_carved(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = ["train"] * 100 + ["test"] * 30
    pack = make_pack([(number % 2, split, number) for number, split in enumerate(own)])
    splits = divide(pack, make_params().split, 0)
    assert Counter(splits.tolist()) == {"train": 90, "val": 10, "test": 30}
    assert (splits[pack.splits == "test"] == "test").all()


def test_equal_pictures_stay_together(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number // 4 % 2, "train", number // 4) for number in range(400)])  # each picture four times
    for seed in range(5):
        splits = divide(pack, make_params().split, seed)
        where: dict[bytes, set[str]] = {}
        for picture, split in zip(pack.pixel_hashes, splits, strict=True):
            where.setdefault(picture, set()).add(split)
        assert all(len(names) == 1 for names in where.values())


def test_a_training_picture_that_is_also_tested_on_is_left_out(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    pictures = [(number % 2, "train", number) for number in range(60)] + [
        (number % 2, "test", number) for number in range(50, 70)
    ]
    pack = make_pack(pictures)
    params = make_params().split
    splits = divide(pack, params, 0)
    values = [int(pack[row][0, 0, 0]) for row in range(len(pack))]
    left_out = [value for value, split in zip(values, splits, strict=True) if split == "left_out"]
    assert sorted(left_out) == list(range(50, 60))
    assert (splits == "test").sum() == 20
    (tmp_path / "split").mkdir()
    write_split(tmp_path / "split", pack, splits, params, 0)
    opened = Split.open(tmp_path / "split", pack)
    assert sum(len(rows) for rows in opened.rows.values()) == len(pack) - 10
    report = json.loads((tmp_path / "split" / "split.json").read_text())
    assert len(report["left_out"]) == 10
    assert len(report["duplicates"]) == 10
    assert report["pictures"] == {name: len(rows) for name, rows in opened.rows.items()}


def test_what_is_tested_on_chooses_no_epoch(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = [("train", range(40)), ("val", range(30, 60)), ("test", range(50, 80))]
    pack = make_pack([(value % 2, split, value) for split, values in own for value in values])
    counts = Counter(divide(pack, make_params().split, 0).tolist())
    assert counts == {"train": 30, "val": 20, "test": 30, "left_out": 20}


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([20, 1], {}, "data/raw: class 'class 1' has 1 different picture(s) to split; add some, or remove it"),
        (
            [20, 20],
            {"test_fraction": 0.01},
            "params.yaml: split.test_fraction: gives 0 of 40 pictures, fewer than one for each of the 2 classes; raise it",
        ),
        (
            [20, 20],
            {"test_fraction": 0.5, "val_fraction": 0.499},
            "params.yaml: split.val_fraction: leaves 0 of 20 pictures, fewer than one for each of the 2 classes; lower it",
        ),
        ([200, 3], {"test_fraction": 0.1}, "class 'class 1' has"),
    ],
)
def test_too_few_pictures(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], counts: list[int], changes: dict[str, Any], message: str
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    pack = make_pack([(label, "train", number) for number, label in enumerate(labels)])
    with pytest.raises(InputError) as caught:
        divide(pack, make_params({f"split.{key}": value for key, value in changes.items()}).split, 0)
    assert message in str(caught.value)


def test_a_class_whose_pictures_are_all_tested_on(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack(
        [(number % 2, "train", number) for number in range(20)] + [(1, "test", number) for number in range(1, 20, 2)]
    )
    with pytest.raises(
        InputError, match=r"class 'class 1' has 0 different picture\(s\) to split: all that it has in train stand"
    ):
        divide(pack, make_params().split, 0)


def test_a_manifest_of_other_pictures_is_refused(
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
        (text[: len(text) // 2], "is of other pictures|is damaged"),
        (text.replace("\n7,", "\n9,"), "is of other pictures than data/raw; run 'dvc repro split'"),
        (text.replace("row,", "raw,"), "is damaged"),
        (text.replace(",train,", ",trian,"), "is damaged"),
        ("", "is of other pictures"),
    ):
        (folder / "manifest.csv").write_text(damaged)
        with pytest.raises(InputError, match=r"is damaged .*its SHA-256 is not the one that split\.json records"):
            Split.open(folder, pack)
        sealed = files.read_sealed_json(folder / "split.json")
        files.write_sealed_json(folder / "split.json", sealed | {"manifest_sha256": files.sha256(folder / "manifest.csv")})
        with pytest.raises(InputError, match=message):
            Split.open(folder, pack)
