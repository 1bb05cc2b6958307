"""What the header of a TIFF file says of its bands; no pixel is read.

References
----------
TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import io
from typing import Any, NamedTuple

from PIL import TiffImagePlugin

from darkroom.data.decoding.orientation import orientation

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Bands that a colour model has by itself, by PhotometricInterpretation: grey, RGB, palette, mask, CMYK, YCbCr, Lab.
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}
# Values of ExtraSamples: associated and unassociated alpha, and what Corel Draw writes for alpha.
ALPHA = (1, 2, 999)


class TiffHeader(NamedTuple):
    """The first page of a TIFF file."""

    width: int
    height: int
    bands: int
    bits: tuple[int, int]
    """Bits of a band, and the kind of its numbers: 1 unsigned, 2 signed, 3 floating-point."""
    photometric: int
    extra: tuple[int, ...]
    """What the bands beyond the colours are; 1, 2 and 999 are alpha."""
    orientation: int

    @property
    def is_colour(self) -> bool:
        """Whether it is grey, RGB or the like, with alpha at most: an image and not bands of something else."""
        own = COLOURS.get(self.photometric, self.bands)
        beyond = self.bands - own
        return beyond <= 0 or (beyond == 1 and len(self.extra) == 1 and self.extra[0] in ALPHA)


def read_tiff_header(data: bytes) -> TiffHeader | None:
    """Return the header of the first page; None if the file is no TIFF, or its header cannot be read."""
    if not data.startswith(STARTS):
        return None
    try:
        file = io.BytesIO(data)
        head = file.read(16 if data[2] == 43 else 8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        extra, bits, kinds = (_numbers(tags.get(tag, default)) for tag, default in ((338, ()), (258, 1), (339, 1)))
        return TiffHeader(
            width=int(tags[256]),
            height=int(tags[257]),
            bands=int(tags.get(277, 1)),
            bits=(bits[0], kinds[0]),
            photometric=int(tags.get(262, 1)),
            extra=extra,
            orientation=int(tags[274]) if 274 in tags else orientation(None, tags.get(700)),
        )
    except Exception:  # Pillow raises nearly every exception on damaged files, and says later what is wrong with this one
        return None


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)
