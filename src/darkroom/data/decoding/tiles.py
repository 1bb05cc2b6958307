"""JPEGs in tiles: a rectangle is cut out of the compressed data, so that no more is decoded.

What lies between two restart markers is decoded without what comes before. With a marker behind every block of 16 by 16 pixels,
the blocks around a rectangle are themselves a JPEG, once height and width are corrected and the markers counted anew. Its pixels
are those of the whole image. A segment, which other programs pass over, lists how long each tile is: to look for the markers
would take a third of what is saved.

References
----------
ITU-T T.81, B.2.4.4 (the interval) and F.1.1.5.2 (what a marker resets), https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SOF, SOS, DRI, RST, EOI = 0xC0, 0xDA, 0xDD, 0xD0, 0xD9
JFIF = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
# SOI and JFIF's segment, behind which the list stands: marker, length, name, and how many bytes each tile has, as uint16.
HEAD = 20
LISTED = struct.Struct("!2sH9s")
APP9, NAME = b"\xff\xe9", b"darkroom\0"
MOST_TILES = (0xFFFF - LISTED.size + 2) // 2
# What begins a scan of three components, and how many bytes the segment has.
SCAN, SCAN_BYTES = b"\xff\xda\x00\x0c\x03", 14
# Blocks of each component in a tile: two by two of luma, one of each chroma.
SAMPLING, TILE = [0x22, 0x11, 0x11], 16
# Of a larger share of an image, all is decoded: cutting out takes a tenth of the time of decoding.
MOST_CUT = 0.9
# The numbers of restart markers go around.
COUNTED = (RST + np.arange(MOST_TILES + 1) % 8).astype(np.uint8)
# Pixels around a rectangle by which its chroma is interpolated, which has half the resolution.
AROUND = 2

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


class Part(NamedTuple):
    """A part of a JPEG.

    Attributes
    ----------
    data
        A JPEG of this part.
    top, left
        Where its first pixel is in the whole image.
    """

    data: NDArray[np.uint8]
    top: int
    left: int


class _Layout(NamedTuple):
    """What the segments say. `size_at` is where height and width stand."""

    size_at: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // TILE), -(-self.width // TILE)


def with_list(data: bytes) -> bytes:
    """Return a JPEG with a restart marker behind every block with the list of its tiles; unchanged if it cannot have one."""
    start = _scan_start(data, HEAD) if data.startswith(JFIF) else 0
    layout = _layout(data[:start]) if start else None
    if layout is None:
        return data
    found = np.frombuffer(data, np.uint8, offset=start)
    places = np.flatnonzero((found[:-1] == 0xFF) & (found[1:] != 0))
    count = layout.shape[0] * layout.shape[1]
    if count > MOST_TILES or len(places) != count:
        return data
    listed = np.diff(places, prepend=-2).astype("<u2").tobytes()
    return data[:HEAD] + LISTED.pack(APP9, LISTED.size - 2 + len(listed), NAME) + listed + data[HEAD:]


def part_around(data: bytes, box: Box) -> Part | None:
    """Return the tiles of a JPEG around a rectangle; None if it has no list of them, or the rectangle covers most of it.

    Then all of it is to be decoded, which also finds what is wrong with it.
    """
    if not data.startswith(JFIF) or len(data) < HEAD + LISTED.size:
        return None
    marker, length, name = LISTED.unpack_from(data, HEAD)
    rest = HEAD + 2 + length
    start = _scan_start(data, rest) if (marker, name) == (APP9, NAME) else 0
    head = data[:HEAD] + data[rest:start]
    layout = _layout(head) if start else None
    if layout is None:
        return None
    if box[0] + box[2] > layout.height or box[1] + box[3] > layout.width:
        return None
    rows, columns = (_span(*each) for each in zip(box[:2], box[2:], (layout.height, layout.width), strict=True))
    num_rows, num_columns = layout.shape
    count = num_rows * num_columns
    is_most = (rows[1] - rows[0]) * (columns[1] - columns[0]) > MOST_CUT * count
    if is_most or length != LISTED.size - 2 + 2 * count:
        return None
    ends = np.cumsum(np.frombuffer(data, "<u2", count, HEAD + LISTED.size), dtype=np.int64)
    ends += start - 2
    top, left = rows[0] * TILE, columns[0] * TILE
    height, width = min(layout.height, rows[1] * TILE) - top, min(layout.width, columns[1] * TILE) - left
    sized = head[: layout.size_at] + struct.pack("!HH", height, width) + head[layout.size_at + 4 :]
    made = _joined(data, sized, start, ends.reshape(num_rows, num_columns), rows, columns)
    return None if made is None else Part(made, top, left)


def _scan_start(data: bytes, rest: int) -> int:
    """Return where the compressed data begin; 0 if that is nowhere. `_layout` sees whether it is true."""
    place = data.find(SCAN, rest, rest + 2048)
    return 0 if place < 0 else place + SCAN_BYTES


@lru_cache(maxsize=256)
def _layout(head: bytes) -> _Layout | None:
    """Return what the segments before the compressed data say; None if tiles are not of one block, or anything is unusual."""
    position, size_at = 2, 0
    interval = 0
    sampling: list[int] = []
    while position + 4 <= len(head) and head[position] == 0xFF:
        code, length = head[position + 1], int.from_bytes(head[position + 2 : position + 4])
        content = position + 4
        position += 2 + length
        if code == SOF and not size_at and head[content] == 8:
            size_at = content + 1
            sampling = list(head[content + 7 : position : 3])
        elif code == DRI:
            interval = int.from_bytes(head[content : content + 2])
        elif code == SOS:
            height, width = struct.unpack_from("!HH", head, size_at)
            is_usual = position == len(head) and interval == 1 and sampling == SAMPLING
            return _Layout(size_at, height, width) if is_usual and height and width else None
        elif code not in (0xE0, 0xDB, 0xC4):
            return None  # another kind of frame, or segments of other programs, which may say that the image is to be turned
    return None


def _span(start: int, length: int, whole: int) -> tuple[int, int]:
    """Return the first tile, and that behind the last one, along an axis."""
    first, end = max(0, start - AROUND) // TILE, -(-min(whole, start + length + AROUND) // TILE)
    # A narrow rest at the far border would alone be too narrow to interpolate in.
    if first and whole - first * TILE < TILE:
        first -= 1
    return first, end


def _joined(
    data: bytes, head: bytes, start: int, ends: NDArray[np.int64], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Return head and tiles, with their markers counted anew; None if the list is wrong.

    `ends` are where the markers behind all tiles are, (rows, columns).
    """
    tiles = ends[rows[0] : rows[1], columns[0] : columns[1]]
    # A tile begins behind the marker of the one before.
    before = rows[0] * ends.shape[1] + columns[0] - 1
    begins = [start - 2] if before < 0 else []
    begins += ends.ravel()[max(before, before % ends.shape[1]) :: ends.shape[1]][: len(tiles) - len(begins)].tolist()
    made, moved = bytearray(head), []
    for begin, end in zip(begins, tiles[:, -1].tolist(), strict=True):
        moved.append(len(made) - begin - 2)
        made += data[begin + 2 : end + 2]
    counted = np.frombuffer(made, np.uint8)
    places = (tiles + np.array(moved)[:, None]).ravel()
    if places[-1] + 2 != len(counted) or (counted[places] != 0xFF).any():
        return None
    places += 1
    counted[places] = COUNTED[: len(places)]
    counted[places[-1]] = EOI
    return counted
