"""What data/raw keeps of an image: resized, as pixels or as a file; in download, and alike for photos that are predicted.

H by W pixels.
"""

from typing import Literal

from darkroom.data.bands import Bands, read_image, to_npy
from darkroom.data.images import Decoded, ImageArray, encode
from darkroom.data.resizing import resize

Form = Literal["raw", "encoded"]


def resized(decoded: Decoded, side: int | None) -> ImageArray:
    """Return the image (H, W) or (H, W, C) with the shorter side `download.resize`; itself if that is null or it is smaller."""
    return decoded.image if side is None else resize(decoded.image, side)


def encoded(data: bytes | Decoded, decoded: Decoded, image: ImageArray, bands: Bands | None) -> bytes:
    """Return the file that is kept of an image.

    Parameters
    ----------
    data
        The file, or the image that a source has decoded.
    decoded
        What it was decoded to.
    image
        That image, resized.
    bands
        Which bands are used.
    """
    is_whole = image is decoded.image and "animation" not in decoded.conversions and not (bands and bands.chosen)
    if isinstance(data, bytes) and is_whole:
        # Unchanged, also if it needs a conversion, which `decode` repeats: as PNG it would be ten times as large.
        return data
    # With the bands that were chosen alone.
    return to_npy(image) if bands else encode(image, lossy=decoded.lossy)


def read_as_stored(
    data: bytes, max_pixels: int, side: int | None, *, form: Form | None, resize: int | None, bands: Bands | None
) -> ImageArray:
    """Read a file as `Pack.read` would if download had packed it, so that a model sees the pixels that it was trained on.

    Parameters
    ----------
    data
        The file.
    max_pixels
        An image with more pixels is refused.
    side
        The shorter side that the caller resizes to; null: all pixels are needed.
    form
        Of the pack that the model was trained on; None: not known, of older models.
    resize, bands
        As the pack's.

    Returns
    -------
    image : (H, W) or (H, W, C)

    Raises
    ------
    ImageError
        If it cannot be used.
    """
    is_file = form == "encoded" and bands is None
    decoded = read_image(data, max_pixels, side if resize is None and form != "raw" else resize, bands)
    image = resized(decoded, resize)
    if not is_file or (resize is None and "animation" not in decoded.conversions):
        return image
    return read_image(encoded(data, decoded, image, bands), max_pixels, side).image
