"""The sheets of pictures, looked at through their pixels."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.reporting import sheets

RED = (220, 38, 38)
CELL_HEIGHT = sheets.SIDE + 2 * sheets.FRAME + 2 * sheets.LINE + sheets.GAP


def pictures(number: int, shape: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(number)]


def png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def cell(sheet: Image.Image, row: int, column: int) -> NDArray[np.uint8]:
    """Return the framed square of one picture."""
    left, top = sheets.GAP + column * sheets.CELL_WIDTH, sheets.GAP + row * CELL_HEIGHT
    side = sheets.SIDE + 2 * sheets.FRAME
    return np.asarray(sheet.convert("RGB"))[top : top + side, left : left + side]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (224, 224, 3), (300, 10, 3), (1, 700, 3), (1, 1, 1)])
def test_pictures_of_any_size_make_the_same_sheet(shape: tuple[int, int, int]) -> None:
    sheet = sheets.contact_sheet(pictures(9, shape), [("is a", "said b 0.93")] * 9, [False] * 9)
    reopened = Image.open(io.BytesIO(png(sheet)))
    assert reopened.format == "PNG"
    assert reopened.size == (sheets.GAP + 8 * sheets.CELL_WIDTH, sheets.GAP + 2 * CELL_HEIGHT)


def test_the_bytes_are_the_same_again() -> None:
    content = pictures(4, (40, 50, 3)), [("is a", "said b")] * 4, [True, False] * 2
    assert png(sheets.contact_sheet(*content)) == png(sheets.contact_sheet(*content))


def test_small_pictures_are_enlarged_without_blur() -> None:
    picture = np.array([[0, 255], [255, 0]], dtype=np.uint8)[:, :, None]
    inside = cell(sheets.contact_sheet([picture], [("", "")], [False]), 0, 0)[3:-3, 3:-3]
    half = sheets.SIDE // 2
    assert (inside[:half, :half] == 0).all()
    assert (inside[:half, half:] == 255).all()


def test_only_wrong_pictures_have_a_red_frame() -> None:
    sheet = sheets.contact_sheet(pictures(3, (8, 8, 1)), [("is a", "said b")] * 3, [False, True, False], columns=2)
    assert tuple(cell(sheet, 0, 1)[0, 0]) == RED
    assert tuple(cell(sheet, 0, 0)[0, 0]) != RED
    assert tuple(cell(sheet, 1, 0)[0, 0]) != RED


def test_a_long_caption_stays_in_its_cell_and_keeps_its_end() -> None:
    font = sheets._font()
    shown = sheets._drawable("said an extraordinarily long name of a class 0.93", font, 100)
    assert font.getlength(shown) <= 100
    assert shown.startswith("said")
    assert "…" in shown
    assert shown.endswith("0.93")


def test_accents_are_dropped_because_the_font_lacks_them() -> None:
    assert sheets._drawable("naïve é", sheets._font(), 100) == "naive e"


def test_a_sheet_without_pictures_says_so() -> None:
    sheet = sheets.contact_sheet([], [], [])
    assert Image.open(io.BytesIO(png(sheet))).size == sheet.size
    assert len(np.unique(np.asarray(sheet))) > 1
    assert png(sheet) != png(sheets.contact_sheet([], [], [], empty="nothing"))


def test_most_confident_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 0])
    assert sheets.most_confident_mistakes(probabilities, labels, 5).tolist() == [2, 1, 3]
    assert sheets.most_confident_mistakes(probabilities, labels, 1).tolist() == [2]
    assert sheets.most_confident_mistakes(probabilities[:1], labels[:1], 5).tolist() == []


def test_samples_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    rows = sheets.evenly_sampled(labels, 7)
    assert labels[rows].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert rows.tolist() == [0, 1, 2, 90, 91, 92, 99]
    assert sheets.evenly_sampled(labels[:2], 7).tolist() == [0, 1]


def test_samples_of_more_classes_than_places_cover_the_class_list() -> None:
    labels = np.arange(100).repeat(2)
    assert labels[sheets.evenly_sampled(labels, 4)].tolist() == [0, 25, 50, 75]
