"""How bright the images are, channel by channel: what networks are normalised by and the data card tells."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.pack import Pack
from darkroom.data.rng import generator

# Enough to know the mean and standard deviation of encoded images to three digits without decoding all of them.
SAMPLE = 2000


class Colours(NamedTuple):
    """Of all pixels together, with 0..255 scaled to 0..1.

    Attributes
    ----------
    mean, std : (C,) float64
        By channel; grey, or red, green and blue.
    num_images
        How many images were measured.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_images: int


def measure_colours(pack: Pack, rows: NDArray[np.int64]) -> Colours:
    """Measure the images of rows (n,), of which there is at least one; a sample of them, always the same, if there are many."""
    if len(rows) > SAMPLE:
        rows = np.sort(generator(0, 0).choice(rows, SAMPLE, replace=False))
    counts = np.zeros((pack.channels, 256), np.int64)
    for row in rows:
        image = pack[int(row)]
        pil_image = Image.fromarray(image[..., 0] if pack.channels == 1 else image)
        counts += np.reshape(pil_image.histogram(), counts.shape)
    # In whole numbers, which Python has of any size: every machine finds the same.
    num_pixels = int(counts[0].sum())
    sums = [int(total) for total in counts @ np.arange(256)]
    squares = [int(total) for total in counts @ np.arange(256) ** 2]
    mean = [total / (255 * num_pixels) for total in sums]
    std = [math.sqrt(num_pixels * square - total**2) / (255 * num_pixels) for total, square in zip(sums, squares, strict=True)]
    return Colours(np.array(mean), np.array(std), len(rows))
