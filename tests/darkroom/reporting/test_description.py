"""What split writes about the data: all files, the same bytes twice, few images read, duplicates side by side."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.reporting import description, sheets
from darkroom.reporting.contents import Contents
from darkroom.reporting.description import class_lines, write_description

MakeContents = Callable[..., Contents]
NAMES = ["card.md", "classes.csv", "numbers.json", "images/duplicates.png", "images/samples.png", "shapes.csv", "sizes.csv"]


@pytest.fixture
def write(tmp_path: Path, dataset: dict[str, Any], split: dict[str, Any]) -> Callable[..., Path]:
    """Write the description of contents into a folder."""

    def write(contents: Contents, name: str = "metrics") -> Path:
        (tmp_path / name).mkdir()
        write_description(tmp_path / name, contents, dataset, split)
        return tmp_path / name

    return write


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def duplicates_of(folder: Path) -> Any:
    return np.asarray(Image.open(folder / "images" / "duplicates.png").convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_all_is_written_and_is_the_same_bytes_again(
    make_contents: MakeContents, write: Callable[..., Path], channels: int
) -> None:
    contents = make_contents(channels=channels, pairs=[(0, 1, 12)])
    folders = [write(contents, name) for name in ("one", "two")]
    assert sorted(path.relative_to(folders[0]).as_posix() for path in folders[0].rglob("*.*")) == sorted(NAMES)
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in NAMES)


def test_the_tables(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    folder = write(make_contents())
    splits = ["train", "val", "test", "left_out"]
    assert table(folder / "classes.csv") == [["class", *splits], ["a", "4", "1", "1", "0"], ["b", "4", "1", "1", "0"]]
    assert table(folder / "sizes.csv") == [["shorter_side", "place", *splits], ["8 to 9", "8", "8", "2", "2", "0"]]
    shapes = table(folder / "shapes.csv")
    assert shapes[0] == ["width_to_height", "place", *splits]
    assert ["square", "5", "8", "2", "2", "0"] in shapes
    assert len(shapes) == 12


def test_names_cannot_break_out(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    folder = write(make_contents(classes=["</script><b>", "=SUM(A1)\n|"]))
    assert not any("<" in path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file())
    assert [row[0] for row in table(folder / "classes.csv")[1:]] == ["\u2039/script\u203a\u2039b\u203a", "'=SUM(A1)\\n|"]


def test_without_duplicates_there_is_no_sheet_of_them(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    assert [path.name for path in (write(make_contents()) / "images").iterdir()] == ["samples.png"]


def test_a_pair_is_side_by_side_and_a_conflict_is_red(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    pixels = duplicates_of(write(make_contents(pairs=[(2, 4, -1), (8, 11, 3)])))
    pixels = pixels[sheets.TITLE_HEIGHT :]
    middle = sheets.GAP + sheets.FRAME + sheets.SIDE // 2
    # The conflict of 8 and 11 comes first; a gap stands between the pairs.
    lefts = [place * sheets.CELL_WIDTH + place // 2 * sheets.GROUP_GAP for place in range(4)]
    assert [int(pixels[middle, left + middle, 0]) for left in lefts] == [8, 11, 2, 4]
    frames = [tuple(pixels[middle, left + sheets.GAP].tolist()) for left in lefts]
    assert frames[0] == frames[1] == (220, 38, 38)
    assert (220, 38, 38) not in frames[2:]


def test_few_images_are_read_however_many_there_are(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    read: list[int] = []

    def read_image(row: int) -> Any:
        read.append(row)
        return np.zeros((8, 8, 1), np.uint8)

    labels = np.arange(60_000) % 5000
    contents = make_contents(
        classes=[f"c{label}" for label in range(5000)],
        labels=labels,
        pairs=[(row, row + 5000, 1) for row in range(5000)],
        read_image=read_image,
    )
    folder = write(contents)
    assert len(read) == description.MAX_SAMPLES + 2 * description.MAX_PAIRS
    assert len(table(folder / "classes.csv")) == 5001
    assert len((folder / "card.md").read_text(encoding="utf-8")) < 10_000


def test_what_is_left_out_is_no_sample(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    read: list[int] = []

    def read_image(row: int) -> Any:
        read.append(row)
        return np.zeros((8, 8, 1), np.uint8)

    splits = np.array(["train"] * 6 + ["left_out"] * 4 + ["test"] * 2)
    write(make_contents(splits=splits, read_image=read_image))
    assert sorted(read) == [0, 1, 2, 3, 4, 5, 10, 11]


def test_a_class_that_never_comes_alone_has_samples(make_contents: MakeContents, write: Callable[..., Path]) -> None:
    read: list[int] = []

    def read_image(row: int) -> Any:
        read.append(row)
        return np.zeros((8, 8, 1), np.uint8)

    labels = np.array([[1, 0]] * 10 + [[1, 1]] * 2, np.uint8)
    write(make_contents(labels=labels, splits=np.array(["train"] * 11 + ["test"]), read_image=read_image))
    assert read[8:] == [10, 11]


def test_the_table_for_the_terminal(make_contents: MakeContents) -> None:
    assert class_lines(make_contents(classes=["a", "two\nlines"])) == [
        "                train      val     test",
        "  a                 4        1        1",
        "  two\\nlines        4        1        1",
    ]
    left_out = make_contents(splits=np.array(["left_out"] + ["train"] * 11))
    assert class_lines(left_out)[0].endswith("test left_out")
    assert class_lines(make_contents(classes=[str(label) for label in range(21)])) == []
