"""Sheets of images, tested by their pixels."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.metrics.outcomes import Outcomes
from darkroom.reporting import sheets

SRC = Path(__file__).resolve().parents[3] / "src"
RED = (220, 38, 38)
CELL_HEIGHT = sheets.SIDE + 2 * sheets.FRAME + 2 * sheets.LINE + sheets.GAP


def images(number: int, shape: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(number)]


def png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def cell(sheet: Image.Image, row: int, column: int) -> NDArray[np.uint8]:
    """Return the framed square of one image."""
    left, top = sheets.GAP + column * sheets.CELL_WIDTH, sheets.GAP + row * CELL_HEIGHT
    side = sheets.SIDE + 2 * sheets.FRAME
    return np.asarray(sheet.convert("RGB"))[top : top + side, left : left + side]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (224, 224, 3), (300, 10, 3), (1, 700, 3), (1, 1, 1)])
def test_images_of_any_size_make_the_same_sheet(shape: tuple[int, int, int]) -> None:
    sheet = sheets.contact_sheet(images(9, shape), [("true: a", "predicted: b 0.93")] * 9, [False] * 9)
    reopened = Image.open(io.BytesIO(png(sheet)))
    assert reopened.format == "PNG"
    assert reopened.size == (sheets.GAP + 8 * sheets.CELL_WIDTH, sheets.GAP + 2 * CELL_HEIGHT)


def test_the_bytes_are_the_same_again() -> None:
    content = images(4, (40, 50, 3)), [("true: a", "predicted: b")] * 4, [True, False] * 2
    assert png(sheets.contact_sheet(*content)) == png(sheets.contact_sheet(*content))


def test_small_images_are_enlarged_without_blur() -> None:
    image = np.array([[0, 255], [255, 0]], dtype=np.uint8)[:, :, None]
    inside = cell(sheets.contact_sheet([image], [("", "")], [False]), 0, 0)[3:-3, 3:-3]
    half = sheets.SIDE // 2
    assert (inside[:half, :half] == 0).all()
    assert (inside[:half, half:] == 255).all()


def test_only_wrong_images_have_a_red_frame() -> None:
    sheet = sheets.contact_sheet(images(3, (8, 8, 1)), [("true: a", "predicted: b")] * 3, [False, True, False], columns=2)
    assert tuple(cell(sheet, 0, 1)[0, 0]) == RED
    assert tuple(cell(sheet, 0, 0)[0, 0]) != RED
    assert tuple(cell(sheet, 1, 0)[0, 0]) != RED


def test_a_long_caption_stays_in_its_cell_and_keeps_its_end() -> None:
    font = sheets._font()
    shown = sheets._drawable("predicted: an extraordinarily long name of a class 0.93", font, 100)
    assert font.getlength(shown) <= 100
    assert shown.startswith("predict")
    assert "…" in shown
    assert shown.endswith("0.93")


@pytest.mark.parametrize("name", ["naïve é", "Größe", "Ελλάδα", "Жук", "32 of 46 → µ"])
def test_letters_of_europe_are_drawn_as_they_are(name: str) -> None:
    assert sheets._drawable(name, sheets._font(), 200) == name


def test_letters_that_the_font_lacks_are_written_as_their_numbers() -> None:
    assert sheets._drawable("猫 a\nb", sheets._font(), 200) == "\\u732b a\\nb"
    assert sheets._drawable("e\u0301", sheets._font(), 200) == "é"


def test_the_font_needs_no_import_of_matplotlib() -> None:
    code = "import sys; from darkroom.reporting.sheets import _font; _font(); sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(SRC)})


def test_the_title_stands_above_the_images_in_as_many_lines_as_it_needs() -> None:
    content = images(2, (8, 8, 1)), [("a", "b")] * 2, [False] * 2
    without, short, long = (sheets.contact_sheet(*content, title=title) for title in ("", "2 of 46 mistakes", "many words " * 20))
    assert short.height == without.height + sheets.TITLE_HEIGHT
    assert long.height >= short.height + 2 * sheets.TITLE_HEIGHT
    pixels = np.asarray(short)
    assert (pixels[: sheets.GAP + sheets.TITLE_HEIGHT] < 100).any()
    assert np.array_equal(pixels[sheets.TITLE_HEIGHT :], np.asarray(without))


def test_few_images_make_a_narrow_sheet() -> None:
    assert sheets.contact_sheet(images(3, (8, 8, 1)), [("a",)] * 3, [False] * 3).width == sheets.GAP + 4 * sheets.CELL_WIDTH


def test_colours_are_kept() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    inside = cell(sheets.contact_sheet([image], [("", "")], [False]), 0, 0)[3:-3, 3:-3]
    assert np.array_equal(inside, image)


def test_most_confident_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 0])
    assert Outcomes.of(probabilities, labels).most_confident_mistakes(5).tolist() == [2, 1, 3]
    assert Outcomes.of(probabilities, labels).most_confident_mistakes(1).tolist() == [2]
    assert Outcomes.of(probabilities[:1], labels[:1]).most_confident_mistakes(5).tolist() == []


def test_samples_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    rows = sheets.evenly_sampled(labels, 7)
    assert labels[rows].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert rows.tolist() == [0, 1, 2, 90, 91, 92, 99]
    assert sheets.evenly_sampled(labels[:2], 7).tolist() == [0, 1]


def test_samples_of_more_classes_than_places_cover_the_class_list() -> None:
    labels = np.arange(100).repeat(2)
    assert labels[sheets.evenly_sampled(labels, 4)].tolist() == [0, 25, 50, 75]


def test_groups_stand_apart_and_empty_cells_stay_empty() -> None:
    black = np.zeros((8, 8, 1), np.uint8)
    captions = [("one", "two", "three")] * 3
    sheet = np.asarray(sheets.contact_sheet([black, None, black], captions, [False] * 3, columns=4, group=2).convert("RGB"))
    assert sheet.shape[1] == sheets.GAP + 4 * sheets.CELL_WIDTH + sheets.GROUP_GAP
    assert sheet.shape[0] == sheets.GAP + CELL_HEIGHT + sheets.LINE
    middle = sheets.GAP + sheets.FRAME + sheets.SIDE // 2
    assert (sheet[middle, middle] == 0).all()
    assert (sheet[:, sheets.GAP + sheets.CELL_WIDTH : sheets.GAP + 2 * sheets.CELL_WIDTH + sheets.GROUP_GAP] > 250).all()
    assert (sheet[middle, middle + 2 * sheets.CELL_WIDTH + sheets.GROUP_GAP] == 0).all()


def test_samples_of_every_class_are_spread_over_it() -> None:
    labels = np.array([0] * 90 + [1] * 2 + [-1] * 8 + [2] * 8)
    assert sheets.sampled_by_class(labels, 3, 24).tolist() == [
        [0, 11, 22, 33, 45, 56, 67, 78],
        [90, 91, -1, -1, -1, -1, -1, -1],
        [100, 101, 102, 103, 104, 105, 106, 107],
    ]


@pytest.mark.parametrize(
    ("num_classes", "shape"), [(2, (2, 8)), (8, (8, 8)), (9, (9, 4)), (17, (17, 2)), (32, (32, 2)), (1000, (32, 2))]
)
def test_the_more_classes_the_fewer_of_each(num_classes: int, shape: tuple[int, int]) -> None:
    labels = np.arange(num_classes).repeat(9)
    rows = sheets.sampled_by_class(labels, num_classes, 64)
    assert rows.shape == shape
    assert (labels[rows] == labels[rows[:, :1]]).all()
    assert len(np.unique(rows)) == rows.size
    assert labels[rows[-1, 0]] >= num_classes * 31 // 32 - 1


def test_an_image_and_what_becomes_of_it_stand_in_one_row() -> None:
    views = [np.full((2, 8, 8, 1), value, np.uint8) + np.array([0, 5], np.uint8)[:, None, None, None] for value in (10, 60, 110)]
    sheet = sheets.augmentation_sheet(views, ["a", "b"])
    sheet = sheet.crop((0, sheet.height - sheets.GAP - 2 * CELL_HEIGHT, sheet.width, sheet.height))  # without the title
    found = [[int(cell(sheet, row, column)[50, 50, 0]) for column in range(3)] for row in range(2)]
    assert found == [[10, 60, 110], [15, 65, 115]]
