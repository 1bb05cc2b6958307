"""The square that a network is given: central, of the right size and channels, antialiased."""

import numpy as np
import pytest

from darkroom.data.resizing import fit

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1, 1), (17, 40, 3), (40, 17, 3), (8, 8), (3, 3, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_gives_the_square_that_was_asked_for(shape: tuple[int, ...], channels: int) -> None:
    fitted = fit(np.full(shape, 77, np.uint8), 8, channels)
    assert fitted.shape == (8, 8, channels)
    assert fitted.dtype == np.uint8
    assert (fitted == 77).all()


def test_fit_returns_a_right_image_itself() -> None:
    square = COLOUR[:6, :6]
    assert fit(square, 6, 3) is square


def test_fit_takes_the_centre() -> None:
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 2:4] = [[1, 2], [3, 4]]
    assert fit(wide, 2, 1)[..., 0].tolist() == [[1, 2], [3, 4]]


def test_fit_averages_all_pixels_when_it_shrinks() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert abs(int(fit(stripes, 4, 1)[1, 1, 0]) - 127) <= 1


def test_fit_to_grey_is_the_luma_of_bt_601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    assert fit(colours, 2, 1)[..., 0].tolist() == [[76, 150], [29, 255]]
