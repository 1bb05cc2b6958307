"""Files made to cost far more than their pixels are refused by their headers, in a moment; usual ones are not."""

import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.data.bands import Bands, read_image
from darkroom.data.decoding.bounds import MOST_PIXELS
from darkroom.data.images import ImageError, decode

MOST = 100_000_000


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks: bytes) -> bytes:
    data = saved(Image.new("L", (8, 8), 3), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg(scans: int, side: int) -> bytes:
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def tiff(*entries: tuple[int, int, int, int], first: int = 8, behind: bytes = b"") -> bytes:
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, 8), (279, 4, 1, 64)]
    listed = sorted({tag: (tag, *rest) for tag, *rest in [*tags, *entries]}.values())
    content = struct.pack("<H", len(listed)) + b"".join(struct.pack("<HHII", *each) for each in listed)
    return b"II*\0" + struct.pack("<I", first) + content + struct.pack("<I", 0) + bytes(64) + behind


def gif(*blocks: bytes) -> bytes:
    data = saved(Image.new("L", (8, 8), 3), "GIF")
    start = 13 + (3 << (data[10] & 7) + 1)
    return data[:start] + b"".join(blocks) + data[start:]


def exif_bomb() -> bytes:
    """EXIF of 1 MB whose 60 000 tags each name all of it: 60 GB."""
    entries = b"".join(struct.pack("<HHII", tag, 1, 1_000_000, 8) for tag in range(300, 60_300))
    return b"II*\0" + struct.pack("<IH", 8, 60_000) + entries + bytes(300_000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg(110, 4000), "has too many scans for its size"),
        (jpeg(300, 16), "has too many scans for its size"),
        (b"\xff\xd8" + b"\xff\xe2\0\2" * 20_000 + jpeg(1, 16)[2:], "has more than 10000 segments"),
        (png(*[chunk(b"tEXt", b"a\0b")] * 110_000), "has more than 100000 chunks"),
        (png(*[chunk(b"IDAT", b"")] * 110_000), "has more than 100000 chunks"),
        (png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))), "is damaged (Decompressed data too large"),
        (png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26)))), "is damaged (Decompressed data too large"),
        (gif(b"\x21\xfe" + (b"\xff" + bytes(255)) * 10_000 + b"\0"), "or 1 MiB of comments"),
        (gif(b"\x21\xff" + b"\1a" * 1_100_000 + b"\0"), "blocks or 1 MiB"),
        (tiff(*((tag, 1, 3_000_000, 0) for tag in range(40_000, 40_030))), "its tags name more bytes than it has"),
        (tiff((34665, 4, 1, len(tiff((34665, 4, 1, 0)))), behind=exif_bomb()[8:]), "more than 10000 tags"),
        (tiff((273, 4, 300_000, 200), behind=bytes(1_300_000)), "more than 250000 strips"),
    ],
    ids=[
        *("jpeg of many scans", "jpeg of hundreds of scans", "jpeg of many segments", "png of many texts", "png of many parts"),
        *("png of a large text", "png of a large profile", "gif of a large comment", "gif of many blocks"),
        *("tiff of overlapping tags", "tiff of many tags", "tiff of many strips"),
    ],
)
def test_refused_by_its_header(data: bytes, reason: str) -> None:
    for bands in (None, Bands()):
        begun = time.process_time()
        with pytest.raises(ImageError) as caught:
            read_image(data, MOST, None, bands)
        assert reason in str(caught.value)
        assert time.process_time() - begun < 2


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_formats_whose_decoders_need_much_have_fewer_pixels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("RGB", (20, 11)), kind)
    assert decode(data, MOST).image.shape == (11, 20, 3)
    monkeypatch.setitem(MOST_PIXELS, kind, 200)
    with pytest.raises(ImageError, match=f"has 20 x 11 pixels, more than the 200 that are decoded of {kind}"):
        decode(data, MOST)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_names_itself_many_times(kind: str) -> None:
    """Its orientation alone is read; a library would copy all of it."""
    bomb = exif_bomb() if kind != "JPEG" else exif_bomb()[:60_000]
    data = saved(Image.new("RGB", (16, 16)), kind, exif=bomb)
    tracemalloc.start()
    decode(data, MOST)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000_000


def test_usual_files_of_many_parts_are_read() -> None:
    """Animations of thousands of frames, progressive photos, chains of pages."""
    frames = [Image.new("L", (8, 8), number % 250) for number in range(1000)]
    for kind in ("GIF", "TIFF"):
        decoded = decode(saved(frames[1], kind, save_all=True, append_images=frames), MOST)
        assert "animation" in decoded.conversions
        assert (decoded.image == 1).all()
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    for side in (None, 20):
        assert decode(saved(photo, "JPEG", progressive=True, subsampling=0), MOST, side).image.ndim == 3


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "L", "RGB"])
def test_conversions_take_little_memory(mode: str) -> None:
    """Beside the image as Pillow has it, and the result."""
    side = 2500
    data = saved(Image.new(mode, (side, side)), "PNG")
    tracemalloc.start()
    image = decode(data, MOST).image
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most - image.nbytes < 40_000_000


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        (b"VP8X", bytes(4) + (9999).to_bytes(3, "little") + (7999).to_bytes(3, "little")),
        (b"VP8L", b"\x2f" + (9999 | 7999 << 14).to_bytes(4, "little") + bytes(5)),
        (b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + (10000).to_bytes(2, "little") + (8000).to_bytes(2, "little")),
    ],
)
def test_a_large_webp_is_refused_before_it_is_opened(kind: bytes, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would hold its pixels twice then."""
    chunk = kind + len(frame).to_bytes(4, "little") + frame
    data = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it is opened"))
    with pytest.raises(ImageError, match="has 10000 x 8000 pixels, more than the 32000000 that are decoded of WEBP"):
        decode(data, 10**9)


def test_a_webp_within_the_bounds_is_read() -> None:
    for options in ({"lossless": True}, {}, {"save_all": True, "append_images": [Image.new("RGBA", (40, 30))]}):
        file = io.BytesIO()
        Image.new("RGBA", (40, 30), (9, 9, 9, 9)).save(file, "WEBP", **options)
        assert decode(file.getvalue(), 10**9).image.shape[:2] == (30, 40)
