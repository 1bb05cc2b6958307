"""The list of what is predicted: each file once, whoever names it, and lists as other programs write them."""

import io
import os
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Columns
from darkroom.batch.listing import Listing

pytestmark = pytest.mark.usefixtures("folder")
COLUMNS = Columns(path=None, label=None, group=None, split=None, separator=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images in a/, one below, and an array; nothing decodes them."""
    monkeypatch.chdir(tmp_path)
    Path("a/b").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "3.npy", "b/4.jpg"):
        (tmp_path / "a" / name).write_bytes(b"")
    return tmp_path


def listed(*chosen: str, arrays: bool = True) -> list[tuple[str, str | None]]:
    listing = Listing(chosen, COLUMNS)
    found = [(entry.name, entry.label) for entry in listing.entries(arrays=arrays)]
    assert listing.total(arrays=arrays) == len(found)
    return found


@pytest.mark.parametrize(
    "again",
    [
        "a", "a/", "./a", "a/b/..", "a/*.jpg", "a/**/*.jpg", "a/1.jpg", "./a/1.jpg", "a/b/../1.jpg", "{here}/a", "link", "link/1.jpg",
        "@list.txt", "table.csv",
    ],
)  # fmt: skip
def test_a_file_is_listed_once(again: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link").symlink_to("a")
    Path("list.txt").write_text("a/1.jpg\na/1.jpg\n")
    Path("table.csv").write_text("path\na/1.jpg\n")
    once = listed("a")
    assert [name for name, _ in once] == ["a/1.jpg", "a/2.jpg", "a/3.npy", "a/b/4.jpg"]
    assert capsys.readouterr().err == ""
    assert listed("a", again.format(here=folder)) == once
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert "is named more than once" in line


def test_two_names_in_a_folder_are_two_images(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder may hold links to one file, such as those of DVC's cache to equal images."""
    Path("a/5.jpg").symlink_to("1.jpg")
    os.link("a/1.jpg", "a/6.jpg")
    assert len(listed("a")) == 6
    assert capsys.readouterr().err == ""


def test_addresses_once_and_frames_of_a_camera_as_often_as_they_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(listed("https://host/a.jpg", "https://host/a.jpg", "https://host/b.jpg", "camera:0", "camera:0")) == 4
    assert "https://host/a.jpg: is named more than once, and predicted once" in capsys.readouterr().err


@pytest.mark.parametrize("order", [["a", "table.csv"], ["table.csv", "a"]])
def test_a_label_is_kept_whoever_names_the_file(order: list[str]) -> None:
    Path("table.csv").write_text("path,label\na/2.jpg,daisy\na/b/4.jpg,\n")
    listing = Listing(order, COLUMNS)
    assert listing.has_labels
    labels = {entry.name: entry.label for entry in listing.entries(arrays=False)}
    assert labels == {"a/1.jpg": None, "a/2.jpg": "daisy", "a/b/4.jpg": None}


def test_two_labels_of_one_file_are_refused() -> None:
    Path("one.csv").write_text("path,label\na/1.jpg,daisy\n")
    Path("other.csv").write_text("path,label\n./a/1.jpg,rose\n")
    with pytest.raises(InputError, match=r"^a/1\.jpg: has the label 'daisy' and, named again, 'rose'; correct one of them$"):
        Listing(["one.csv", "other.csv"], COLUMNS)


def test_an_array_of_a_folder_that_is_named_as_well_counts() -> None:
    assert [name for name, _ in listed("a", "a/3.npy", arrays=False)] == ["a/1.jpg", "a/2.jpg", "a/3.npy", "a/b/4.jpg"]


def test_the_hash_says_whether_the_list_changed() -> None:
    before = Listing(["a"], COLUMNS).digest
    assert Listing(["a", "a/1.jpg"], COLUMNS).digest != Listing(["a/1.jpg"], COLUMNS).digest
    assert Listing(["a"], COLUMNS).digest == before
    Path("a/1.jpg").write_bytes(b"more")
    assert Listing(["a"], COLUMNS).digest != before


LINES = "a/1.jpg{0}a/2.jpg{0}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("where", ["@list.txt", "-"])
def test_lists_of_other_programs(end: str, encoding: str, where: str, monkeypatch: Any) -> None:
    data = LINES.format(end).encode(encoding)
    Path("list.txt").write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [name for name, _ in listed(where)] == ["a/1.jpg", "a/2.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_in_another_encoding_is_refused(encoding: str) -> None:
    Path("list.txt").write_bytes(LINES.format("\r\n").encode(encoding))
    with pytest.raises(InputError, match=r"^@list\.txt: line 1 is no text in UTF-8, but perhaps in UTF-16; save it as UTF-8$"):
        Listing(["@list.txt"], COLUMNS)


def test_a_folder_is_no_list() -> None:
    with pytest.raises(InputError, match=r"^@a: is a folder, not a list of paths; name it without @$"):
        Listing(["@a"], COLUMNS)
