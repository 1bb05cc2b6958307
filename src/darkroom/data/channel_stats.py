"""Mean and standard deviation of each channel, for the normalisation of networks and for the data card."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.bands import network_values
from darkroom.data.pack import Pack
from darkroom.data.rng import generator

# Enough images for three digits of mean and standard deviation, without decoding them all.
SAMPLE = 2000
Read = Callable[..., NDArray[Any]]
"""From a row, and the shorter side that suffices, to an image (H, W, C)."""


class ChannelStats(NamedTuple):
    """Mean and standard deviation over all pixels, with 0..255 and 0..65535 scaled to 0..1; float32 as it is.

    Attributes
    ----------
    mean, std : (C,) float64
        One value per channel: grey, or red, green and blue, or the bands.
    num_images
        How many images were measured.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_images: int


def measure_channels(pack: Pack, rows: NDArray[np.int64], read: Read | None = None) -> ChannelStats:
    """Measure the images of rows (n,), n > 0; of more than `SAMPLE` images a sample, which is always the same.

    `read` returns an image as the network sees it; by default as it is stored.
    """
    if len(rows) > SAMPLE:
        rows = np.sort(generator(0, 0).choice(rows, SAMPLE, replace=False))
    read = read or (lambda row: network_values(pack[row]))
    if pack.dtype != "uint8":
        return _measure_values([int(row) for row in rows], read)
    counts = np.zeros((1, 256), np.int64)
    for row in rows:
        counts = counts + np.array([Image.fromarray(band).histogram() for band in _bands(read(int(row)))], np.int64)
    # In Python's whole numbers, which are exact, so that every machine finds the same.
    num_pixels = int(counts[0].sum())
    sums = [int(total) for total in counts @ np.arange(256)]
    squares = [int(total) for total in counts @ np.arange(256) ** 2]
    mean = [total / (255 * num_pixels) for total in sums]
    std = [math.sqrt(num_pixels * square - total**2) / (255 * num_pixels) for total, square in zip(sums, squares, strict=True)]
    return ChannelStats(np.array(mean), np.array(std), len(rows))


def _bands(image: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(image, 2, 0))


def _measure_values(rows: list[int], read: Read) -> ChannelStats:
    """Measure images of float32 in two passes, in double precision."""
    num_pixels = sum(read(row)[..., 0].size for row in rows)
    mean = sum(read(row).sum(axis=(0, 1), dtype=np.float64) for row in rows) / num_pixels
    squares = sum(np.square(read(row) - mean).sum(axis=(0, 1)) for row in rows)
    return ChannelStats(np.asarray(mean), np.sqrt(squares / num_pixels), len(rows))
