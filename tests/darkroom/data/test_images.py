"""Every kind of image becomes 8-bit grey or RGB by the documented rule; whatever is broken is an ImageError."""

import contextlib
import gzip
import io
import itertools
import random
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from darkroom.data import images
from darkroom.data.images import ImageError, convert, decode, encode

MAX_PIXELS = 10_000
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), np.uint8)
GREY = COLOUR[..., 0]


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start_of_pixels = struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + start_of_pixels


def palette(colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([value for colour in colours for value in colour])
    image.putpixel((1, 0), 1)
    return image


def cut(kind: str, length: int) -> bytes:
    """Return the beginning of a file; from the end if the length is negative."""
    return saved(Image.fromarray(COLOUR), kind)[:length]


NO_IMAGE = "is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image"


@pytest.mark.parametrize(
    "data",
    [
        bytes(100),
        bytes(RNG.integers(0, 256, 500, np.uint8)),
        "words".encode("utf-16"),
        b"<!DOCTYPE html><html>404 Not Found</html>",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"PK\x03\x04" + bytes(60),
        b"MZ\x90\x00" + bytes(60),
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        gzip.compress(saved(Image.fromarray(COLOUR)), mtime=0),
        *(saved(Image.fromarray(COLOUR), kind) for kind in ("ICO", "JPEG2000", "TGA", "PCX", "DDS", "SGI")),
        *(cut(kind, length) for kind, length in [("PNG", 8), ("WEBP", 12), ("GIF", 10), ("TIFF", 8), ("AVIF", 20)]),
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        png_header(0, 0),
        png_header(5, 0),
    ],
)
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError, match=f"^{NO_IMAGE}$"):
        decode(data, MAX_PIXELS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (cut("JPEG", 100), "is damaged ("),
        (cut("WEBP", -40), "is damaged ("),
        (cut("TIFF", -40), "is damaged (image file is truncated"),
        (cut("AVIF", -40), "is damaged ("),
        (cut("BMP", 20), "is damaged ("),
        (cut("GIF", -10), "is damaged (image file is truncated"),
        (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + saved(Image.fromarray(GREY), "GIF")[10:], "has 60000 x 60000 pixels"),
        (b"these are words", NO_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a JPEG, PNG"),
        (saved(Image.fromarray(COLOUR), "PPM"), "is not a JPEG, PNG"),
        (saved(Image.fromarray(COLOUR), "JPEG")[:-40], "is damaged (Corrupt JPEG data: premature end of data segment"),
        (saved(Image.fromarray(COLOUR), "PNG")[:80], "is damaged ("),
        (saved(Image.fromarray(COLOUR), "BMP")[:-40], "is damaged (image file is truncated"),
        (png_header(100_000, 100_000), "has 100000 x 100000 pixels, more than max_pixels (10000)"),
        (saved(Image.new("L", (101, 100))), "has 101 x 100 pixels, more than max_pixels (10000)"),
        (saved(Image.fromarray(np.full((2, 2), 1.5, np.float32)), "TIFF"), "has floating-point values from 1.5 to 1.5; scale"),
        (saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), "has floating-point values from nan to nan"),
        (saved(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"), "has pixels of Pillow's mode I,"),
    ],
)
def test_unusable(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, MAX_PIXELS)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_plain_images_are_not_converted(kind: str) -> None:
    decoded = decode(saved(Image.fromarray(COLOUR), kind, **({"lossless": True} if kind == "WEBP" else {})), MAX_PIXELS)
    assert decoded.conversions == ()
    np.testing.assert_array_equal(decoded.image, COLOUR)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP"])
def test_plain_grey_stays_grey(kind: str) -> None:
    decoded = decode(saved(Image.fromarray(GREY), kind), MAX_PIXELS)
    assert decoded.conversions == (("palette",) if kind == "GIF" else ())
    assert decoded.image.shape == GREY.shape
    if kind != "JPEG":
        np.testing.assert_array_equal(decoded.image, GREY)


SIXTEEN = np.array([[0, 128, 129, 257, 32896, 65407, 65535]], np.uint16)
HALF = np.dstack([np.full((1, 2, 3), 100, np.uint8), np.array([[[255], [0]]], np.uint8)])


@pytest.mark.parametrize(
    ("data", "expected", "conversions"),
    [
        (saved(Image.fromarray(SIXTEEN)), [[0, 0, 1, 1, 128, 255, 255]], ("16_bit",)),
        (saved(Image.fromarray(SIXTEEN), "TIFF"), [[0, 0, 1, 1, 128, 255, 255]], ("16_bit",)),
        (saved(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF"), [[0, 128, 255]], ("float",)),
        (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[[255, 0, 0]]], ("cmyk",)),
        (saved(palette([(1, 2, 3), (4, 5, 6)])), [[[1, 2, 3], [4, 5, 6]]], ("palette",)),
        (saved(palette([(7, 7, 7), (9, 9, 9)])), [[7, 9]], ("palette",)),
        (saved(palette([(1, 2, 3), (4, 5, 6)]), transparency=1), [[[1, 2, 3], [255, 255, 255]]], ("palette", "alpha")),
        (saved(Image.fromarray(HALF)), [[[100, 100, 100], [255, 255, 255]]], ("alpha",)),
        (saved(Image.fromarray(HALF[..., 2:])), [[100, 255]], ("alpha",)),
        (saved(Image.new("L", (1, 1), 5), transparency=5), [[255]], ("alpha",)),
        (saved(Image.new("1", (2, 1), 1)), [[255, 255]], ("1_bit",)),
        (
            saved(Image.new("L", (1, 1), 3), "TIFF", save_all=True, append_images=[Image.new("L", (1, 1), 9)]),
            [[3]],
            ("animation",),
        ),
        (
            saved(Image.new("RGB", (1, 1), "red"), "PNG", save_all=True, append_images=[Image.new("RGB", (1, 1), "blue")]),
            [[[255, 0, 0]]],
            ("animation",),
        ),
    ],
)
def test_conversions(data: bytes, expected: list[Any], conversions: tuple[str, ...]) -> None:
    decoded = decode(data, MAX_PIXELS)
    assert decoded.image.dtype == np.uint8
    np.testing.assert_array_equal(decoded.image, expected)
    assert decoded.conversions == conversions


def test_first_frame_of_an_animated_gif() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    decoded = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), MAX_PIXELS)
    assert "animation" in decoded.conversions
    assert (decoded.image == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(COLOUR), kind, exif=exif)
    decoded = decode(data, MAX_PIXELS)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decoded.image, expected)
    assert decoded.image.shape == ((6, 9, 3) if orientation < 5 else (9, 6, 3))
    assert decoded.conversions == (() if orientation == 1 else ("exif_rotated",))
    assert decoded.image.flags.c_contiguous


def test_damaged_exif_counts_as_none() -> None:
    data = saved(Image.fromarray(COLOUR), "PNG", exif=b"Exif\x00\x00not a TIFF header at all")
    assert decode(data, MAX_PIXELS).conversions == ()


def test_damaged_exif_may_still_tell_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    # A second entry, ImageDescription (text) as a number, which Pillow reads but cannot write.
    damaged = block[:14] + b"\0\2" + block[16:28] + b"\x01\x0e\0\x0c\0\0\0\x01\0\0\0\0" + block[28:]
    data = saved(Image.fromarray(COLOUR), "PNG", exif=damaged)
    with pytest.raises(AttributeError), Image.open(io.BytesIO(data)) as image:
        ImageOps.exif_transpose(image)
    decoded = decode(data, MAX_PIXELS)
    assert (decoded.image.shape, decoded.conversions) == ((9, 6, 3), ("exif_rotated",))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [None, 16, 64])
def test_orientation_in_xmp_alone(orientation: int, side: int | None) -> None:
    """Small, large or reduced while it is decoded, a photo is rotated alike."""
    xmp = f'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'.encode()
    image = Image.fromarray(COLOUR).resize((90, 60), Image.Resampling.NEAREST)
    decoded = decode(saved(image, "JPEG", xmp=xmp), MAX_PIXELS, side)
    height, width = decoded.image.shape[:2]
    assert (height < width) == (orientation < 5)
    assert decoded.conversions == (() if orientation == 1 else ("exif_rotated",))


def test_one_pixel() -> None:
    assert decode(saved(Image.new("L", (1, 1), 7)), 1).image.tolist() == [[7]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "AVIF"])
def test_mutated_files_give_an_image_or_an_image_error(kind: str) -> None:
    original = saved(Image.fromarray(np.tile(COLOUR, (3, 3, 1))), kind)
    chance = random.Random(kind)
    for _ in range(150):
        data = bytearray(original)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(ImageError):
            decoded = decode(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])]), MAX_PIXELS)
            assert decoded.image.dtype == np.uint8
            assert decoded.image.ndim in (2, 3)


def by_pillow(data: bytes, side: int | None = None) -> Any:
    """Return the pixels and the kind that Pillow alone gives a plain JPEG, reduced as `decode` does."""
    with Image.open(io.BytesIO(data)) as image:
        if side is not None:
            image.draft(None, (2 * side, 2 * side))
        kind = image.mode
        pixels = np.asarray(image.convert("RGB") if kind == "CMYK" else image)
    return pixels.shape, pixels.tobytes(), ("cmyk",) if kind == "CMYK" else ()


def decoded_or_reason(data: bytes, side: int | None = None) -> Any:
    try:
        decoded = decode(data, 10**6, side)
    except ImageError as error:
        return str(error)
    return decoded.image.shape, decoded.image.tobytes(), decoded.conversions


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_have_the_bits_that_pillow_gives_them(mode: str) -> None:
    samplings = [0, 1, 2] if mode == "RGB" else [0]
    kinds = itertools.product([(1, 1), (7, 5), (33, 47), (160, 130)], [30, 90], samplings, [False, True], [0, 3])
    for size, quality, subsampling, progressive, restart in kinds:
        image = Image.fromarray(np.tile(COLOUR, (4, 3, 1))).resize(size, Image.Resampling.BICUBIC).convert(mode)
        options = {"subsampling": subsampling} if mode == "RGB" else {}
        data = saved(image, "JPEG", quality=quality, progressive=progressive, restart_marker_blocks=restart, **options)
        for side in (None, 20, 100):
            assert decoded_or_reason(data, side) == by_pillow(data, side)


def test_plain_jpegs_do_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [saved(Image.fromarray(pixels), "JPEG") for pixels in (COLOUR, GREY)]
    monkeypatch.setattr(images.Image, "open", None)
    assert [decode(data, MAX_PIXELS, 224).image.shape for data in files] == [(6, 9, 3), (6, 9)]


def test_damaged_jpegs_are_refused_or_what_pillow_makes_of_them() -> None:
    original = saved(Image.fromarray(np.tile(COLOUR, (3, 3, 1))), "JPEG")
    chance, whole = random.Random(0), 0
    for _ in range(150):
        data = bytearray(original)
        for _ in range(chance.randint(0, 2)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = data[: chance.choice([len(data), chance.randrange(len(data))])]
        found = decoded_or_reason(bytes(data))
        if isinstance(found, str):
            assert found.startswith("is ")
        else:
            assert found == by_pillow(bytes(data) + b"\xff\xd9")  # which may be all that is missing
            whole += 1
    assert 20 < whole < 130


def test_warnings_of_pillow_are_not_shown() -> None:
    image = palette([(1, 2, 3), (4, 5, 6)])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        decode(saved(image, transparency=b"\x00\xff"), MAX_PIXELS)
    assert shown == []


def test_convert_an_opened_image() -> None:
    assert convert(Image.new("1", (1, 1), 1)).conversions == ("1_bit",)


def test_encode_is_lossless() -> None:
    for image in (COLOUR, GREY):
        decoded = decode(encode(image), MAX_PIXELS)
        np.testing.assert_array_equal(decoded.image, image)
        assert decoded.conversions == ()
