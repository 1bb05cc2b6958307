"""Decoding a JPEG: all of it or reduced, straight into an array, with what is missing in it noticed.

References
----------
ITU-T T.81, https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import decode_jpeg, decode_jpeg_header

from darkroom.data.decoding.bounds import ImageError, TooManyPixelsError
from darkroom.data.decoding.orientation import EXIF_START
from darkroom.data.decoding.tiles import Box, part_around

START, EOI = b"\xff\xd8\xff", b"\xff\xd9"
# A JPEG that will be resized is decoded to at least this many times the wanted size.
MIN_REDUCTION = 2
# Colour spaces as simplejpeg names them, and what each is decoded to.
COLOURS = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}
# A marker that begins a segment: in compressed data, 0xff is followed by 0 or by the number of a restart.
MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
# Warnings of libjpeg that lose no pixels: bytes behind the last one, old or odd headers.
HARMLESS = (
    *("extraneous bytes", "bad ICC", "Adobe color transform", "JFIF revision", "Invalid SOS", "Inconsistent progression"),
    "thumbnail image size",
)
# Data for pixels that are missing, between all numbers of restarts.
MORE = b"".join(bytes(range(254, 126, -1)) + bytes([255, number]) for number in range(0xD0, 0xD8))
SOS, END, APP1 = 0xDA, 0xD9, 0xE1
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
# Every scan passes over all blocks of its components, also if it changes none. A usual progressive JPEG has 10 scans, which pass
# 8 to 14 times over as many blocks as it has pixels.
MOST_SEGMENTS, MOST_SCANS = 10_000, 200
MOST_PASSED = 1_600_000_000
# Rows that are converted at once.
STRIP = 1 << 20


@dataclass
class _Header:
    """What the segments of a file say."""

    bits: int = 8
    pixels: int = 0
    progressive: bool = False
    sampling: dict[int, int] = field(default_factory=dict)
    """Blocks of each component, relative to one another."""
    exif: bytes = b""
    xmp: bytes = b""
    scans: int = 0
    passed: float = 0.0
    left: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bits that are still to come, by component and coefficient."""


@dataclass(frozen=True)
class Jpeg:
    """A decoded JPEG.

    Attributes
    ----------
    image : (H, W) or (H, W, 3) uint8
        Not yet turned.
    is_cmyk
        Whether it was CMYK or YCCK.
    exif, xmp
        Its blocks of metadata.
    """

    image: NDArray[np.uint8]
    is_cmyk: bool
    exif: bytes
    xmp: bytes


def read_jpeg(data: bytes, max_pixels: int, side: int | None) -> Jpeg | None:
    """Decode a JPEG; None if it is none, or cannot be read, so that Pillow may say what is wrong.

    Pillow decodes with the same library and would return the same pixels, in twice the time, and not say if some are missing.

    Raises
    ------
    ImageError
        If it has too many pixels or scans, 12 bits, or ends early.
    """
    if not data.startswith(START):
        return None
    header = _read_header(data)
    try:
        height, width, kind, _ = decode_jpeg_header(data, strict=False)
    except ValueError:
        _check_bits(header)
        return None
    if height * width > max_pixels:
        raise TooManyPixelsError(f"has {width} x {height} pixels, more than max_pixels ({max_pixels})")
    _check_bits(header)
    if kind not in COLOURS:
        return None
    if any(header.left.values()):
        raise ImageError("is damaged (it ends before its last scan)")
    scale = reduction(min(height, width), side)
    image = _decoded(data, COLOURS[kind], -(-height // scale), -(-width // scale))
    if image is None:
        return None
    if COLOURS[kind] == "CMYK":
        image = _cmyk_to_rgb(image)
    return Jpeg(image[..., 0] if kind == "Gray" else image, COLOURS[kind] == "CMYK", header.exif, header.xmp)


def read_jpeg_part(data: bytes, box: Box) -> NDArray[np.uint8] | None:
    """Decode a rectangle of a JPEG in tiles, (height, width, C), with the pixels that the whole image has there.

    None if it has no tiles, or cannot be read: all of it is then to be decoded, which says what is wrong.
    """
    part = part_around(data, box)
    if part is None:
        return None
    try:
        image = np.asarray(decode_jpeg(part.data))
    except ValueError:
        return None
    top, left = box[0] - part.top, box[1] - part.left
    return image[top : top + box[2], left : left + box[3]]


def reduction(shorter: int, side: int | None) -> int:
    """Return the largest of 1, 2, 4, 8 by which the shorter side may be divided, to be resized to `side` afterwards."""
    if side is None:
        return 1
    times = shorter // (MIN_REDUCTION * side)
    return 1 if times < 2 else 2 if times < 4 else 4 if times < 8 else 8


def _check_bits(header: _Header) -> None:
    if header.bits != 8:
        raise ImageError(f"has {header.bits} bits per channel; save it with 8")


def _decoded(data: bytes, colours: str, height: int, width: int) -> NDArray[np.uint8] | None:
    """Decode strictly: libjpeg fills what is missing with grey and only warns."""
    size = {"min_height": height, "min_width": width}
    for ended in (data, data + EOI):
        try:
            return np.asarray(decode_jpeg(ended, colours, **size))
        except ValueError as error:
            reason = str(error)
        # Only the marker of the end is missing, if that is all.
        if reason != "Premature end of JPEG file":
            break
    if any(each in reason for each in HARMLESS):
        image, longer = (np.asarray(decode_jpeg(each, colours, **size, strict=False)) for each in (data, _with_more(data)))
        # Another warning may follow the first, which alone is told.
        if not np.array_equal(image, longer):
            raise ImageError("is damaged (it ends early)")
        return image
    if reason.startswith(("Premature end", "Corrupt JPEG data")):
        raise ImageError(f"is damaged ({reason})")
    return None


def _with_more(data: bytes) -> bytes:
    """Return a JPEG with more data before its end, which changes pixels only if some are missing, behind any restart too."""
    position = 2
    while (found := MARKER.search(data, position)) and found[1][0] != END:
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return (data[: found.start()] if found else data.rstrip(b"\xff")) + MORE + EOI


def _cmyk_to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert by Pillow's formula, some rows at a time. As Adobe's programs write it, 255 is no ink."""
    made = np.empty((*image.shape[:2], 3), np.uint8)
    rows = max(1, STRIP // image.shape[1])
    for top in range(0, len(image), rows):
        part = Image.fromarray(255 - image[top : top + rows], "CMYK")
        made[top : top + rows] = np.asarray(part.convert("RGB"))
    return made


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment of the first image."""
    position, count = 2, 0
    while found := MARKER.search(data, position):
        code, start = found[1][0], found.end()
        if code == END:
            return
        count += 1
        if count > MOST_SEGMENTS:
            raise ImageError(f"has more than {MOST_SEGMENTS} segments; save it again")
        position = max(start, start + int.from_bytes(data[start : start + 2])) if code != 1 else start
        yield code, data[start + 2 : position]


def _read_header(data: bytes) -> _Header:
    header = _Header()
    for code, content in _segments(data):
        if code in FRAMES and len(content) >= 6 and not header.sampling:
            header.bits = content[0]
            header.pixels = int.from_bytes(content[1:3]) * int.from_bytes(content[3:5])
            header.progressive = code in (0xC2, 0xC6, 0xCA, 0xCE)
            for name, sampling in zip(content[6::3], content[7::3], strict=False):
                header.sampling[name] = (sampling >> 4) * (sampling & 15)
        elif code == APP1 and content.startswith(EXIF_START):
            header.exif += content.removeprefix(EXIF_START)
        elif code == APP1 and content.startswith(XMP_START):
            header.xmp = content.removeprefix(XMP_START)
        elif code == SOS and header.sampling:
            # Nothing follows one that has all.
            if not header.progressive and content[:1] == bytes([len(header.sampling)]):
                break
            _add_scan(header, content)
    return header


def _add_scan(header: _Header, content: bytes) -> None:
    if not header.left:
        header.left = dict.fromkeys([(name, each) for name in header.sampling for each in range(64)], 16)
    number = content[0] if content else 0
    names, ends = content[1 : 1 + 2 * number : 2], content[1 + 2 * number :]
    first, last, bits = (ends[0], min(ends[1], 63), ends[2] & 15) if header.progressive and len(ends) >= 3 else (0, 63, 0)
    header.scans += 1
    header.passed += header.pixels * sum(header.sampling.get(name, 0) for name in names) / max(1, *header.sampling.values())
    if header.scans > MOST_SCANS or header.passed > MOST_PASSED:
        raise ImageError(f"has too many scans for its size ({MOST_PASSED // 10**6} million pixels in all, {MOST_SCANS} scans)")
    for name in names:
        for each in range(first, last + 1):
            header.left[name, each] = min(header.left.get((name, each), 16), bits)
