"""Files that would cost far more than their pixels: refused by their headers, before anything is decoded.

With these, an image takes at most seconds, and about 1 GiB beyond its pixels, whatever its file says; see docs/data.md.

References
----------
PNG, https://www.w3.org/TR/png-3/ ; GIF89a, https://www.w3.org/Graphics/GIF/spec-gif89a.txt ; TIFF 6.0
"""

import struct
import zlib
from collections.abc import Iterator

PNG_START = b"\x89PNG\r\n\x1a\n"
GIF_STARTS = (b"GIF87a", b"GIF89a")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Their decoders hold 12 to 20 bytes for each pixel, and that of WebP stops everything else meanwhile.
MOST_PIXELS = {"WEBP": 32_000_000, "AVIF": 32_000_000}
# Pillow reads each chunk of a PNG, block of a GIF and strip of a TIFF in Python, in 5 to 10 microseconds.
MOST_CHUNKS = 100_000
MOST_BLOCKS = 1_000_000
MOST_STRIPS = 250_000
MOST_TAGS = 10_000
# It joins comments of a GIF block by block, so that their cost is the square of their size.
MOST_COMMENTS = 1 << 20
# Chunks without which a PNG does not show what was saved.
SHOWN = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
# Lengths of the types of TIFF's values, and tags of its strips, tiles, and further directories.
LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
STRIPS = (273, 324)
DIRECTORIES = (34665, 34853, 40965)


class ImageError(Exception):
    """An image cannot be used; the message is the reason and follows the name of the image."""


class TooManyPixelsError(ImageError):
    """An image has more pixels than are decoded."""


def check_bounds(data: bytes) -> None:
    """Refuse a PNG, GIF, TIFF, WebP or AVIF file that is damaged where its decoder does not look, or made to be slow.

    Raises
    ------
    ImageError
        With the reason.
    """
    if data.startswith(PNG_START):
        _check_png(data)
    elif data.startswith(GIF_STARTS):
        _check_gif(data)
    elif data.startswith(TIFF_STARTS):
        _check_directories(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _check_webp(data)
    elif data[4:8] == b"ftyp":
        # An AVIF's EXIF is such a file, too.
        for start in TIFF_STARTS[:2]:
            position = data.find(start)
            while position >= 0:
                _check_directories(data[position:])
                position = data.find(start, position + 1)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of each chunk of a PNG."""
    position = len(PNG_START)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, position + 8 + length
        position += length + 12


def _check_png(data: bytes) -> None:
    view = memoryview(data)
    for number, (name, start, end) in enumerate(png_chunks(data)):
        if number == MOST_CHUNKS:
            raise ImageError(f"has more than {MOST_CHUNKS} chunks; save it again")
        # Pillow does not compare the checksum of pixels.
        if name in SHOWN and end + 4 <= len(data) and zlib.crc32(view[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ImageError(f"is damaged (wrong checksum of {name.decode()})")


def _check_webp(data: bytes) -> None:
    """Refuse by its header what Pillow would hold twice, with alpha, as soon as it opens it.

    References
    ----------
    https://developers.google.com/speed/webp/docs/riff_container and RFC 6386, section 9.1
    """
    kind, frame = data[12:16], data[20:30]
    if len(frame) < 10:
        return
    if kind == b"VP8X":  # of the canvas, less 1
        width, height = (1 + int.from_bytes(frame[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(frame[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(frame[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    if width * height > MOST_PIXELS["WEBP"]:
        raise TooManyPixelsError(f"has {width} x {height} pixels, more than the {MOST_PIXELS['WEBP']} that are decoded of WEBP")


def _check_gif(data: bytes) -> None:
    """Walk to the second frame: Pillow reads as far, to know whether there is one."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10:11] and data[10] & 0x80 else 0)
    frames = blocks = commented = 0
    while position + 1 < len(data) and frames < 2:
        kind = data[position]
        if kind == 0x2C and position + 10 < len(data):
            frames += 1
            local = data[position + 9]
            position += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif kind == 0x21:
            position += 2
        else:
            position += 1
            continue
        while position < len(data) and (size := data[position]):
            blocks += 1
            commented += size if kind == 0x21 else 0
            position += size + 1
            if blocks > MOST_BLOCKS or commented > MOST_COMMENTS:
                raise ImageError(f"has more than {MOST_BLOCKS} blocks or {MOST_COMMENTS >> 20} MiB of comments; save it again")
        position += 1


def _check_directories(data: bytes) -> None:
    """Walk the directories of a TIFF's first page: Pillow copies each value, and values may share their place."""
    order, big = "<" if data[:1] == b"I" else ">", 43 in data[2:4]
    head, count, entry = (8, "Q", "HHQ8s") if big else (4, "H", "HHI4s")
    word = "Q" if big else "I"
    pending, seen, total = _unpacked(order + word, data, head), set(), 0
    while pending:
        place = pending.pop()
        if place in seen or not (found := _unpacked(order + count, data, place)):
            continue
        seen.add(place)
        if found[0] > MOST_TAGS:
            raise ImageError(f"has more than {MOST_TAGS} tags; save it again")
        start = place + struct.calcsize(order + count)
        length = struct.calcsize(order + entry)
        for each in range(start, min(start + found[0] * length, len(data) - length + 1), length):
            tag, kind, number, value = struct.unpack_from(order + entry, data, each)
            total += LENGTHS.get(kind, 0) * number
            if tag in STRIPS and number > MOST_STRIPS:
                raise ImageError(f"has more than {MOST_STRIPS} strips; save it again")
            if tag in DIRECTORIES:
                pending += struct.unpack(order + word, value)
    if total > len(data) + (1 << 20):
        raise ImageError("is damaged (its tags name more bytes than it has)")


def _unpacked(pattern: str, data: bytes, place: int) -> list[int]:
    """Return the number at a place; none beyond the end."""
    return list(struct.unpack_from(pattern, data, place)) if place + struct.calcsize(pattern) <= len(data) else []
