"""The pixels of an image that Pillow has opened, as 8-bit grey or RGB by documented conversions.

H by W pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.decoding.bounds import ImageError
from darkroom.data.decoding.tiff import TiffHeader

Pixels = NDArray[Any]
# Pillow's modes of at most 8 bits per channel, and the conversion that each needs.
KINDS = {
    **{"L": "", "RGB": "", "RGBX": "", "1": "1_bit", "P": "palette", "PA": "palette"},
    **{"LA": "alpha", "La": "alpha", "RGBA": "alpha", "RGBa": "alpha"},
    **{"CMYK": "cmyk", "YCbCr": "ycbcr", "LAB": "lab", "HSV": "hsv"},
}
GREY_MODES = ("1", "L", "LA", "La")
# Images are converted in strips of about as many pixels, so that conversions need little memory.
STRIP = 1 << 20
# Grey values of 16 bits are from 0 to 65535; cameras of 12 bits may write 0 to 4095 instead.
MOST_16, MOST_12 = 65535, 4095


def scale_transparency(image: Image.Image, bits: int) -> None:
    """Bring the transparent grey of a PNG to the scale to which Pillow brings its pixels."""
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L") and bits < 8:
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    elif isinstance(key, tuple) and bits == 16:
        raise ImageError("has 16 bits per colour and a transparent colour, which 8 bits cannot tell; save it with alpha")


def pixels_of(image: Image.Image, conversions: list[str], tiff: TiffHeader | None, *, is_grey: bool = False) -> Pixels:
    """Return the pixels as (H, W) or (H, W, 3) uint8, and append the conversions that were needed.

    `is_grey` says that an image is grey which Pillow opens as RGBA: a PNG of grey with alpha and 16 bits.
    """
    mode, inverted = image.mode, tiff is not None and tiff.photometric == 0
    if mode.startswith("I;16"):
        return _from_16_bits(image, conversions, inverted, MOST_12 if tiff and tiff.bits[0] == 12 else MOST_16)
    if mode == "F":
        conversions.append("float")
        return _by_strips(image, lambda part: _from_float(np.asarray(part), inverted))
    if mode not in KINDS:
        raise ImageError(f"has pixels of Pillow's mode {mode}, which cannot be converted; save it with 8 or 16 bits per channel")
    if KINDS[mode]:
        conversions.append(KINDS[mode])
    kept = "L" if is_grey or mode in GREY_MODES or (mode in ("P", "PA") and _has_grey_palette(image)) else "RGB"
    if not image.has_transparency_data:
        return _by_strips(image, lambda part: np.asarray(part if part.mode == kept else part.convert(kept)))
    if KINDS[mode] != "alpha":
        conversions.append("alpha")
    return _by_strips(image, lambda part: np.asarray(_on_white(part).convert(kept)))


def _by_strips(image: Image.Image, work: Callable[[Image.Image], Pixels]) -> Pixels:
    """Convert an image some rows at a time: (H, W) or (H, W, 3)."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        return np.array(work(image))
    made: Pixels | None = None
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        part = work(image.crop((0, top, image.width, bottom)))
        if made is None:
            made = np.empty((image.height, *part.shape[1:]), part.dtype)
        made[top:bottom] = part
    assert made is not None
    return made


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _from_16_bits(image: Image.Image, conversions: list[str], inverted: bool, most: int) -> Pixels:
    conversions.append("16_bit" if most == MOST_16 else "12_bit")
    key, highest = image.info.get("transparency"), 0

    def scaled(part: Image.Image) -> Pixels:
        nonlocal highest
        values = np.asarray(part).astype(np.uint32)
        highest = max(highest, int(values.max()))
        made = (((most - values if inverted else values) * 255 + most // 2) // most).astype(np.uint8)
        if isinstance(key, int):
            made[values == key] = 255
        return made

    made = _by_strips(image, scaled)
    if isinstance(key, int):
        conversions.append("alpha")
    if 0 < highest <= MOST_12 and most == MOST_16 and not inverted:
        conversions.append("12_bits_in_16")
    return made


def _from_float(values: NDArray[np.float32], inverted: bool) -> Pixels:
    # NaN fails both comparisons.
    if not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(f"has floating-point values from {values.min():g} to {values.max():g}; scale them to 0..1")
    return np.rint((1 - values if inverted else values) * 255).astype(np.uint8)


def _has_grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())
