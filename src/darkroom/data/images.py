"""Decoding an image file to 8-bit grey or RGB by documented conversions, and encoding it again."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from darkroom.base.errors import InputError, one_line
from darkroom.base.signals import interruptible
from darkroom.data.decoding.bounds import MOST_PIXELS, PNG_START, ImageError, TooManyPixelsError, check_bounds
from darkroom.data.decoding.jpeg import read_jpeg
from darkroom.data.decoding.orientation import TAG, orientation, turned
from darkroom.data.decoding.pixels import pixels_of, scale_transparency
from darkroom.data.decoding.tiff import TiffHeader, read_tiff_header
from darkroom.data.decoding.tiles import with_list

__all__ = ["ImageError"]

ImageArray = NDArray[Any]
"""(H, W), or (H, W, C): uint8, and with `download.channels` also uint16 or float32."""

# Pillow knows 36 more formats; for one of them (EPS) it starts another program, Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF")
JPEG_QUALITY = 90
PNG_GREY_ALPHA = 4
NPY_START = b"\x93NUMPY"
# `decode` checks `max_pixels` instead, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


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
    - `16_bit`: grey values are divided by 257, so that 65535 always becomes 255. (Of 16-bit colour, or grey with alpha, Pillow
      returns the high byte; that is not counted.)
    - `12_bit`: a TIFF of 12 bits; its 4095 becomes 255.
    - `12_bits_in_16`: counted beside `16_bit` if no value is above 4095: the image becomes nearly black.
    - `float`: values from 0 to 1 become 0 to 255; an image with other values is refused, since their scale is unknown.
    - `palette`: becomes RGB, or grey if all its colours are grey.
    - `alpha`: the image is composited on white.
    - `cmyk` (and `ycbcr`, `lab`, `hsv`): become RGB by Pillow's formula; colour profiles are not applied.
    - `exif_rotated`: rotated or mirrored to the orientation in EXIF, else in XMP. Damaged EXIF is ignored.
    - `animation`: only the first frame or page is used.

    Where a TIFF says that 0 is white, its values are inverted.

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
    """Return (H, W) or (H, W, 3) uint8 as PNG, or as JPEG of quality 90; in colour in tiles, of which a part can be decoded."""
    file = io.BytesIO()
    if lossy:
        # Grey blocks are a quarter as large: in tiles, such a file would be a third larger, and a part is decoded hardly sooner.
        Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, restart_marker_blocks=int(image.ndim == 3))
        return with_list(file.getvalue())
    # On 100 photos of 224 px, level 1 takes 0.7 s and the default, 6, takes 3.6 s for 6 % fewer bytes.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def image_errors(work: Callable[[], Decoded]) -> Decoded:
    """Return what `work` does, with its exceptions as an `ImageError`; a signal ends the wait for it."""
    try:
        return interruptible(work)
    except (ImageError, InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        # Its text holds a memory address, which would make dataset.json differ from run to run.
        raise ImageError("is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image") from None
    except Exception as error:
        raise ImageError(f"is damaged ({one_line(error)[:100]})") from error


def check_format(image: Image.Image, max_pixels: int) -> None:
    """Refuse an opened image with too many pixels, of any format or of its own."""
    most = min(max_pixels, MOST_PIXELS.get(str(image.format), max_pixels))
    if image.width * image.height > most:
        limit = f"max_pixels ({most})" if most == max_pixels else f"the {most} that are decoded of {image.format}"
        raise TooManyPixelsError(f"has {image.width} x {image.height} pixels, more than {limit}")


def _orientation_of(image: Image.Image) -> int:
    info = image.info
    exif = info.get("exif")
    if exif is None and "Raw profile type exif" in info:
        exif = _unhexed(info["Raw profile type exif"])
    found = orientation(exif, info.get("XML:com.adobe.xmp") or info.get("xmp"))
    if image.format != "TIFF":
        return found
    tags = image.getexif()
    number = tags.setdefault(TAG, found)
    return number if number in range(2, 9) else 1


def load(image: Image.Image) -> tuple[int, bool]:
    """Load the pixels of an image; return the orientation by which they must still be turned, and whether it is one at all."""
    if image.format == "TIFF":
        is_turned = _orientation_of(image) != 1
        image.load()
        return 1, is_turned
    image.load()
    number = _orientation_of(image)
    return number, number != 1


def _unhexed(profile: str) -> bytes:
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def _refuse_bands(data: bytes, tiff: TiffHeader | None) -> None:
    """Refuse what would lose bands: arrays, and TIFFs with more bands than colours and alpha."""
    if data.startswith(NPY_START):
        raise ImageError("is a NumPy array; set download.channels to the number of its bands")
    if tiff and not tiff.is_colour:
        raise ImageError(f"has {tiff.bands} bands that are not RGB with alpha; set download.channels to {tiff.bands}")


def _decode(data: bytes, max_pixels: int, side: int | None) -> Decoded:
    jpeg = read_jpeg(data, max_pixels, side)
    if jpeg is not None:
        number = orientation(jpeg.exif, jpeg.xmp)
        done = (("cmyk", jpeg.is_cmyk), ("exif_rotated", number != 1))
        return Decoded(turned(jpeg.image, number), tuple(name for name, is_done in done if is_done), lossy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _decode_with_pillow(data, max_pixels)


def _decode_with_pillow(data: bytes, max_pixels: int) -> Decoded:
    check_bounds(data)
    tiff = read_tiff_header(data)
    _refuse_bands(data, tiff)
    with _opened(data, tiff) as image:
        check_format(image, max_pixels)
        conversions = []
        # A JPEG of several images (MPO) is one photo with a depth map or previews.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            conversions.append("animation")
        if data.startswith(PNG_START):
            scale_transparency(image, bits=data[24])
        return _convert(image, conversions, tiff, is_grey=data.startswith(PNG_START) and data[25] == PNG_GREY_ALPHA)


def _opened(data: bytes, tiff: TiffHeader | None) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if tiff is None:
            raise
        kind = f"{tiff.bands} band(s) of {tiff.bits[0]} bits, photometric {tiff.photometric}"
        raise ImageError(f"is a TIFF of a kind that cannot be decoded ({kind}); save it with 8 or 16 bits") from None


def _convert(image: Image.Image, conversions: list[str], tiff: TiffHeader | None = None, *, is_grey: bool = False) -> Decoded:
    if 0 in image.size:
        raise ImageError("has no pixels")
    number, is_rotated = load(image)
    made = turned(pixels_of(image, conversions, tiff, is_grey=is_grey), number)
    if is_rotated:
        conversions.append("exif_rotated")
    return Decoded(made, tuple(conversions), image.format in LOSSY_FORMATS)
