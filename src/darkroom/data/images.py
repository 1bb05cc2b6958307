"""Decoding an image file to 8-bit grey or RGB by documented conversions, and encoding it again."""

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from simplejpeg import decode_jpeg, decode_jpeg_header

from darkroom.base.errors import InputError, one_line
from darkroom.data.tiff import read_tiff_header

ImageArray = NDArray[Any]
"""(H, W), or (H, W, C): uint8, and with `download.channels` also uint16 or float32."""

# Pillow knows 36 more formats; for one of them (EPS) it starts another program, Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF")
JPEG_QUALITY = 90
# A JPEG that will be resized is decoded to at least this many times the wanted size.
MIN_REDUCTION = 2
JPEG_START = b"\xff\xd8\xff"
NPY_START = b"\x93NUMPY"
# Either may hold the orientation of the camera, which only Pillow reads.
METADATA = (b"Exif\0\0", b"tiff:Orientation")
# Colour spaces of a JPEG that simplejpeg decodes, and what each becomes, in its own words.
PLAIN_JPEGS = {"YCbCr": "RGB", "Gray": "GRAY"}
# Pillow's modes of at most 8 bits per channel, and the conversion that each needs.
KINDS = {
    **{"L": "", "RGB": "", "RGBX": "", "1": "1_bit", "P": "palette", "PA": "palette"},
    **{"LA": "alpha", "La": "alpha", "RGBA": "alpha", "RGBa": "alpha"},
    **{"CMYK": "cmyk", "YCbCr": "ycbcr", "LAB": "lab", "HSV": "hsv"},
}
GREY_MODES = ("1", "L", "LA", "La")

# `decode` checks `max_pixels` instead, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


class ImageError(Exception):
    """An image cannot be used; the message is the reason and follows the name of the image."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes
    ----------
    image : (H, W) or (H, W, 3) uint8
        Grey values or RGB; or bands, see `darkroom.data.bands`.
    conversions
        What was done beyond reading 8-bit grey or RGB values, for example `exif_rotated`; see `decode`.
    lossy
        Whether it comes from a lossy format, so that it may be stored as JPEG again.
    """

    image: ImageArray
    conversions: tuple[str, ...] = ()
    lossy: bool = False


def decode(data: bytes, max_pixels: int, side: int | None = None) -> Decoded:
    """Decode a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file.

    The conversions, by the names under which data/raw/dataset.json counts them:

    - `1_bit`: black and white become 0 and 255.
    - `16_bit`: grey values are divided by 257, so that 65535 always becomes 255. (Of 16-bit colour Pillow returns the high
      byte; that is not counted.)
    - `float`: values from 0 to 1 become 0 to 255; an image with other values is refused, since their scale is unknown.
    - `palette`: becomes RGB, or grey if all its colours are grey.
    - `alpha`: the image is composited on white.
    - `cmyk` (and `ycbcr`, `lab`, `hsv`): become RGB by Pillow's formula; colour profiles are not applied.
    - `exif_rotated`: rotated or mirrored to the orientation in EXIF, else in XMP. Damaged EXIF is ignored.
    - `animation`: only the first frame or page is used.

    Parameters
    ----------
    data
        The whole file.
    max_pixels
        An image with more pixels is refused before it is decoded.
    side
        The shorter side that the caller resizes to. A JPEG is then decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size that
        is at least twice as large: a photo of 12 megapixels takes a tenth of the time, and the result is nearly the same.

    Raises
    ------
    ImageError
        If the file cannot be used, for any reason; Pillow raises nearly every exception on damaged files.
    """
    if not data:
        raise ImageError("is empty")
    plain = _decode_plain_jpeg(data, max_pixels, side)
    if plain is not None:
        return Decoded(plain, lossy=True)
    _refuse_bands(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return image_errors(lambda: _decode(data, max_pixels, side))


def convert(image: Image.Image) -> Decoded:
    """Convert an opened image of any mode as `decode` does.

    Raises
    ------
    ImageError
        If it cannot be converted.
    """
    return image_errors(lambda: _convert(image, []))


def encode(image: ImageArray, *, lossy: bool = False) -> bytes:
    """Return (H, W) or (H, W, 3) uint8 as PNG, or as JPEG of quality 90."""
    file = io.BytesIO()
    if lossy:
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()
    # On 100 photos of 224 px, level 1 takes 0.7 s and the default, 6, takes 3.6 s for 6 % fewer bytes.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def image_errors(work: Callable[[], Decoded]) -> Decoded:
    """Return what `work` does, with its exceptions as an `ImageError`."""
    try:
        return work()
    except (ImageError, InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        # Its text holds a memory address, which would make dataset.json differ from run to run.
        raise ImageError("is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image") from None
    except Exception as error:
        raise ImageError(f"is damaged ({one_line(error)[:100]})") from error


def _refuse_bands(data: bytes) -> None:
    """Refuse what would lose bands: arrays, and TIFFs with more bands than colours and alpha."""
    if data.startswith(NPY_START):
        raise ImageError("is a NumPy array; set download.channels to the number of its bands")
    tiff = read_tiff_header(data)
    if tiff and not tiff.is_colour:
        raise ImageError(f"has {tiff.bands} bands that are not RGB with alpha; set download.channels to {tiff.bands}")


def _decode_plain_jpeg(data: bytes, max_pixels: int, side: int | None) -> ImageArray | None:
    """Return the pixels that Pillow would, in half the time: libjpeg-turbo decodes in both, here straight into the array.

    None if the image needs a conversion or cannot be read; Pillow then converts it or says what is wrong.
    """
    if not data.startswith(JPEG_START) or any(mark in data for mark in METADATA):
        return None
    try:
        height, width, kind, _ = decode_jpeg_header(data)
        is_reduced = side is not None and min(height, width) >= 2 * MIN_REDUCTION * side
        if kind not in PLAIN_JPEGS or height * width > max_pixels or is_reduced:
            return None
        image: ImageArray = decode_jpeg(data, PLAIN_JPEGS[kind])
    except ValueError:
        return None
    return image[..., 0] if kind == "Gray" else image


def _decode(data: bytes, max_pixels: int, side: int | None) -> Decoded:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise ImageError(f"has {image.width} x {image.height} pixels, more than max_pixels ({max_pixels})")
        conversions = []
        # A JPEG of several images (MPO) is one photo with a depth map or previews.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            conversions.append("animation")
        lossy = image.format in LOSSY_FORMATS
        if side is not None:
            image.draft(None, (MIN_REDUCTION * side, MIN_REDUCTION * side))
        return replace(_convert(image, conversions), lossy=lossy)


def _convert(pil_image: Image.Image, conversions: list[str]) -> Decoded:
    # Asked first, since Pillow rotates a TIFF when it loads it.
    rotated = _is_rotated(pil_image)
    pil_image.load()
    # In place, so that the image is rotated even where the rest of its EXIF cannot be written back.
    with suppress(Exception):
        ImageOps.exif_transpose(pil_image, in_place=True)
    image = _pixels(pil_image, conversions)
    return Decoded(image, (*conversions, "exif_rotated") if rotated else tuple(conversions))


def _is_rotated(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:
        return False


def _pixels(image: Image.Image, conversions: list[str]) -> ImageArray:
    """Return the pixels as (H, W) or (H, W, 3) uint8, and append the conversions that were needed."""
    mode = image.mode
    if mode.startswith("I;16"):
        conversions.append("16_bit")
        return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    if mode == "F":
        conversions.append("float")
        return _from_float(np.asarray(image))
    if mode not in KINDS:
        raise ImageError(f"has pixels of Pillow's mode {mode}, which cannot be converted; save it with 8 or 16 bits per channel")
    if KINDS[mode]:
        conversions.append(KINDS[mode])
    grey = mode in GREY_MODES or (mode in ("P", "PA") and _has_grey_palette(image))
    if image.has_transparency_data:
        if KINDS[mode] != "alpha":
            conversions.append("alpha")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    pixels = np.array(image)
    return np.ascontiguousarray(pixels[..., 0]) if grey and pixels.ndim == 3 else pixels


def _from_float(values: NDArray[np.float32]) -> ImageArray:
    # NaN fails both comparisons.
    if not (values.min() >= 0 and values.max() <= 1):
        raise ImageError(f"has floating-point values from {values.min():g} to {values.max():g}; scale them to 0..1")
    return np.rint(values * 255).astype(np.uint8)


def _has_grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())
