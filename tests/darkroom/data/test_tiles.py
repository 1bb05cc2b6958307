"""A part of a JPEG in tiles has the pixels that the whole image has there, and what is no such JPEG is decoded whole."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import decode_jpeg

from darkroom.data.decoding import jpeg, tiles
from darkroom.data.decoding.jpeg import read_jpeg, read_jpeg_part
from darkroom.data.decoding.tiles import HEAD, LISTED, MOST_TILES, part_around, with_list
from darkroom.data.images import decode, encode

MOST = 10**6


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours with noise: every pixel differs from its neighbours, in chroma too."""
    numbers = np.random.default_rng(seed)
    small = numbers.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + numbers.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def tiled(image: NDArray[np.uint8], **options: Any) -> bytes:
    """A JPEG in tiles with the options of Pillow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **{"quality": 90, "restart_marker_blocks": 1} | options)
    return with_list(file.getvalue())


def unequal_parts(seed: int, cases: int) -> tuple[int, list[Any]]:
    """Return how many parts of random images were cut out, and those that differ from the whole image."""
    numbers, cut, wrong = np.random.default_rng(seed), 0, []
    for number in range(cases):
        height, width = (int(each) for each in numbers.integers(1, 120, 2))
        options = {"optimize": bool(numbers.integers(2)), "quality": int(numbers.integers(50, 96))}
        data = tiled(picture(height, width, seed=number), **options)
        whole = decode_jpeg(data)
        for _ in range(8):
            size = int(numbers.integers(1, height + 1)), int(numbers.integers(1, width + 1))
            top, left = int(numbers.integers(height - size[0] + 1)), int(numbers.integers(width - size[1] + 1))
            part = read_jpeg_part(data, (top, left, *size))
            if part is None:
                continue
            cut += 1
            if not np.array_equal(part, whole[top : top + size[0], left : left + size[1]]):
                wrong.append((height, width, options, top, left, size))
    return cut, wrong


def test_a_part_has_the_pixels_of_the_whole() -> None:
    cut, wrong = unequal_parts(0, 120)
    assert not wrong
    assert cut > 500


def test_that_could_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pixels around a rectangle, its chroma is interpolated with other neighbours."""
    monkeypatch.setattr(tiles, "AROUND", 0)
    assert unequal_parts(0, 120)[1]


@pytest.mark.parametrize("width", range(33, 48))
def test_a_narrow_rest_at_the_border(width: int) -> None:
    """Chroma of two columns is not interpolated, so that the rest alone would have other pixels."""
    data = tiled(picture(40, width))
    whole = decode_jpeg(data)
    for left in range(30, width):
        part = read_jpeg_part(data, (5, left, 9, width - left))
        assert part is not None
        assert np.array_equal(part, whole[5:14, left:])


def test_no_more_is_decoded_than_is_needed() -> None:
    data = encode(picture(256, 340), lossy=True)
    part = part_around(data, (50, 60, 20, 30))
    assert part is not None
    assert (part.top, part.left) == (48, 48)
    assert decode_jpeg(part.data).shape == (32, 48, 3)
    assert len(part.data) < len(data) / 5


def test_other_programs_read_it_and_see_the_same_pixels() -> None:
    image = picture(60, 70)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    data = encode(image, lossy=True)
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)
    assert np.array_equal(decode(data, MOST).image, expected)


def test_of_nearly_all_all_is_decoded() -> None:
    assert part_around(encode(picture(100, 100), lossy=True), (0, 0, 100, 100)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"restart_marker_blocks": 0},
        {"restart_marker_blocks": 2},
        {"subsampling": 0},
        {"subsampling": 1},
        {"progressive": True},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ],
    ids=str,
)
def test_others_are_decoded_whole(options: dict[str, Any]) -> None:
    data = tiled(picture(100, 100), **options)
    assert b"darkroom" not in data
    assert part_around(data, (10, 10, 20, 20)) is None
    assert decode(data, MOST).image.shape == (100, 100, 3)


def test_grey_is_not_stored_in_tiles() -> None:
    image = picture(100, 100)[..., 0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    assert encode(image, lossy=True) == file.getvalue()
    assert b"darkroom" not in tiled(image)


def test_too_many_tiles_have_no_list() -> None:
    side = int(16 * MOST_TILES**0.5) + 17
    assert b"darkroom" not in tiled(np.zeros((side, side, 3), np.uint8))


def test_a_list_that_is_wrong_is_not_followed() -> None:
    data = bytearray(tiled(picture(100, 100)))
    box = (40, 40, 20, 20)
    assert read_jpeg_part(bytes(data), box) is not None
    place = HEAD + LISTED.size
    data[place] += 1
    assert read_jpeg_part(bytes(data), box) is None
    assert read_jpeg(bytes(data), MOST, None) is not None


def test_damaged_parts_are_left_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiled(picture(100, 100))

    def fails(*_: Any) -> None:
        raise ValueError("Corrupt JPEG data")

    monkeypatch.setattr(jpeg, "decode_jpeg", fails)
    assert read_jpeg_part(data, (40, 40, 20, 20)) is None


def test_a_rectangle_outside_the_image_is_none() -> None:
    assert part_around(tiled(picture(50, 60)), (40, 0, 20, 20)) is None


@pytest.mark.parametrize("length", [0, 3, HEAD, HEAD + 5, HEAD + LISTED.size, 300, 700])
def test_a_cut_file_is_no_jpeg_in_tiles(length: int) -> None:
    assert part_around(tiled(picture(100, 100))[:length], (10, 10, 20, 20)) is None
