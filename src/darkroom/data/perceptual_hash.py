"""A perceptual hash of 256 bits: between images that look the same, few bits differ.

It is the DCT hash of Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", with 16 by 16
coefficients of 64 by 64 luma values. It is computed in whole numbers, so that every machine finds the same bits.
"""

import numpy as np
from PIL import Image

from darkroom.data.bands import shown_image
from darkroom.data.images import ImageArray

HASH_BYTES = 32
# The hash of a smaller image would hold more bits than the image; the hash of a nearly flat image is noise.
MIN_SIDE = 32
MIN_DEVIATION = 4.0  # of 255 grey values
SIDE, FREQUENCIES = 64, 16
# Rows of the DCT-II in steps of 1/1024: products and sums stay below 2**53, so that float64 holds them exactly in any order.
COSINES = np.rint(1024 * np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(FREQUENCIES)[:, None] / (2 * SIDE)))


def perceptual_hash(image: ImageArray) -> bytes | None:
    """Return the hash, 32 bytes; None for an image that is too small or too flat.

    Resizing, JPEG compression, and changes of brightness, contrast or colour alter few of the 256 bits; unrelated images differ
    in about 128. Mirrored, rotated or cropped images are not recognised.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        As `read_image` returns it; of several bands, the first three are compared, or the first.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)):
        image = shown_image(image)
        image = image[..., 0] if image.shape[2] == 1 else image
    grey = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    values = np.asarray(grey, np.float64)
    if values.std() < MIN_DEVIATION:
        return None
    coefficients = (COSINES @ values @ COSINES.T).ravel()[1:]
    bits = coefficients > np.median(coefficients)
    return np.packbits(np.append(False, bits)).tobytes()
