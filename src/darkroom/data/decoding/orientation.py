"""How an image must be turned to be upright: the orientation in its EXIF, else in its XMP.

H by W pixels.

References
----------
Exif 2.32, 4.6.4 and 4.6.5, https://www.cipa.jp/std/documents/e/DC-008-Translation-2019-E.pdf
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

TAG = 0x0112
# What each value needs: transposed, then mirrored along these axes.
TURNS = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}
EXIF_START = b"Exif\0\0"
XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([0-9])")
# Lengths of the types of numbers that the value may have: BYTE, SHORT, LONG.
NUMBERS = {1: 1, 3: 2, 4: 4}


def orientation(exif: bytes | None, xmp: bytes | str | None) -> int:
    """Return the orientation, 1 to 8; 1, upright, where none is given or what is given is damaged.

    Only its one tag is read: a library would copy the values of all, and a block of 1 MB can name 60 GB of them.

    Parameters
    ----------
    exif
        The block of EXIF, a TIFF file, with or without its `Exif` in front.
    xmp
        The packet of XMP. It counts where EXIF has no orientation.
    """
    found = _in_exif((exif or b"").removeprefix(EXIF_START))
    if found is None and xmp:
        match = XMP.search(xmp.encode() if isinstance(xmp, str) else xmp)
        found = int(match[1]) if match else None
    return found if found in TURNS else 1


def turned(image: NDArray[Any], number: int) -> NDArray[Any]:
    """Return an image (H, W) or (H, W, C) of an orientation as it is upright, contiguous."""
    if number not in TURNS:
        return image
    is_transposed, mirrored = TURNS[number]
    return np.ascontiguousarray(np.flip(image.swapaxes(0, 1) if is_transposed else image, mirrored))


def _in_exif(block: bytes) -> int | None:
    order = {b"II": "little", b"MM": "big"}.get(block[:2])
    if order is None:
        return None

    def number(start: int, length: int) -> int:
        return int.from_bytes(block[start : start + length], order)  # type: ignore[arg-type]

    first = number(4, 4)
    # Entries of 12 bytes: tag, type, count, value.
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(block) - 11), 12):
        if number(entry, 2) == TAG and number(entry + 4, 4) == 1:
            kind = number(entry + 2, 2)
            return number(entry + 8, NUMBERS[kind]) if kind in NUMBERS else None
    return None
