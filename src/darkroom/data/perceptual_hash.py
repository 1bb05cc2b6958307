"""A hash of 256 bits, of which few differ between images that look the same.

It is the DCT hash of Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", with 16 by 16
coefficients of 64 by 64 luma values. Its arithmetic is on whole numbers, so that every machine gives the same bits.
"""

import numpy as np
from PIL import Image

from darkroom.data.images import ImageArray

HASH_BYTES = 32
# An image of fewer pixels a side holds less than the 256 bits say, and one that is nearly flat holds noise.
MIN_SIDE = 32
MIN_DEVIATION = 4.0  # of 255 grey values
SIDE, FREQUENCIES = 64, 16
# Rows of the DCT-II in steps of 1/1024: products and sums stay below 2**53, so that float64 holds them exactly in any order.
COSINES = np.rint(1024 * np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(FREQUENCIES)[:, None] / (2 * SIDE)))


def perceptual_hash(image: ImageArray) -> bytes | None:
    """Return 32 bytes of which few bits differ between images that look the same; None if nothing can be said.

    Resizing, JPEG compression, other brightness or contrast, and colour change few bits of the 256; unrelated images differ in
    128 or so. Mirrored, turned or cropped images are not found.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) uint8
        As `decode` gives it.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    grey = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    values = np.asarray(grey, np.float64)
    if values.std() < MIN_DEVIATION:
        return None
    coefficients = (COSINES @ values @ COSINES.T).ravel()[1:]
    bits = coefficients > np.median(coefficients)
    return np.packbits(np.append(False, bits)).tobytes()
