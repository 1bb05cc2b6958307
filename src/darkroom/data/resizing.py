"""Resizing images: to the size that a network is given, or to a shorter side."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.images import ImageArray

Way = Literal["crop", "letterbox", "squash"]
Size = int | Sequence[int]
"""The side of a square, or height and width."""
Box = tuple[float, float, float, float]


def height_and_width(size: Size) -> tuple[int, int]:
    """Return height and width of an image size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def fit(image: ImageArray, size: Size, channels: int, way: Way = "crop") -> ImageArray:
    """Return an image in the size and channels of a network; an image that fits already is returned unchanged.

    It is cropped first: resized first, an image of 1 by 10 000 pixels would grow to millions of pixels.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        Grey, RGB or bands; uint8, or float32 as the network sees them.
    size
        In pixels; the resampling is bilinear with antialiasing.
    channels
        C, or of grey and RGB the other one. Grey is the luma of ITU-R BT.601, (299 R + 587 G + 114 B) / 1000, as in Pillow.
    way
        `crop`: the central part of the wanted shape; `letterbox`: the whole image in the middle, on black (zeros); `squash`: the
        whole image, stretched.

    Returns
    -------
    fitted : (h, w, channels)
    """
    height, width = height_and_width(size)
    if image.shape == (height, width, channels):
        return image
    image = with_channels(image[..., None] if image.ndim == 2 else image, channels)
    rows, columns = image.shape[:2]
    if way == "squash":
        return _resampled(image, height, width, (0, 0, columns, rows))
    if way == "letterbox":
        scale = min(height / rows, width / columns)
        inner = min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale)))
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        fitted = np.zeros((height, width, channels), image.dtype)
        fitted[top : top + inner[0], left : left + inner[1]] = _resampled(image, *inner, (0, 0, columns, rows))
        return fitted
    return _resampled(image, height, width, _central(rows, columns, height, width))


def with_channels(image: ImageArray, channels: int) -> ImageArray:
    """Return an image (H, W, C) with another number of channels: grey repeated, or the luma of RGB."""
    found = image.shape[2]
    if found == channels:
        return image
    if found == 1:
        return np.repeat(image, channels, axis=2)
    if (found, channels) != (3, 1):
        raise ValueError(f"an image of {found} channels cannot become one of {channels}")
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).convert("L"))[..., None]
    return np.asarray(image @ np.array([0.299, 0.587, 0.114], image.dtype))[..., None]


def resize(image: ImageArray, side: int) -> ImageArray:
    """Return an image whose shorter side is `side`, resampled with antialiasing; a smaller image is returned unchanged.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        Grey, RGB or bands, uint8, uint16 or float32.
    side
        In pixels.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter <= side:
        return image
    size = (max(side, round(width * side / shorter)), max(side, round(height * side / shorter)))
    return _by_band(image, lambda band: band.resize(size, Image.Resampling.BICUBIC))


def _central(rows: int, columns: int, height: int, width: int) -> Box:
    """Return the largest central box of the shape height to width: left, top, right, bottom."""
    if height == width:
        side = min(rows, columns)
        left, top = (columns - side) // 2, (rows - side) // 2
        return left, top, left + side, top + side
    if columns * height > rows * width:
        inner = rows * width / height
        return (columns - inner) / 2, 0, (columns + inner) / 2, rows
    inner = columns * height / width
    return 0, (rows - inner) / 2, columns, (rows + inner) / 2


def _resampled(image: ImageArray, height: int, width: int, box: Box) -> ImageArray:
    """Return the part of an image in a box at a size."""
    left, top, right, bottom = box
    if (bottom - top, right - left) == (height, width):
        return image[int(top) : int(bottom), int(left) : int(right)]
    return _by_band(image, lambda band: band.resize((width, height), Image.Resampling.BILINEAR, box=box)).reshape(
        height, width, -1
    )


def _by_band(image: ImageArray, work: Any) -> ImageArray:
    """Apply a function of Pillow's images to grey and RGB at once, to other images band by band in floating point."""
    if image.dtype == np.uint8 and image.shape[2:] in ((), (1,), (3,)):
        return np.array(work(Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)))
    bands: list[NDArray[np.float32]] = [
        np.asarray(work(Image.fromarray(np.ascontiguousarray(band, np.float32))))
        for band in np.moveaxis(np.atleast_3d(image), 2, 0)
    ]
    made = np.stack(bands, axis=2)
    if image.dtype != np.float32:
        made = np.rint(made).clip(0, np.iinfo(image.dtype).max).astype(image.dtype)
    return made if image.ndim == 3 else made[..., 0]
