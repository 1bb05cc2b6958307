"""Resizing images: to the square that a network is given, or to a shorter side."""

import numpy as np
from PIL import Image

from darkroom.data.images import ImageArray


def fit(image: ImageArray, size: int, channels: int) -> ImageArray:
    """Return the central square of an image, resized, in grey or RGB; an image that fits already is returned unchanged.

    It is cropped first: resized first, an image of 1 by 10 000 pixels would grow to millions of pixels.

    Parameters
    ----------
    image : (H, W), (H, W, 1) or (H, W, 3) uint8
        Grey or RGB.
    size
        Side of the square, in pixels; the resampling is bilinear with antialiasing.
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
    """Return an image whose shorter side is `side`, resampled with antialiasing; a smaller image is returned unchanged.

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
