"""One table of formats, depths and flags: each file has the pixels that were written, whatever size is asked and by every path.

What is expected is computed by numpy from what was written; PNG and TIFF files are put together here, byte by byte.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.bands import Bands, read_image
from darkroom.data.decoding.orientation import TURNS
from darkroom.data.images import ImageError, decode

MOST = 10**6
RNG = np.random.default_rng(0)
SIZE = 24, 40
SIDES = (None, 300, 4, 1)
Array = NDArray[Any]


class Case(NamedTuple):
    name: str
    data: bytes
    expected: Array
    conversions: tuple[str, ...] = ()
    tolerance: float = 0
    """Mean difference, of lossy formats."""


def drawn(channels: int, bits: int = 8) -> Array:
    shape = SIZE if channels == 1 else (*SIZE, channels)
    return RNG.integers(0, 1 << bits, shape, np.uint16 if bits > 8 else np.uint8)


def saved(pixels: Array, kind: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels) if mode is None else Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    image.save(file, kind, **options)
    return file.getvalue()


def on_white(colour: Array, alpha: Array) -> Array:
    """Composite values of 8 bits on white, exactly; `decode` may round the other way."""
    alpha = alpha.astype(np.float64) / 255
    alpha = alpha if colour.ndim == 2 else alpha[..., None]
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)


def turned_by_hand(pixels: Array, number: int) -> Array:
    """Return an image as it is upright, by the positions of row 0 and column 0 in the table of EXIF."""
    ways: dict[int, Callable[[Array], Array]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: np.swapaxes(image, 0, 1),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(np.swapaxes(image, 0, 1), 2),
        8: np.rot90,
    }
    return ways[number](pixels)


# PNG


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def packed(values: Array, bits: int) -> list[bytes]:
    """Return the bytes of each row of (H, W * C) values."""
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in values]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in values]
    bits_of = (values[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(values), -1).astype(np.uint8)
    return [row.tobytes() for row in np.packbits(bits_of, axis=1)]


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(values: Array, bits: int, colour: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    height, width = values.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [values[top::down, left::right] for top, left, down, right in passes]
    rows = [row for part in parts if part.size for row in packed(part.reshape(len(part), -1), bits)]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    end = chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + end


def png_cases() -> Iterator[Case]:
    for interlaced, flag in ((False, ""), (True, " interlaced")):
        for bits in (1, 2, 4, 8):
            values = drawn(1, bits)
            scaled = (values * (255 // ((1 << bits) - 1))).astype(np.uint8)
            said = ("1_bit",) if bits == 1 else ()
            yield Case(f"png grey {bits}{flag}", png(values, bits, 0, interlaced=interlaced), scaled, said)
            seen = np.where(values == 1, 255, scaled)
            key = chunk(b"tRNS", struct.pack(">H", 1))
            yield Case(f"png grey {bits} key{flag}", png(values, bits, 0, key, interlaced=interlaced), seen, (*said, "alpha"))
            colours = RNG.integers(0, 256, (1 << bits, 3), np.uint8)
            palette = chunk(b"PLTE", colours.tobytes())
            made = png(values, bits, 3, palette, interlaced=interlaced)
            yield Case(f"png palette {bits}{flag}", made, colours[values], ("palette",))
            alphas = chunk(b"tRNS", bytes([0, 255]))
            made = png(values, bits, 3, palette, alphas, interlaced=interlaced)
            seen = np.where((values == 0)[..., None], 255, colours[values])
            yield Case(f"png palette {bits} alpha{flag}", made, seen, ("palette", "alpha"))
        values = drawn(1, 16)
        scaled = np.rint(values / 257).astype(np.uint8)
        yield Case(f"png grey 16{flag}", png(values, 16, 0, interlaced=interlaced), scaled, ("16_bit",))
        key = chunk(b"tRNS", struct.pack(">H", int(values[3, 4])))
        seen = np.where(values == values[3, 4], 255, scaled)
        yield Case(f"png grey 16 key{flag}", png(values, 16, 0, key, interlaced=interlaced), seen, ("16_bit", "alpha"))
        for bits, channels in itertools.product((8, 16), (2, 3, 4)):
            values = drawn(channels, bits)
            high = (values >> (bits - 8)).astype(np.uint8)
            made = png(values, bits, {2: 4, 3: 2, 4: 6}[channels], interlaced=interlaced)
            if channels == 3:
                yield Case(f"png rgb {bits}{flag}", made, high)
            else:
                colour = high[..., 0] if channels == 2 else high[..., :3]
                seen = on_white(colour, high[..., -1])
                yield Case(f"png alpha {channels} {bits}{flag}", made, seen, ("alpha",), 0.6)
    values = drawn(3)
    key = chunk(b"tRNS", struct.pack(">HHH", *values[2, 3]))
    seen = np.where((values == values[2, 3]).all(axis=2)[..., None], 255, values)
    yield Case("png rgb 8 key", png(values, 8, 2, key), seen, ("alpha",))
    dark = drawn(1, 12)
    yield Case("png 12 in 16", png(dark, 16, 0), np.rint(dark / 257).astype(np.uint8), ("16_bit", "12_bits_in_16"))


# TIFF


def tiff(values: Array, bits: int, photometric: int, *, extra: tuple[int, ...] = (), kind: int = 1, more: Any = ()) -> bytes:
    """Return an uncompressed little-endian TIFF; `more` are tags (tag, type, values)."""
    height, width, channels = (*values.shape, 1)[:3]
    rows = values.reshape(height, -1)
    body = rows.astype("<f4" if kind == 3 else "<u2").tobytes() if bits in (16, 32) else b"".join(packed(rows, bits))
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [1]), 262: (3, [photometric])}
    tags |= {277: (3, [channels]), 278: (4, [height]), 279: (4, [len(body)]), 339: (3, [kind] * channels)}
    tags |= {338: (3, list(extra))} if extra else {}
    tags |= {tag: (type_, list(numbers)) for tag, type_, numbers in more}
    tags[273] = (4, [8])
    start = 8 + len(body) + len(body) % 2
    place, entries, beyond = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, (type_, numbers) in sorted(tags.items()):
        content = struct.pack(f"<{len(numbers)}{'BHI'[(1, 3, 4).index(type_)]}", *numbers)
        if len(content) > 4:
            content, beyond = struct.pack("<I", place + len(beyond)), beyond + content + b"\0" * (len(content) % 2)
        entries += struct.pack("<HHI", tag, type_, len(numbers)) + content.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", start) + body.ljust(start - 8, b"\0")
    return head + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + beyond


def tiff_cases() -> Iterator[Case]:
    for photometric, flag in ((1, ""), (0, " white is zero")):
        for bits in (1, 2, 4, 8, 12, 16):
            values, most = drawn(1, bits), (1 << bits) - 1
            seen = most - values if photometric == 0 else values
            said = {1: ("1_bit",), 12: ("12_bit",), 16: ("16_bit",)}.get(bits, ())
            if (photometric, bits) != (0, 12):  # see test_unknown_kinds
                yield Case(f"tiff grey {bits}{flag}", tiff(values, bits, photometric), np.rint(seen * (255 / most)), said)
        values = RNG.random(SIZE, np.float32)
        seen = np.rint((1 - values if photometric == 0 else values) * 255)
        yield Case(f"tiff float{flag}", tiff(values, 32, photometric, kind=3), seen, ("float",))
    values = drawn(3)
    yield Case("tiff rgb 8", tiff(values, 8, 2), values)
    yield Case("tiff rgb 16", tiff(drawn(3, 16) * 0 + values.astype(np.uint16) * 257, 16, 2), values)
    four = drawn(4)
    yield Case("tiff rgba", tiff(four, 8, 2, extra=(2,)), on_white(four[..., :3], four[..., 3]), ("alpha",), 0.6)
    premultiplied = four.copy()
    premultiplied[..., :3] = np.rint(four[..., :3] * (four[..., 3:] / 255))
    yield Case(
        "tiff rgba premultiplied", tiff(premultiplied, 8, 2, extra=(1,)), on_white(four[..., :3], four[..., 3]), ("alpha",), 2
    )
    two = drawn(2)
    yield Case("tiff grey alpha", tiff(two, 8, 1, extra=(2,)), on_white(two[..., 0], two[..., 1]), ("alpha",), 0.6)
    colours = RNG.integers(0, 256, (256, 3), np.uint8)
    palette = (320, 3, (colours.T.astype(int) * 257).ravel().tolist())
    index = drawn(1)
    yield Case("tiff palette", tiff(index, 8, 3, more=[palette]), colours[index], ("palette",))
    inks = drawn(4)
    seen = np.rint((255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255)
    yield Case("tiff cmyk", tiff(inks, 8, 5), seen, ("cmyk",), 0.6)
    yield Case("tiff turned", tiff(values, 8, 2, more=[(274, 3, [6])]), turned_by_hand(values, 6), ("exif_rotated",))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "tiff_deflate"):
        yield Case(f"tiff {compression}", saved(values, "TIFF", compression=compression), values)
        sixteen = drawn(1, 16)
        made = saved(sixteen, "TIFF", compression=compression)
        yield Case(f"tiff 16 {compression}", made, np.rint(sixteen / 257), ("16_bit",))
    black = np.where(drawn(1, 1), 255, 0).astype(np.uint8)
    for compression in ("group3", "group4"):
        made = io.BytesIO()
        Image.fromarray(black).convert("1").save(made, "TIFF", compression=compression)
        yield Case(f"tiff {compression}", made.getvalue(), black, ("1_bit",))


# The others


def smooth(channels: int) -> Array:
    """An image without fine detail, which lossy formats keep, and reducing hardly changes."""
    rows, columns = np.mgrid[0:96, 0:160] / 160
    bands = [rows + columns, 1.2 - rows, columns, 0.3 + rows * columns][:channels]
    return np.rint(np.stack(bands, axis=2).clip(0, 1.5) / 1.5 * 255).astype(np.uint8).squeeze()


def other_cases() -> Iterator[Case]:
    values, grey = drawn(3), drawn(1)
    yield Case("bmp rgb", saved(values, "BMP"), values)
    yield Case("bmp grey", saved(grey, "BMP"), grey)
    yield Case("webp lossless", saved(values, "WEBP", lossless=True), values)
    four = drawn(4)
    made = saved(four, "WEBP", lossless=True, exact=True)
    yield Case("webp alpha", made, on_white(four[..., :3], four[..., 3]), ("alpha",), 0.6)
    frames = [Image.fromarray(drawn(3)) for _ in range(3)]
    made = saved(values, "WEBP", lossless=True, save_all=True, append_images=frames)
    yield Case("webp animated", made, values, ("animation",))
    made = saved(values, "PNG", save_all=True, append_images=frames)
    yield Case("png animated", made, values, ("animation",))
    made = saved(values, "TIFF", save_all=True, append_images=frames)
    yield Case("tiff pages", made, values, ("animation",))
    yield Case("gif grey", saved(grey, "GIF"), grey, ("palette",))
    yield Case("gif interlaced", saved(grey, "GIF", interlace=True), grey, ("palette",))
    greys = [Image.fromarray(drawn(1)) for _ in range(3)]
    yield Case("gif animated", saved(grey, "GIF", save_all=True, append_images=greys), grey, ("animation", "palette"))
    yield Case("gif transparent", saved(grey, "GIF", transparency=7), np.where(grey == 7, 255, grey), ("palette", "alpha"))
    yield Case("avif", saved(smooth(3), "AVIF", quality=95), smooth(3), (), 2)
    yield Case("webp lossy", saved(smooth(3), "WEBP", quality=95), smooth(3), (), 2)
    for progressive, restart in itertools.product((False, True), (0, 5)):
        how = {"quality": 97, "progressive": progressive, "restart_marker_blocks": restart}
        flag = f"{' progressive' if progressive else ''}{' restarts' if restart else ''}"
        for subsampling in (0, 1, 2):
            yield Case(f"jpeg {subsampling}{flag}", saved(smooth(3), "JPEG", subsampling=subsampling, **how), smooth(3), (), 2)
        yield Case(f"jpeg grey{flag}", saved(smooth(1), "JPEG", **how), smooth(1), (), 2)
        yield Case(f"jpeg rgb{flag}", saved(smooth(3), "JPEG", keep_rgb=True, **how), smooth(3), (), 2)
        inks = smooth(4)
        seen = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
        made = saved(inks, "JPEG", mode="CMYK", **how)
        yield Case(f"jpeg cmyk{flag}", made, seen, ("cmyk",), 3)
        yield Case(f"jpeg ycck{flag}", as_ycck(inks, how), seen, ("cmyk",), 3)


def as_ycck(inks: Array, how: Any) -> bytes:
    """Return a JPEG of YCCK: the inks, inverted twice, as Y, Cb and Cr, and Adobe's flag set to 2."""
    colours = Image.fromarray(inks[..., :3]).convert("YCbCr")
    # Pillow writes 255 minus each value of an image of CMYK.
    coded = 255 - np.dstack([np.asarray(colours), 255 - inks[..., 3]])
    data = saved(coded, "JPEG", mode="CMYK", **how)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    return data[:place] + b"\2" + data[place + 1 :]


CASES = [*png_cases(), *tiff_cases(), *other_cases()]
# Without this mark: one of each kind of file, and every one that was ever wrong.
QUICK = ("16", "12", "key", "white is zero", "progressive", "ycck", "cmyk", "group", "animated", "grey 2")


def cases() -> Iterator[Any]:
    for number, case in enumerate(CASES):
        is_quick = number % 4 == 0 or any(each in case.name for each in QUICK)
        yield pytest.param(case, id=case.name, marks=() if is_quick else pytest.mark.thorough)


@pytest.mark.parametrize("case", list(cases()))
def test_pixels_are_those_that_were_written(case: Case) -> None:
    for side in SIDES:
        decoded = decode(case.data, MOST, side)
        assert (decoded.conversions, decoded.image.dtype) == (case.conversions, np.uint8)
        assert decoded.image.flags.c_contiguous
        assert_alike(decoded.image, case.expected, case.tolerance)


def assert_alike(found: Array, expected: Array, tolerance: float) -> None:
    assert found.ndim == expected.ndim
    scale = len(expected) // len(found)
    if scale > 1:  # decoded reduced
        height, width = found.shape[:2]
        expected = expected.astype(float).reshape(height, scale, width, scale, -1).mean(axis=(1, 3)).reshape(found.shape)
        tolerance += 1 if tolerance else 0
    assert found.shape == expected.shape
    assert np.abs(found - expected.astype(float)).mean() <= tolerance


KEPT = ("grey 8", "grey 12", "grey 16", "rgb 8", "rgb 16")
BANDS = [case for case in CASES if case.name.partition(" ")[2].startswith(KEPT) and "key" not in case.name]


@pytest.mark.parametrize("case", BANDS, ids=[case.name for case in BANDS])
def test_bands_are_the_values_that_were_written(case: Case) -> None:
    """Read as bands, images of 8 bits have the same pixels, and those of 12 and 16 bits keep theirs."""
    image = read_image(case.data, MOST, None, Bands()).image.squeeze()
    most = 255 if image.dtype == np.uint8 else 4095 if "12" in case.name else 65535
    # Of 16-bit colour, `decode` returns the high byte.
    found = image >> 8 if "rgb 16" in case.name else np.rint(image * (255 / most))
    np.testing.assert_array_equal(found, case.expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(drawn(1, 12), 12, 0), "1 band(s) of 12 bits, photometric 0"),
        (tiff(drawn(2, 16), 16, 1, extra=(2,)), "2 band(s) of 16 bits, photometric 1"),
        (tiff(drawn(4), 8, 2, extra=(0,)), "has 4 bands that are not RGB with alpha"),
    ],
)
def test_unknown_kinds_of_tiff_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, MOST)
    assert reason in str(caught.value)


# Orientation


def with_orientation(pixels: Array, kind: str, number: int, place: str) -> bytes:
    exif = Image.Exif()
    if place == "exif":
        exif[0x0112] = number
        return saved(pixels, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    written = {"attribute": '<x {0}="{1}"/>', "quotes": "<x {0}='{1}'/>", "element": "<x><{0}>{1}</{0}></x>"}[place]
    xmp = written.format("tiff:Orientation", number).encode()
    if kind == "PNG":
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        data = saved(pixels, "PNG")
        return data[:33] + text + data[33:]
    if kind == "TIFF":
        return tiff(pixels, 8, 2, more=[(700, 1, xmp)])
    return saved(pixels, kind, xmp=xmp, **({"lossless": True} if kind == "WEBP" else {"quality": 97}))


PLACES = ("exif", "attribute", "quotes", "element")


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        pytest.param(kind, place, marks=() if number % 3 == 0 else pytest.mark.thorough)
        for number, (kind, place) in enumerate(itertools.product(("JPEG", "PNG", "TIFF", "WEBP", "AVIF"), PLACES))
    ],
)
def test_an_image_is_upright_whatever_size_is_asked(kind: str, place: str) -> None:
    pixels = smooth(3)
    assert set(TURNS) == set(range(2, 9))
    for number, side in itertools.product(range(1, 9), (None, 200, 8)):
        decoded = decode(with_orientation(pixels, kind, number, place), MOST, side)
        assert_alike(decoded.image, turned_by_hand(pixels, number), 2)
        assert decoded.conversions == (() if number == 1 else ("exif_rotated",))


def test_exif_goes_before_xmp() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    data = saved(smooth(3), "JPEG", exif=exif, xmp=b'<x tiff:Orientation="6"/>')
    assert decode(data, MOST).conversions == ()


# Damage


def flipped(data: bytes, first: int, count: int) -> Iterator[bytes]:
    for place in np.linspace(first, len(data) - 20, count).astype(int):
        yield data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


@pytest.mark.parametrize("interlaced", [False, True])
def test_every_damaged_png_is_refused(interlaced: bool) -> None:
    data = png(drawn(3), 8, 2, interlaced=interlaced)
    for damaged in flipped(data, data.index(b"IDAT") + 4, 100):
        with pytest.raises(ImageError, match="is damaged"):
            decode(damaged, MOST)
        with pytest.raises(ImageError, match="is damaged"):
            read_image(damaged, MOST, None, Bands())


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_early_is_refused_at_every_size(mode: str, progressive: bool) -> None:
    """Cut anywhere in its data, with and without the marker of the end."""
    image = Image.fromarray(np.tile(drawn(3), (8, 6, 1))).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", progressive=progressive, quality=80)
    data = file.getvalue()
    first = data.index(b"\xff\xda") + 20
    for place in np.linspace(first, len(data) - 60, 12).astype(int):
        # 0xff may be the first half of a marker.
        part = data[:place].rstrip(b"\xff")
        for ended, side in itertools.product((part, part + b"\xff\xd9"), (None, 20)):
            with pytest.raises(ImageError, match="is damaged"):
                decode(ended, MOST, side)
    assert decode(data[:-2], MOST).image.shape == decode(data, MOST).image.shape  # only the marker is missing


def test_a_progressive_jpeg_without_its_last_scan_is_refused() -> None:
    data = saved(smooth(3), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="ends before its last scan"):
        decode(data[:last] + b"\xff\xd9", MOST)


def test_bytes_behind_the_pixels_of_a_jpeg_do_no_harm() -> None:
    data = saved(smooth(3), "JPEG")
    np.testing.assert_array_equal(decode(data[:-2] + bytes(9) + data[-2:] + b"more", MOST).image, decode(data, MOST).image)


def test_a_jpeg_of_12_bits_is_named() -> None:
    data = bytearray(saved(smooth(3), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="has 12 bits per channel; save it with 8"):
        decode(bytes(data), MOST)


def test_a_transparent_colour_of_16_bits_is_refused() -> None:
    values = drawn(3, 16)
    with pytest.raises(ImageError, match="save it with alpha"):
        decode(png(values, 16, 2, chunk(b"tRNS", struct.pack(">HHH", *values[0, 0]))), MOST)
