"""From the bytes of one image file to 8-bit grey or RGB, by one defined conversion; and to the square that a network sees."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from simplejpeg import decode_jpeg, decode_jpeg_header

from darkroom.errors import one_line

ImageArray = NDArray[np.uint8]

# Pillow knows 36 more formats, one of which starts another program (EPS, Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF")
JPEG_QUALITY = 90
# A JPEG that is to be resized is decoded to this many times the size at least.
MIN_REDUCTION = 2
JPEG_START, EXIF = b"\xff\xd8\xff", b"Exif\0\0"
# As simplejpeg names what a JPEG holds, and what it is to give.
PLAIN_JPEGS = {"YCbCr": "RGB", "Gray": "GRAY"}
ORIENTATION = 0x0112  # tag of EXIF 2.32, section 4.6.4
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's modes of 8 bits or less, and the conversion that each needs.
KINDS = {
    **{"L": "", "RGB": "", "RGBX": "", "1": "1_bit", "P": "palette", "PA": "palette"},
    **{"LA": "alpha", "La": "alpha", "RGBA": "alpha", "RGBa": "alpha"},
    **{"CMYK": "cmyk", "YCbCr": "ycbcr", "LAB": "lab", "HSV": "hsv"},
}
GREY_MODES = ("1", "L", "LA", "La")

# Pillow's own limit would stand above `max_pixels`, which is checked before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


class ImageError(Exception):
    """An image cannot be used; the message is the reason, to stand behind its name."""


@dataclass(frozen=True)
class Decoded:
    """An image as the rest of Darkroom sees it.

    Attributes
    ----------
    image : (H, W) or (H, W, 3) uint8
        Grey values or RGB.
    conversions
        What was done beyond reading 8-bit grey or RGB values, such as `exif_rotated`; see `decode`.
    lossy
        Whether it comes from a format that loses something, so that JPEG does it justice.
    """

    image: ImageArray
    conversions: tuple[str, ...] = ()
    lossy: bool = False


def decode(data: bytes, max_pixels: int, side: int | None = None) -> Decoded:
    """Decode a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file.

    The conversions, by the name under which data/raw/dataset.json counts them:

    - `1_bit`: black and white become 0 and 255.
    - `16_bit`: grey values are divided by 257, so that 65535 becomes 255 whatever the image holds. (Of 16-bit colour, Pillow
      gives the high byte; that is not counted.)
    - `float`: values from 0 to 1 become 0 to 255; an image with others is refused, for nothing says what they mean.
    - `palette`: becomes RGB, or grey if all its colours are grey.
    - `alpha`: transparent parts are laid on white.
    - `cmyk` (and `ycbcr`, `lab`, `hsv`): become RGB by Pillow's formula; colour profiles are not applied.
    - `exif_rotated`: turned and mirrored as the camera says. A damaged EXIF block counts as none.
    - `animation`: the first frame, or page.

    Parameters
    ----------
    data
        The whole file.
    max_pixels
        An image of more pixels is refused before it is decoded.
    side
        The shorter side that is wanted in the end. A JPEG is then decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size that
        leaves twice as much: a photo of 12 megapixels takes a tenth of the time, and resizing it gives nearly the same.

    Raises
    ------
    ImageError
        For whatever is wrong with the file: broken files make Pillow raise nearly any exception.
    """
    if not data:
        raise ImageError("is empty")
    plain = _decode_plain_jpeg(data, max_pixels, side)
    if plain is not None:
        return Decoded(plain, lossy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _explained(lambda: _decode(data, max_pixels, side))


def convert(image: Image.Image) -> Decoded:
    """Return an opened image, of any mode, in the form that `decode` gives.

    Raises
    ------
    ImageError
        If it cannot be converted.
    """
    return _explained(lambda: _convert(image, []))


def fit(image: ImageArray, size: int, channels: int) -> ImageArray:
    """Return the central square of an image, resized, in grey or RGB; an image that is right already is returned as it is.

    Cropping comes first, so that a sliver of 1 by 10 000 pixels does not grow to millions.

    Parameters
    ----------
    image : (H, W), (H, W, 1) or (H, W, 3) uint8
        Grey or RGB.
    size
        Side of the square; the resampling is bilinear, over all pixels that fall together (antialiased).
    channels
        1 or 3. Grey is the luma of ITU-R BT.601, (299 R + 587 G + 114 B) / 1000, as in Pillow.

    Returns
    -------
    fitted : (size, size, channels) uint8
    """
    if image.shape == (size, size, channels):
        return image
    pil_image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    pil_image = pil_image.convert("L" if channels == 1 else "RGB")
    side = min(pil_image.size)
    left, top = (pil_image.width - side) // 2, (pil_image.height - side) // 2
    if side != size:
        pil_image = pil_image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    elif pil_image.size != (size, size):
        pil_image = pil_image.crop((left, top, left + side, top + side))
    return np.array(pil_image).reshape(size, size, channels)


def resize(image: ImageArray, side: int) -> ImageArray:
    """Return an image whose shorter side is `side`, resampled with antialiasing; one that is smaller is returned as it is.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) uint8
        Grey or RGB.
    side
        In pixels.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter <= side:
        return image
    size = (max(side, round(width * side / shorter)), max(side, round(height * side / shorter)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def encode(image: ImageArray, *, lossy: bool = False) -> bytes:
    """Return (H, W) or (H, W, 3) uint8 as PNG, or as JPEG of quality 90."""
    file = io.BytesIO()
    if lossy:
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()
    # On 100 photos of 224 px, level 1 takes 0.7 s and the default, 6, takes 3.6 s for 6 % fewer bytes.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _explained(work: Callable[[], Decoded]) -> Decoded:
    try:
        return work()
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        # Its text holds an address of memory, which would make dataset.json differ from run to run.
        raise ImageError("is no JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image") from None
    except Exception as error:
        raise ImageError(f"is damaged ({one_line(error)[:100]})") from error


def _decode_plain_jpeg(data: bytes, max_pixels: int, side: int | None) -> ImageArray | None:
    """Return what Pillow would, in half the time: the same library decodes (libjpeg-turbo), but straight into the array.

    None for all that needs more, or cannot be read: what is wrong with it, Pillow says.
    """
    if not data.startswith(JPEG_START) or EXIF in data:
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
        # A JPEG of several images (MPO) is one photo with its depth map or previews.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            conversions.append("animation")
        lossy = image.format in LOSSY_FORMATS
        if side is not None:
            image.draft(None, (MIN_REDUCTION * side, MIN_REDUCTION * side))
        return replace(_convert(image, conversions), lossy=lossy)


def _convert(pil_image: Image.Image, conversions: list[str]) -> Decoded:
    rotated = _orientation(pil_image) in TURNS
    pil_image.load()
    # Asked again: Pillow has already turned a TIFF while loading it.
    turn = TURNS.get(_orientation(pil_image))
    image = _pixels(pil_image if turn is None else pil_image.transpose(turn), conversions)
    return Decoded(image, (*conversions, "exif_rotated") if rotated else tuple(conversions))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _pixels(image: Image.Image, conversions: list[str]) -> ImageArray:
    """Return the pixels as (H, W) or (H, W, 3) uint8, and add what was converted."""
    mode = image.mode
    if mode.startswith("I;16"):
        conversions.append("16_bit")
        return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    if mode == "F":
        conversions.append("float")
        return _from_float(np.asarray(image))
    if mode not in KINDS:
        raise ImageError(f"has pixels of Pillow's mode {mode}, for which no conversion is defined; save it with 8 or 16 bits")
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
