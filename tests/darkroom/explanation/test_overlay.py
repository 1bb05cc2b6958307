"""Heat over images, and the sizes at which they are shown."""

import io

import numpy as np
import pytest
from PIL import Image

from darkroom.explanation.overlay import SIDE, image_and_overlay, overlay, png, scaled, scaled_heat


def test_hot_places_have_colour_and_others_are_grey() -> None:
    image = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    drawn = overlay(image, heat).astype(int)
    assert drawn.shape == (4, 4, 3)
    assert np.ptp(drawn[0, 0]) > 50
    assert np.ptp(drawn[1:].reshape(-1, 3), axis=1).max() == 0
    assert drawn[0, 0].sum() > drawn[1, 1].sum()


def test_more_heat_is_brighter_also_in_grey() -> None:
    steps = overlay(np.zeros((1, 11, 1), np.uint8), np.linspace(0, 1, 11)[None])
    brightness = np.asarray(Image.fromarray(steps).convert("L")).astype(int)[0]
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 8, 1), (128, 128, 1)),
        ((32, 20, 3), (128, 80, 3)),
        ((100, 100, 3), (100, 100, 3)),
        ((300, 150, 3), (128, 64, 3)),
        ((500, 1, 1), (128, 1, 1)),
    ],
)
def test_images_are_at_most_as_large_as_they_are_shown(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = scaled(image)
    assert found.shape == expected
    assert max(found.shape[:2]) <= SIDE
    if shape[0] <= SIDE:
        assert np.array_equal(found[:: expected[0] // shape[0], :: expected[1] // shape[1]], image)


def test_image_and_overlay_have_one_size_and_are_png() -> None:
    image = np.zeros((8, 8, 1), np.uint8)
    shown, drawn = image_and_overlay(image, np.eye(8))
    assert drawn is not None
    assert shown.shape[:2] == drawn.shape[:2] == (128, 128)
    assert image_and_overlay(image, None)[1] is None
    for each in (shown, drawn):
        opened = Image.open(io.BytesIO(png(each)))
        assert opened.size == (128, 128)
        assert np.array_equal(np.asarray(opened).reshape(each.shape), each)
    assert scaled_heat(np.eye(8), 16, 4).shape == (16, 4)
