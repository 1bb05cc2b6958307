"""A folder and an archive with the same names give the same classes, splits and ids, or the same one-line error."""

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from darkroom.base.errors import InputError
from darkroom.data.images import ImageError
from darkroom.data.listing import Listing
from darkroom.sources.archive import Limits, unpack
from darkroom.sources.entries import Entry, scan
from darkroom.sources.folder import list_images

Lister = Callable[[list[str]], Listing]
LIMITS = Limits(max_files=1000, max_bytes=1e9, max_ratio=200)


def from_folder(names: list[str], place: Path, _: IO[bytes]) -> Listing:
    root = place / "set"
    root.mkdir()
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(name.encode())
    return list_images({"": scan(root)}, "set", {})


def from_archive(names: list[str], place: Path, spool: IO[bytes]) -> Listing:
    with zipfile.ZipFile(place / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "" if name.endswith("/") else name)
    return list_images({"": unpack(place / "set.zip", spool, LIMITS, "set")}, "set", {})


@pytest.fixture(params=[from_folder, from_archive])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lister]:
    with tempfile.TemporaryFile() as spool:
        yield lambda names: request.param(names, tmp_path, spool)


def found(listing: Listing) -> dict[str, tuple[str, str]]:
    classes = listing.name_classes(range(100))
    return {item.id: (item.split, classes[item.read()[1]]) for item in sorted(listing.items)}


@pytest.mark.parametrize(
    ("names", "expected", "ignored"),
    [
        (["b/1.jpg", "a/2.png"], {"a/2.png": ("train", "a"), "b/1.jpg": ("train", "b")}, []),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "Test/a/2.jpg", "Test/b/2.jpg", "valid/a/3.jpg", "valid/b/3.jpg"],
            {
                "Test/a/2.jpg": ("test", "a"),
                "Test/b/2.jpg": ("test", "b"),
                "train/a/1.jpg": ("train", "a"),
                "train/b/1.jpg": ("train", "b"),
                "valid/a/3.jpg": ("val", "a"),
                "valid/b/3.jpg": ("val", "b"),
            },
            [],
        ),
        (["w/a/1.jpg", "w/b/1.jpg", "w/LICENSE.txt"], {"a/1.jpg": ("train", "a"), "b/1.jpg": ("train", "b")}, ["LICENSE.txt"]),
        (
            ["w/train/a/1.jpg", "w/train/b/1.jpg", "README.md"],
            {"train/a/1.jpg": ("train", "a"), "train/b/1.jpg": ("train", "b")},
            ["README.md"],
        ),
        (["a/x/y/1.jpg", "b/1.jpg"], {"a/x/y/1.jpg": ("train", "a"), "b/1.jpg": ("train", "b")}, []),
        (
            ["a/1.jpg", "b/1.jpg", ".gitignore", "a/.DS_Store", "b/._1.jpg", "__MACOSX/a/._1.jpg", "a/.cache/2.jpg"],
            {"a/1.jpg": ("train", "a"), "b/1.jpg": ("train", "b")},
            [".gitignore", "__MACOSX", "a/.DS_Store", "a/.cache", "b/._1.jpg"],
        ),
        (
            [
                "a/1.jpg",
                "b/1.jpg",
                "a/@eaDir/1.jpg/thumb.jpg",
                "b/THUMBS.DB",
                "@eaDir/x.jpg",
                "b/desktop.ini",
                "$RECYCLE.BIN/1.jpg",
            ],
            {"a/1.jpg": ("train", "a"), "b/1.jpg": ("train", "b")},
            ["$RECYCLE.BIN", "@eaDir", "a/@eaDir", "b/THUMBS.DB", "b/desktop.ini"],
        ),
        # One class in two spellings that look the same.
        (
            ["train/caf\u00e9/1.jpg", "train/b/1.jpg", "test/cafe\u0301/2.jpg", "test/b\u00a0/2.jpg"],
            {
                "test/b\\xc2\\xa0/2.jpg": ("test", "b"),
                "test/cafe\u0301/2.jpg": ("test", "caf\u00e9"),
                "train/b/1.jpg": ("train", "b"),
                "train/caf\u00e9/1.jpg": ("train", "caf\u00e9"),
            },
            [],
        ),
        (
            ["Training/a/1.jpg", "Training/b/1.jpg", "Testing/a/1.jpg", "Testing/b/1.jpg"],
            {
                "Testing/a/1.jpg": ("test", "a"),
                "Testing/b/1.jpg": ("test", "b"),
                "Training/a/1.jpg": ("train", "a"),
                "Training/b/1.jpg": ("train", "b"),
            },
            [],
        ),
        # Among other classes, `train` is a vehicle.
        (["bus/1.jpg", "train/1.jpg"], {"bus/1.jpg": ("train", "bus"), "train/1.jpg": ("train", "train")}, []),
        (["a/1.jpg", "b/notes.txt"], {"a/1.jpg": ("train", "a"), "b/notes.txt": ("train", "b")}, []),
        (["a/1\n.jpg", "b\\c/1.jpg"], {"a/1\\x0a.jpg": ("train", "a"), "b\\\\c/1.jpg": ("train", "b\\\\c")}, []),
    ],
)
def test_layouts(listed: Lister, names: list[str], expected: dict[str, tuple[str, str]], ignored: list[str]) -> None:
    listing = listed(names)
    assert found(listing) == expected
    assert listing.ignored == ignored


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "set: holds no class folders; put the images of at least two classes into a folder each"),
        (["a/1.jpg"], "set: holds only one class folder, 'a'; put"),
        (["a/1.jpg", "b/"], "set: the folder of class 'b' (train) is empty; add images, or remove it"),
        (["a/1.jpg", "b/.DS_Store", "b/"], "set: the folder of class 'b' (train) is empty"),
        (["a/1.jpg", "b/1.jpg", ".ipynb_checkpoints/1.jpg"], "set: '.ipynb_checkpoints' is a hidden folder among the classes;"),
        (["train/a/1.jpg", "train/.x/1.jpg"], "set: 'train/.x' is a hidden folder among the classes; remove it"),
        (["a/1.jpg", "b/1.jpg", "c.JPG"], "set: the image 'c.JPG' is outside of all class folders; move it into one"),
        (["w/a/1.jpg", "w/b/1.jpg", "w/c.jpg"], "set: the image 'w/c.jpg' is outside of all class folders"),
        (["train/a/1.jpg", "train/b/1.jpg", "train/c.jpg"], "set: the image 'train/c.jpg' is outside"),
        (["train/1.jpg", "test/1.jpg"], "set: the image"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"],
            "set: class 'b' is in train but not in test; add images of it there, or remove it",
        ),
        (["train/a/1.jpg", "test/a/1.jpg", "test/b/1.jpg"], "set: class 'b' is in test but not in train;"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/"], "set: the folder of class 'b' (test) is empty"),
        (["test/a/1.jpg", "test/b/1.jpg"], "set: has 'test' but no 'train'; add it, or move the classes to the top"),
        (["train/a/1.jpg", "train/b/1.jpg", "c/1.jpg"], "set: 'c' is beside 'train'; move it out of the set, or into a split"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "validation/a/1.jpg", "validation/b/1.jpg"],
            "set: 'val' and 'validation' both name the split val; merge them",
        ),
        (
            ["2023/a/1.jpg", "2023/b/1.jpg", "2024/a/1.jpg", "2024/b/1.jpg"],
            "set: '2023' and '2024' hold the same folders, such as 'a' and 'b', and no image, so it is unclear which are the",
        ),
    ],
)
def test_bad_layouts(listed: Lister, names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        listed(names)
    assert str(caught.value).startswith(message)


def test_a_class_that_lost_all_images(listed: Lister) -> None:
    with pytest.raises(InputError, match="set: no image of class 'b' can be read; fix its images, or remove the class"):
        listed(["a/1.jpg", "b/1.jpg"]).name_classes([0])


def test_classes_are_sorted_by_code_point(listed: Lister) -> None:
    assert listed(["b/1.jpg", "B/1.jpg", "é/1.jpg", "10/1.jpg", "9/1.jpg"]).name_classes(range(5)) == ["10", "9", "B", "b", "é"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"a\xff", b"b"):
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)  # noqa: PTH102 (bytes)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b"/1.jpg")).write_bytes(b"x")
    assert sorted(item.id for item in list_images({"": scan(tmp_path)}, "set", {}).items) == ["a\\xff/1.jpg", "b/1.jpg"]


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "1.jpg").write_bytes(b"x")
    return root


def test_links_to_folders_are_not_followed(two_classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two_classes / "loop").symlink_to(two_classes)
    (two_classes / "a" / "loop").symlink_to("..")
    (two_classes / "a" / "itself").symlink_to("itself")
    (two_classes / "a" / "2.jpg").symlink_to("1.jpg")
    listing = list_images({"": scan(two_classes)}, "set", {})
    assert sorted(item.id for item in listing.items) == ["a/1.jpg", "a/2.jpg", "a/itself", "b/1.jpg"]
    assert listing.ignored == ["a/loop", "loop"]
    assert "warning: set: 'loop' is a link to a folder and is ignored" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["cat", "a/more"])
def test_links_to_images_elsewhere_are_refused_with_their_number(place: str, two_classes: Path, tmp_path: Path) -> None:
    for name in ("elsewhere/1.jpg", "elsewhere/deep/2.PNG", "elsewhere/notes.txt", "notes/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (two_classes / "docs").symlink_to(tmp_path / "notes")
    assert list_images({"": scan(two_classes)}, "set", {}).ignored == ["docs"]
    (two_classes / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        list_images({"": scan(two_classes)}, "set", {})
    assert str(caught.value) == (
        f"set: 1 link(s) to folders elsewhere, such as '{place}', hold 2 image(s), but DVC does not watch what is behind a link; "
        "put the folders themselves there, or set download.folder to the folder that holds them"
    )


def test_what_is_no_file_is_unreadable_and_never_opened(two_classes: Path) -> None:
    os.mkfifo(two_classes / "a" / "fifo.jpg")
    (two_classes / "a" / "dangling.jpg").symlink_to("nowhere.jpg")
    (two_classes / "a" / "itself.jpg").symlink_to("itself.jpg")
    (two_classes / "a" / "device.jpg").symlink_to("/dev/zero")
    reasons = {}
    for item in list_images({"": scan(two_classes)}, "set", {}).items:
        try:
            item.read()
        except ImageError as error:
            reasons[item.id] = str(error)
    assert reasons == {
        "a/fifo.jpg": "is not a regular file",
        "a/dangling.jpg": "is a broken link",
        "a/itself.jpg": "cannot be read (Too many levels of symbolic links)",
        "a/device.jpg": "is not a regular file",
    }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: cannot be listed \(No such file or directory\)"):
        list(scan(tmp_path / "nowhere"))


def test_deep_folders_are_no_recursion() -> None:
    deep = Entry("a/" + "x/" * 5000 + "1.jpg", "file", io.BytesIO(b"").read)
    assert len(list_images({"": [deep, Entry("b/1.jpg", "file", io.BytesIO(b"").read)]}, "set", {}).items) == 2
