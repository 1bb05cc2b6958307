"""Every kind of source, from params to a pack."""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

Download = Callable[..., DownloadParams]


@pytest.fixture
def packed(root: Path, download: Download) -> Callable[..., dict[str, Any]]:
    def run(**changes: Any) -> dict[str, Any]:
        directory = root / "raw"
        directory.mkdir()
        params = download(**changes)
        with read_source(params, directory) as listing:
            dataset = write_pack(listing, directory, params)
        assert sorted(path.name for path in directory.iterdir()) == sorted(["dataset.json", *dataset["files"]])
        return dataset

    return run


def archive_of(image: Callable[..., bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for row, name in enumerate(["set/train/a/1.png", "set/train/b/1.png", "set/test/a/1.png", "set/test/b/1.png"]):
            info, data = tarfile.TarInfo(name), image(row)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_digits(packed: Any) -> None:
    dataset = packed(source="digits")
    assert (dataset["count"], dataset["channels"], dataset["height"], dataset["width"]) == (1797, 1, 8, 8)
    assert dataset["licence"] == "CC BY 4.0"
    assert "Alpaydin" in dataset["citation"]


def test_a_folder(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    for name in ("a", "b"):
        (root / "photos" / name).mkdir(parents=True)
        (root / "photos" / name / "1.png").write_bytes(image())
    dataset = packed(source="folder", folder="photos")
    assert (dataset["source"], dataset["name"], dataset["classes"]) == ("folder", "photos", ["a", "b"])
    assert str(root) not in str(dataset)


def planted(root: Path, image: Callable[..., bytes], *folders: str) -> None:
    for seed, folder in enumerate(folders):
        for place, name in enumerate(("a", "b")):
            (root / folder / name).mkdir(parents=True)
            (root / folder / name / "1.png").write_bytes(image(2 * seed + place))


def test_folders_of_the_splits_at_paths_of_their_own(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    planted(root, image, "all/2023/images", "all/2024/valid", "all/field")
    folders = {"train": "2023/images", "val": "2024/valid", "test": str(root / "all" / "field")}
    dataset = packed(source="folder", folder="all", folders=folders)
    assert dataset["counts"] == {"train": 2, "val": 2, "test": 2}
    assert str(root) not in str(dataset)
    with pq.ParquetFile(root / "raw" / "index.parquet") as file:
        assert file.read(["id", "split"]).to_pydict() == {
            "id": [f"{split}/{name}/1.png" for split in ("train", "val", "test") for name in ("a", "b")],
            "split": [split for split in ("train", "val", "test") for _ in "ab"],
        }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folders": {"train": "2023", "val": "2042"}}, "download.folders.val: '2042' is not a folder in all; correct it"),
        ({"folders": {"train": "2023", "val": "../other"}}, "download.folders.val: '../other' is not a folder in all"),
        ({"folders": {"train": "2023", "val": "empty"}}, "class 'a' is in train but not in val"),
    ],
)
def test_folders_of_splits_that_are_not_there(
    changes: dict[str, Any], message: str, packed: Any, image: Callable[..., bytes], root: Path
) -> None:
    planted(root, image, "all/2023", "other")
    (root / "all" / "empty" / "b").mkdir(parents=True)
    (root / "all" / "empty" / "b" / "1.png").write_bytes(image(9))
    with pytest.raises(InputError) as caught:
        packed(source="folder", folder="all", **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parts": ["2023", "2024/Val"]},
            "'2024/Val' is named like a split, but parts are merged and split anew; set download.folders",
        ),
        ({"parts": ["2023"], "folders": {"train": "2024"}}, "download.parts names others"),
    ],
)
def test_parts_that_would_merge_splits_are_refused(changes: dict[str, Any], message: str, download: Download) -> None:
    with pytest.raises(InputError) as caught:
        download(source="folder", **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "params.yaml: download.folder: nowhere does not exist; correct it, or create the folder"),
        ("file", "params.yaml: download.folder: file is not a folder; correct it, or create the folder"),
    ],
)
def test_no_folder(folder: str, message: str, packed: Any, root: Path) -> None:
    (root / "file").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        packed(source="folder", folder=folder)
    assert str(caught.value) == message


def test_an_archive_behind_an_address(packed: Any, image: Callable[..., bytes], server: Any) -> None:
    data = archive_of(image)
    server.answers["/set.tgz"] = [server.body(data)]
    address = server.address + "/set.tgz?page=secret"
    dataset = packed(source="archive", archive=address, sha256=hashlib.sha256(data).hexdigest())
    assert dataset["name"] == f"{server.address}/set.tgz"
    assert dataset["counts"] == {"train": 2, "test": 2}
    assert "secret" not in str(dataset)


def test_an_archive_on_this_machine(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    data = archive_of(image)
    (root / "set.tgz").write_bytes(data)
    dataset = packed(source="archive", archive=str(root / "set.tgz"), sha256=hashlib.sha256(data).hexdigest())
    assert dataset["name"] == "set.tgz"
    assert str(root) not in str(dataset)


def test_an_archive_that_is_too_large(download: Download, root: Path) -> None:
    data = bytes(2000)
    (root / "set.tgz").write_bytes(data)
    params = download(source="archive", archive="set.tgz", sha256=hashlib.sha256(data).hexdigest(), max_gigabytes=1e-6)
    with (
        pytest.raises(InputError, match=r"set\.tgz: is larger than 1e-06 GB; if that is right, raise download\.max_gigabytes"),
        read_source(params, root),
    ):
        pass


def test_several_folders_are_one_set(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    for part, name, seed in (("2023", "a", 0), ("2023", "b", 1), ("2024", "a", 2), ("2024", "b", 3), ("2025", "a", 4)):
        (root / "photos" / part / name).mkdir(parents=True, exist_ok=True)
        (root / "photos" / part / name / "1.png").write_bytes(image(seed))
    dataset = packed(source="folder", folder="photos", parts=["2023", "2025"])
    assert dataset["counts_per_class"] == {"train": {"a": 2, "b": 1}}
    index = pq.read_table(root / "raw" / "index.parquet")
    assert index["id"].to_pylist() == ["2023/a/1.png", "2023/b/1.png", "2025/a/1.png"]


@pytest.mark.parametrize("part", ["2026", "../photos2", "file"])
def test_a_part_that_is_no_folder(part: str, packed: Any, root: Path) -> None:
    for name in ("photos", "photos2"):
        (root / name).mkdir()
    (root / "photos" / "file").write_bytes(b"")
    with pytest.raises(InputError, match=rf"download\.parts: '{re.escape(part)}' is not a folder in photos; correct it"):
        packed(source="folder", folder="photos", parts=[part])


def test_several_archives_are_one_set(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    archives = []
    for number, names in enumerate(
        (["train/a/1.png", "train/b/1.png"], ["set/test/a/1.png", "set/test/b/1.png", "set/train/a/1.png"])
    ):
        with zipfile.ZipFile(root / f"{number}.zip", "w") as archive:
            for seed, name in enumerate(names):
                archive.writestr(name, image(10 * number + seed))
        digest = hashlib.sha256((root / f"{number}.zip").read_bytes()).hexdigest()
        archives.append({"archive": f"{number}.zip", "sha256": digest})
    dataset = packed(source="archive", **archives[0], more_archives=archives[1:])
    assert dataset["counts_per_class"] == {"train": {"a": 2, "b": 1}, "test": {"a": 1, "b": 1}}
    assert dataset["more"] == [{"name": "1.zip", "sha256": archives[1]["sha256"]}]
    index = pq.read_table(root / "raw" / "index.parquet")
    assert index["id"].to_pylist() == [
        "1/train/a/1.png",
        "1/train/b/1.png",
        "2/train/a/1.png",
        "2/test/a/1.png",
        "2/test/b/1.png",
    ]


def test_a_further_archive_that_is_another(packed: Any, image: Callable[..., bytes], root: Path) -> None:
    data = archive_of(image)
    for name in ("1.tgz", "2.tgz"):
        (root / name).write_bytes(data)
    more = [{"archive": "2.tgz", "sha256": "0" * 64}]
    with pytest.raises(InputError, match=r"2\.tgz"):
        packed(source="archive", archive="1.tgz", sha256=hashlib.sha256(data).hexdigest(), more_archives=more)
