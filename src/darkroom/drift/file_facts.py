"""What stands in the header of an image file: its size, format and camera, and how many bytes a pixel takes. No torch."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Tags of EXIF.
MAKE, MODEL, ORIENTATION = 271, 272, 274
TURNED = range(5, 9)  # by a quarter
NUMBERS = ("megapixels", "width / height", "bytes per pixel")
KINDS = ("format", "camera")


@dataclass(frozen=True)
class FileFacts:
    """Of one file; `camera` is empty where the file names none."""

    width: int
    height: int
    num_bytes: int
    format: str = ""
    camera: str = ""


def read_facts(content: bytes) -> FileFacts:
    """Return what the header says; of a file that Pillow cannot read the number of bytes alone."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            tags = image.getexif()
            words = [str(tags.get(tag, "")).strip("\x00 ") for tag in (MAKE, MODEL)]
            width, height = image.size if tags.get(ORIENTATION) not in TURNED else image.size[::-1]
            return FileFacts(width, height, len(content), image.format or "", " ".join(word for word in words if word))
    except Exception:
        return FileFacts(0, 0, len(content))


def numbers_of(facts: Sequence[FileFacts]) -> dict[str, NDArray[np.float64]]:
    """Return the properties that are numbers, (n,) each."""
    rows = np.array([(each.width, each.height, each.num_bytes) for each in facts], np.float64)
    pixels = np.maximum(rows[:, 0] * rows[:, 1], 1)
    return dict(zip(NUMBERS, (pixels / 1e6, rows[:, 0] / np.maximum(rows[:, 1], 1), rows[:, 2] / pixels), strict=True))


def kinds_of(facts: Sequence[FileFacts]) -> dict[str, list[str]]:
    """Return the properties that are words, of n files."""
    return {"format": [each.format for each in facts], "camera": [each.camera for each in facts]}
