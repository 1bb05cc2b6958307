"""Reading a split: a manifest that is damaged or belongs to other images is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split


def test_a_manifest_of_other_images_is_refused(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(50)])
    params = make_params().split
    folder = tmp_path / "split"
    folder.mkdir()
    with pytest.raises(InputError, match=r"data/split/split\.json: does not exist; run 'dvc repro split'"):
        Split.open(folder, pack)
    write_split(folder, pack, assign_splits(pack, params, 0), params, 0)
    text = (folder / "manifest.csv").read_text()
    for damaged, message in (
        (text[: len(text) // 2], "belongs to other images|is damaged"),
        (text.replace("\n7,", "\n9,"), "belongs to other images than data/raw; run 'dvc repro split'"),
        (text.replace("row,", "raw,"), "is damaged"),
        (text.replace(",train,", ",trian,"), "is damaged"),
        ("", "belongs to other images"),
    ):
        (folder / "manifest.csv").write_text(damaged)
        with pytest.raises(InputError, match=r"is damaged .*SHA-256 of manifest\.csv is not the one in split"):
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
    write_split(tmp_path, pack, assign_splits(pack, params, 0), params, 0)
    Split.open(tmp_path, pack)
    (tmp_path / "duplicates.csv").write_text("kind\n")
    with pytest.raises(InputError, match=r"is damaged .*SHA-256 of duplicates\.csv .*run 'dvc checkout'"):
        Split.open(tmp_path, pack)
