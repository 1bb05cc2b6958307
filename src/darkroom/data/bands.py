"""Images of any number of bands, such as RGB and infrared: their values are kept as they are in the file.

H by W pixels, C bands. Values are uint8, uint16 or float32; see docs/data.md.
"""

import importlib
import io
import warnings
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.base.params import BandNumber, DownloadParams, NumBands, Section
from darkroom.data.decoding.bounds import PNG_START, TooManyPixelsError, check_bounds, png_chunks
from darkroom.data.decoding.jpeg import START
from darkroom.data.decoding.orientation import orientation, turned
from darkroom.data.decoding.tiff import TiffHeader, read_tiff_header
from darkroom.data.images import FORMATS, NPY_START, Decoded, ImageError, check_format, decode, image_errors, load

DType = Literal["uint8", "uint16", "float32"]
# How values are stored, and by what the network's images are divided.
STORED: dict[DType, str] = {"uint8": "|u1", "uint16": "<u2", "float32": "<f4"}
# Types that are stored as another one; all but the last without a loss.
CONVERTED: dict[str, DType] = {"float16": "float32", "int16": "float32", "float64": "float32"}
# Pillow's modes whose values are the bands of the file.
MODES = ("L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B", "F")
MOST_PAGES = 17  # one more than a file may have bands


class Bands(Section):
    """The bands of a file, and which of them are used."""

    channels: NumBands | None = None
    """Number of bands that every file must have; null: any."""
    chosen: list[BandNumber] | None = None
    """The bands that are used, counted from 0; null: all."""

    @classmethod
    def of(cls, params: DownloadParams) -> "Bands | None":
        """Return those of `download.channels` and `download.bands`; None if images are read as grey or RGB."""
        if params.channels is None and params.bands is None:
            return None
        return cls(channels=params.channels, chosen=params.bands)

    def select(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the bands that are used, (H, W, c), of an image (H, W) or (H, W, C).

        Raises
        ------
        ImageError
            If it has another number of bands.
        """
        image = image[..., None] if image.ndim == 2 else image
        found = image.shape[2]
        if self.channels is not None and found != self.channels:
            raise ImageError(f"has {found} band(s), but download.channels is {self.channels}")
        if self.chosen is None:
            return image
        if max(self.chosen) >= found:
            raise ImageError(f"has {found} band(s), counted from 0, but download.bands is {self.chosen}")
        return np.ascontiguousarray(image[..., self.chosen])


def read_image(data: bytes | Decoded, max_pixels: int, side: int | None = None, bands: Bands | None = None) -> Decoded:
    """Decode a file as `decode` does, or read its bands as they are, if there are `bands`.

    Parameters
    ----------
    data
        The whole file, or an image that a source has decoded.
    max_pixels, side
        As for `decode`; `side` has no effect on bands.
    bands
        Which bands are used.

    Returns
    -------
    decoded : Decoded
        With bands, its image is (H, W, C) uint8, uint16 or float32.

    Raises
    ------
    ImageError
        If it cannot be used.
    InputError
        If a package is missing that it needs.
    """
    if isinstance(data, Decoded):
        if bands is None:
            return _checked_grey_or_rgb(data)
        return _stored_type(bands.select(data.image), list(data.conversions))
    if bands is None:
        return decode(data, max_pixels, side)
    if not data:
        raise ImageError("is empty")
    return image_errors(partial(_read_bands, data, max_pixels, bands))


def to_npy(image: NDArray[Any]) -> bytes:
    """Return an image as the bytes of a .npy file, in which bands are stored that are not those of a file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(image), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def stored_type(image: NDArray[Any]) -> DType:
    """Return the type of the values of an image that `read_image` has read."""
    return next(name for name in STORED if image.dtype == name)


def network_values(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as the network and its transforms see it: uint8 and float32 as they are, uint16 as float32 from 0 to 1."""
    return image.astype(np.float32) / np.float32(65535) if image.dtype == np.uint16 else image


def shown_image(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (H, W, C) for people to look at, (H, W, 1) or (H, W, 3) uint8: its first three bands, or its first one.

    The values of images that are not uint8 are stretched from the smallest to the largest one of these bands.
    """
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    if image.dtype == np.uint8:
        return np.asarray(image)
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    shown: NDArray[np.uint8] = np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return shown


def _checked_grey_or_rgb(decoded: Decoded) -> Decoded:
    image = decoded.image
    if image.dtype == np.uint8 and image.shape[2:] in ((), (3,)):
        return decoded
    found = image.shape[2] if image.ndim == 3 else 1
    raise ImageError(f"has {found} band(s) of {image.dtype}; set download.channels to {found}")


def _read_bands(data: bytes, max_pixels: int, bands: Bands) -> Decoded:
    check_bounds(data)
    tiff = read_tiff_header(data)
    conversions: list[str] = []
    if data.startswith(NPY_START):
        image = _read_npy(data, max_pixels)
    elif tiff and (_needs_library(tiff) or (tiff.bands == 1 and bands.channels not in (None, 1))):
        image = _read_tiff(data, tiff, max_pixels)
    elif data.startswith(PNG_START) and data[24:25] == b"\x10" and data[25:26] != b"\0":
        _check_pixels(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]), max_pixels)
        image = turned(_library("imagecodecs").png_decode(data), _png_orientation(data))
    elif data.startswith(START) and "cmyk" not in (decoded := decode(data, max_pixels)).conversions:
        image = decoded.image
    else:
        image = _read_with_pillow(data, max_pixels, conversions)
    return _stored_type(bands.select(image), conversions)


def _stored_type(image: NDArray[Any], conversions: list[str]) -> Decoded:
    """Return an image in one of the types that are stored."""
    name = image.dtype.name
    if name in CONVERTED:
        image = image.astype(CONVERTED[name])
        conversions.append(name)
    elif name not in STORED:
        raise ImageError(f"has values of type {name}; save it as uint8, uint16 or float32")
    image = np.require(image, image.dtype.newbyteorder("="), ["C", "W"])
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ImageError("has values that are NaN or infinite; replace them by a number")
    return Decoded(image, tuple(conversions))


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(f"has {width} x {height} pixels, more than max_pixels ({max_pixels})")
    if width * height < 1:
        raise ImageError("has no pixels")


def _read_npy(data: bytes, max_pixels: int) -> NDArray[Any]:
    """Read the array in a .npy file, without unpickling and without allocating more than the file has."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "uif":
        raise ImageError(f"is an array of {dtype}, not of numbers")
    if len(shape) not in (2, 3):
        raise ImageError(f"is an array of shape {shape}, not (height, width) or (height, width, bands)")
    _check_pixels(shape[1], shape[0], max_pixels)
    values = np.frombuffer(data, dtype, int(np.prod(shape)), file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def _needs_library(tiff: TiffHeader) -> bool:
    """Return whether Pillow would lose something: more than 8 bits of colour, premultiplied alpha, unknown bands."""
    if tiff.bands == 1:
        return tiff.bits not in ((8, 1), (16, 1), (32, 3)) or tiff.photometric != 1
    return tiff.bands > 4 or 1 in tiff.extra or tiff.photometric != 2 or tiff.bits != (8, 1)


def _read_tiff(data: bytes, tiff: TiffHeader, max_pixels: int) -> NDArray[Any]:
    """Read the bands of the first page, or the pages of one band each as bands."""
    _check_pixels(tiff.width, tiff.height, max_pixels)
    with _library("tifffile").TiffFile(io.BytesIO(data)) as file:
        pages = [file.pages[0]]
        if tiff.bands == 1:
            pages = [page for page in islice(file.pages, MOST_PAGES) if page.shape == pages[0].shape]
            _check_pixels(tiff.width, tiff.height * len(pages), 16 * max_pixels)
        parts = [_bands_last(page.asarray(), page.axes) for page in pages]
    image = np.concatenate(parts, axis=2)
    if tiff.photometric == 0 and image.dtype.kind == "u":
        image = np.subtract((1 << tiff.bits[0]) - 1, image, dtype=image.dtype)  # 0 is white
    return turned(image, tiff.orientation)


def _bands_last(values: NDArray[Any], axes: str) -> NDArray[Any]:
    if values.ndim == 2:
        return values[..., None]
    return np.moveaxis(values, 0, 2) if axes.startswith("S") else values


def _read_with_pillow(data: bytes, max_pixels: int, conversions: list[str]) -> NDArray[Any]:
    with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        warnings.simplefilter("ignore")
        check_format(image, max_pixels)
        if image.format != "MPO" and getattr(image, "is_animated", False):
            conversions.append("animation")
        if image.mode not in MODES:
            raise ImageError(f"has pixels of Pillow's mode {image.mode}, which are no bands; save it as a TIFF or a .npy array")
        number, _ = load(image)
        return turned(np.asarray(image), number)


def _png_orientation(data: bytes) -> int:
    found = {name: data[start:end] for name, start, end in png_chunks(data) if name in (b"eXIf", b"iTXt")}
    return orientation(found.get(b"eXIf"), found.get(b"iTXt"))


def _library(name: str) -> Any:
    """Import a package that need not be installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt tifffile imagecodecs'"
        raise InputError(
            f"params.yaml: download.channels: these images need the package {name}, which is not installed; {advice}"
        ) from None
