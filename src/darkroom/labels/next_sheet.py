"""A sheet of the photos that are to be labelled, with the numbers of their rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.bands import read_image, shown_image
from darkroom.data.images import ImageError
from darkroom.labels.next import Asked
from darkroom.reporting.sheets import SIDE, contact_sheet, save_sheet

SHOWN = 200  # photos: a sheet of more is of no use


def write_sheet(out: Path, photos: Sequence[Asked], first: int, max_pixels: int) -> None:
    """Write the sheet.

    Parameters
    ----------
    out
        A .png file.
    photos
        At most `SHOWN` are drawn.
    first
        Number of the first of them in the table.
    max_pixels
        As for features.
    """
    shown = photos[:SHOWN]
    captions = []
    for number, each in enumerate(shown, first):
        proposed = each.why if each.probability is None else f"{each.proposed} {each.probability:.2f}? {each.why}"
        captions.append((f"{number}  {each.path.name}", proposed))
    more = f", the first {len(shown)}" if len(shown) < len(photos) else ""
    title = f"{len(photos)} photos to label: {first} to {first + len(photos) - 1}{more}"
    images = [_image(each.path, max_pixels) for each in shown]
    sheet = contact_sheet(images, captions, [False] * len(shown), title=title)
    save_sheet(out, sheet, "./darkroom labels next")


def _image(path: Path, max_pixels: int) -> NDArray[np.uint8] | None:
    try:
        image = read_image(path.read_bytes(), max_pixels, 2 * SIDE, None).image
    except (ImageError, OSError):  # it was read a moment ago
        return None
    return shown_image(image if image.ndim == 3 else image[..., None])
