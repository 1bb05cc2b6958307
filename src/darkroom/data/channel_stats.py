"""Mean and standard deviation of each channel, for the normalisation of networks and for the data card."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.pack import Pack
from darkroom.data.rng import generator

# Enough images for three digits of mean and standard deviation, without decoding them all.
SAMPLE = 2000


class ChannelStats(NamedTuple):
    """Mean and standard deviation over all pixels, with 0..255 scaled to 0..1.

    Attributes
    ----------
    mean, std : (C,) float64
        One value per channel: grey, or red, green and blue.
    num_images
        How many images were measured.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_images: int


def measure_channels(pack: Pack, rows: NDArray[np.int64]) -> ChannelStats:
    """Measure the images of rows (n,), n > 0; of more than `SAMPLE` images a sample, which is always the same."""
    if len(rows) > SAMPLE:
        rows = np.sort(generator(0, 0).choice(rows, SAMPLE, replace=False))
    counts = np.zeros((pack.channels, 256), np.int64)
    for row in rows:
        image = pack[int(row)]
        pil_image = Image.fromarray(image[..., 0] if pack.channels == 1 else image)
        counts += np.reshape(pil_image.histogram(), counts.shape)
    # In Python's whole numbers, which are exact, so that every machine finds the same.
    num_pixels = int(counts[0].sum())
    sums = [int(total) for total in counts @ np.arange(256)]
    squares = [int(total) for total in counts @ np.arange(256) ** 2]
    mean = [total / (255 * num_pixels) for total in sums]
    std = [math.sqrt(num_pixels * square - total**2) / (255 * num_pixels) for total, square in zip(sums, squares, strict=True)]
    return ChannelStats(np.array(mean), np.array(std), len(rows))
