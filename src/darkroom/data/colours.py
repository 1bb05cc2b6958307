"""How bright the pictures are, channel by channel: what networks are normalised by and the data card tells."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.data.pack import Pack
from darkroom.data.randomness import generator

# Enough to know the mean and standard deviation of encoded pictures to three digits without decoding all of them.
SAMPLE = 2000


class Colours(NamedTuple):
    """Of all pixels together, with 0..255 scaled to 0..1.

    Attributes
    ----------
    mean, std : (C,) float64
        By channel; grey, or red, green and blue.
    num_pictures
        How many pictures were measured.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_pictures: int


def measure_colours(pack: Pack, rows: NDArray[np.int64]) -> Colours:
    """Measure the pictures of rows (n,), of which there is at least one; a sample of them, always the same, if there are many."""
    if len(rows) > SAMPLE:
        rows = np.sort(generator(0, 0).choice(rows, SAMPLE, replace=False))
    sums = np.zeros((3, pack.channels))
    for row in rows:
        values = pack[int(row)].reshape(-1, pack.channels) / 255
        sums += [np.full(pack.channels, len(values)), values.sum(0), (values**2).sum(0)]
    mean = sums[1] / sums[0]
    return Colours(mean, np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0)), len(rows))
