"""classify.py refuses the damaged files that the repository refuses, and has its pixels of all others; so do odd images of Python."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from darkroom.data.images import ImageError, decode
from darkroom.export.standalone import Model

pytestmark = pytest.mark.filterwarnings("ignore")
EOI = b"\xff\xd9"
KINDS: dict[str, dict[str, Any]] = {
    "jpeg": {"format": "JPEG"},
    "jpeg-grey": {"format": "JPEG", "mode": "L"},
    "jpeg-cmyk": {"format": "JPEG", "mode": "CMYK"},
    "jpeg-444": {"format": "JPEG", "subsampling": 0},
    "jpeg-progressive": {"format": "JPEG", "progressive": True},
    "jpeg-restarts": {"format": "JPEG", "restart_marker_blocks": 3},
    "jpeg-exif": {"format": "JPEG", "exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
    "mpo": {"format": "MPO", "save_all": True},
    "png": {"format": "PNG"},
    "png-palette": {"format": "PNG", "mode": "P"},
    "webp": {"format": "WEBP"},
    "webp-lossless": {"format": "WEBP", "lossless": True},
    "bmp": {"format": "BMP"},
    "gif": {"format": "GIF"},
    "tiff": {"format": "TIFF"},
    "tiff-lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "avif": {"format": "AVIF"},
}


def made(**how: Any) -> bytes:
    flower = Image.fromarray(load_sample_images().images[1]).resize((220, 147))
    file = io.BytesIO()
    more = {"append_images": [flower.rotate(90)]} if how.get("save_all") else {}
    flower.convert(how.pop("mode", "RGB")).save(file, **how, **more)
    return file.getvalue()


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file whole, cut anywhere with and without the end of a JPEG, with a hole, zeros, other bits and more behind it."""
    middle, random = len(data) // 2, np.random.default_rng(0)
    yield "whole", data
    yield "of no bytes", b""
    yield "with more behind it", data + b"more"
    for share in (0.02, 0.3, 0.5, 0.9, 0.97, 0.99):
        yield f"cut at {share}", data[: int(len(data) * share)]
        yield f"cut at {share}, ended", data[: int(len(data) * share)] + EOI
    for count in (1, 2, 3, 4, 8, 20):
        yield f"without {count} bytes", data[:-count]
        yield f"without {count} bytes before its end", data[: -2 - count] + EOI
    yield "with zeros", data[:middle] + bytes(200) + data[middle + 200 :]
    yield "with a hole", data[:middle] + data[middle + 500 :]
    for place in random.integers(0, len(data) - 10, 12).tolist():
        yield f"with another bit in byte {place}", data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def untold(kind: str, damage: str, reason: str) -> bool:
    """Return whether Pillow cannot tell, as docs/api.md says: wrong data within a JPEG of several scans, or with restarts."""
    inside = damage.startswith("with ") and reason.startswith("is damaged (Corrupt JPEG data")
    return inside and kind in ("jpeg-progressive", "jpeg-restarts")


@pytest.mark.parametrize("stored", ["encoded", "raw"])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_on_both_sides(kind: str, stored: str) -> None:
    model: Any = Model.__new__(Model)
    model.about = {"resize": None, "stored": stored, "image_size": [64]}
    for damage, data in damaged(made(**KINDS[kind])):
        wanted, reason, found = None, "", None
        try:
            wanted = decode(data, 10**8, 64 if stored == "encoded" else None).image
        except ImageError as error:
            reason = str(error)
        try:
            found = model._pixels(data, "image 0")
        except ValueError as error:
            assert str(error).startswith("image 0: cannot be read (")  # noqa: PT017
            assert str(error).endswith("); correct it, or leave it out")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        if untold(kind, damage, reason):
            continue
        assert (found is None) == (wanted is None), (damage, reason)
        if wanted is not None:
            np.testing.assert_array_equal(found, wanted if wanted.ndim == 3 else np.stack([wanted] * 3, axis=2), damage)


def test_a_flat_grey_jpeg_does_not_end_early() -> None:
    """Its last pixels are what Pillow makes of missing ones."""
    file = io.BytesIO()
    Image.new("RGB", (90, 90), (128, 128, 128)).save(file, "JPEG")
    model: Any = Model.__new__(Model)
    model.about = {"resize": None, "stored": "encoded", "image_size": [64]}
    assert (model._pixels(file.getvalue(), "grey") == 128).all()
    assert (decode(file.getvalue(), 10**8).image == 128).all()


@pytest.mark.parametrize("place", range(3, 9))
def test_a_jpeg_whose_first_warning_is_harmless_is_looked_at_again(place: int) -> None:
    """libjpeg's first warning is the only one that is told: bytes too many here may be too few at the end."""
    data = made(format="JPEG", restart_marker_blocks=1)
    cut = len(data) * place // 10
    with pytest.raises(ImageError, match="is damaged"):
        decode(data[:cut] + data[cut + 500 :], 10**8)
