"""The image that a network is given: of the right size, shape and channels, antialiased."""

from typing import Any

import numpy as np
import pytest

from darkroom.data.resizing import fit, height_and_width, with_channels

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


def marked(height: int, width: int, channels: int = 3, dtype: str = "uint8") -> "np.ndarray[Any, Any]":
    """Return grey with a bright frame of a tenth of each side."""
    image = np.full((height, width, channels), 60, dtype)
    rows, columns = max(1, height // 10), max(1, width // 10)
    image[:rows], image[-rows:], image[:, :columns], image[:, -columns:] = 250, 250, 250, 250
    return image


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [20, (20, 30), (30, 20), (21, 40)])
@pytest.mark.parametrize("way", ["crop", "letterbox", "squash"])
def test_every_way_gives_the_size_that_was_asked_for(way: Any, size: Any, channels: int, dtype: str) -> None:
    for shape in ((40, 60), (60, 40), (7, 90), (1, 1), (20, 30)):
        fitted = fit(np.full((*shape, channels), 77, dtype), size, channels, way)
        assert fitted.shape == (*height_and_width(size), channels)
        assert fitted.dtype == dtype
        assert fitted.max() == 77


def test_crop_keeps_the_centre_and_the_proportions() -> None:
    fitted = fit(marked(40, 80), (20, 20), 3)
    assert (fitted[0] > 200).all()  # the frame above
    assert (fitted[5:-5, 0] == 60).all()  # none at the sides
    wide = fit(marked(80, 80), (20, 40), 3)
    assert (wide[:, 0] > 200).all()
    assert (wide[0, 8:-8] == 60).all()


def test_letterbox_keeps_the_whole_image_between_black_bars() -> None:
    fitted = fit(marked(40, 80), 40, 3, "letterbox")
    assert (fitted[:10] == 0).all()
    assert (fitted[-10:] == 0).all()
    assert (fitted[10, :] > 200).all()
    assert (fitted[10:30, [0, -1]] > 200).all()
    high = fit(marked(80, 40), (40, 60), 3, "letterbox")
    assert (high[:, :20] == 0).all()
    assert (high[:, 20] > 200).all()
    assert (high[:, 40:] == 0).all()


def test_squash_keeps_the_whole_image_and_changes_its_shape() -> None:
    fitted = fit(marked(40, 80), 40, 3, "squash")
    for edge in (fitted[0], fitted[-1], fitted[:, 0], fitted[:, -1]):
        assert (edge > 200).all()


def test_bands_are_resampled_one_by_one_as_colours_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    for way in ("crop", "letterbox", "squash"):
        fitted = fit(image, (10, 12), 4, way)
        assert np.abs(fitted[..., :3].astype(int) - fit(np.ascontiguousarray(image[..., :3]), (10, 12), 3, way)).max() <= 1


def test_a_ramp_of_numbers_is_not_rounded() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1e-3, 64, dtype=np.float32)[:, None, None], (64, 64, 5))
    fitted = fit(ramp, 32, 5)
    assert np.allclose(fitted[4:-4, 0, 0], ramp[:, 0, 0].reshape(32, 2).mean(axis=1)[4:-4], atol=1e-7)


def test_other_numbers_of_channels_are_refused() -> None:
    assert with_channels(COLOUR.astype(np.float32), 1)[0, 0, 0] == pytest.approx(COLOUR[0, 0] @ [0.299, 0.587, 0.114], rel=1e-5)
    with pytest.raises(ValueError, match="4 channels cannot become one of 3"):
        with_channels(np.zeros((2, 2, 4), np.uint8), 3)
