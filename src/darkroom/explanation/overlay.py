"""Heat drawn over images, and images as PNG. No torch. H by W pixels."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""(H, W, 3) or (H, W, 1)."""

# Longer side in pixels of the images that are kept beside the predictions.
SIDE = 128
# The default, 6, takes twice as long for 5 % fewer bytes.
COMPRESSION = 3
# From little heat to the most: also in grey, and for the colour-blind, more is brighter.
COLOURS = np.array([[110, 0, 90], [200, 30, 60], [245, 125, 20], [255, 235, 120]], np.float64)
# Share of the colour where the heat is largest; the rest is the image in grey.
STRENGTH = 0.75
# The image is dimmed, so that colours are seen on white, too.
DIMMED = 0.8


def overlay(image: Picture, heat: NDArray[np.floating[Any]]) -> Picture:
    """Return the image in grey, with colours where it is hot, (H, W, 3).

    Parameters
    ----------
    image
        (H, W, 1) or (H, W, 3) uint8.
    heat
        (H, W), from 0 to 1.
    """
    grey = np.asarray(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L"), np.float64)[..., None]
    places = np.linspace(0, 1, len(COLOURS))
    colour = np.stack([np.interp(heat, places, channel) for channel in COLOURS.T], axis=-1)
    share = STRENGTH * np.clip(heat, 0, 1)[..., None]
    mixed: Picture = np.rint(DIMMED * grey * (1 - share) + colour * share).astype(np.uint8)
    return mixed


def scaled(image: Picture, side: int = SIDE) -> Picture:
    """Return an image of at most `side` pixels a side; small ones are enlarged by a whole factor, so that pixels are squares."""
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= side:
        factor = side // longer
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    pil_image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return np.asarray(pil_image.resize(size, Image.Resampling.LANCZOS)).reshape(size[1], size[0], -1)


def scaled_heat(heat: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float32]:
    """Return heat (H, W) at another size, without steps."""
    return np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize((width, height), Image.Resampling.BILINEAR))


def image_and_overlay(image: Picture, heat: NDArray[np.floating[Any]] | None, side: int = SIDE) -> tuple[Picture, Picture | None]:
    """Return an image (H, W, C) at the size at which it is shown, and over it its heat (H, W), unless there is none."""
    shown = scaled(image, side)
    return shown, None if heat is None else overlay(shown, scaled_heat(heat, *shown.shape[:2]))


def png(image: Picture) -> bytes:
    """Return the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "PNG", compress_level=COMPRESSION)
    return file.getvalue()
