"""Bands are kept as they are in the file, picked by number, and refused where some would be lost without a word."""

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams, Params
from darkroom.data.bands import Bands, network_values, read_image, shown_image, to_npy
from darkroom.data.channel_stats import measure_channels
from darkroom.data.decoding.tiff import read_tiff_header
from darkroom.data.images import Decoded, ImageError, decode
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.sources.pack_writer import write_pack

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

FOUR = Bands(channels=4)


def noise(dtype: str, *shape: int) -> NDArray[Any]:
    numbers = np.random.default_rng(0)
    return (
        numbers.standard_normal(shape, np.float32)
        if dtype == "float32"
        else numbers.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    )


def tiff(image: NDArray[Any], **changes: Any) -> bytes:
    file = io.BytesIO()
    layout = {"planarconfig": "contig"} if image.ndim == 3 and image.shape[2] > 1 else {}
    tifffile.imwrite(file, image, **{"photometric": "minisblack"} | layout | changes)
    return file.getvalue()


def pillow(image: NDArray[Any], form: str, **changes: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **changes)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 4, 7, 16])
def test_values_are_those_of_the_file(dtype: str, bands: int) -> None:
    image = noise(dtype, 5, 6, bands)
    for data in (to_npy(image), tiff(image), tiff(image, compression="deflate", predictor=dtype != "float32")):
        found = read_image(data, 100, None, Bands(channels=bands)).image
        assert found.dtype == dtype
        assert np.array_equal(found, image)


def test_other_layouts_of_the_same_bands() -> None:
    image = noise("uint16", 5, 6, 4)
    first = np.moveaxis(image, 2, 0)
    for data in (
        tiff(first, planarconfig="separate"),
        tiff(first, planarconfig=None),  # four pages
        tiff(image, byteorder=">"),
        tiff(image, compression="lzw"),
        tiff(image, photometric="rgb", extrasamples=["unspecified"]),
        to_npy(image.astype(">u2")),
        to_npy(np.asfortranarray(image)),
    ):
        assert np.array_equal(read_image(data, 100, None, FOUR).image, image)


def test_png_of_8_and_16_bits_and_jpeg() -> None:
    rgba, deep = noise("uint8", 5, 6, 4), noise("uint16", 5, 6, 4)
    assert np.array_equal(read_image(pillow(rgba, "PNG"), 100, None, FOUR).image, rgba)
    assert np.array_equal(read_image(imagecodecs.png_encode(deep), 100, None, FOUR).image, deep)
    grey = noise("uint16", 5, 6)
    assert np.array_equal(read_image(pillow(grey, "PNG"), 100, None, Bands(channels=1)).image[..., 0], grey)
    assert read_image(pillow(rgba[..., :3], "JPEG"), 100, None, Bands(channels=3)).image.shape == (5, 6, 3)


def test_bands_are_picked_in_the_order_that_was_asked_for() -> None:
    image = noise("uint16", 5, 6, 7)
    found = read_image(tiff(image), 100, None, Bands(chosen=[6, 0, 3])).image
    assert np.array_equal(found, image[..., [6, 0, 3]])


@pytest.mark.parametrize(
    ("image", "bands", "message"),
    [
        (noise("uint8", 5, 6, 3), FOUR, "has 3 band.s., but download.channels is 4"),
        (noise("uint8", 5, 6, 3), Bands(chosen=[0, 3]), "has 3 band.s., counted from 0, but download.bands is .0, 3."),
        (np.full((5, 6, 4), np.nan, np.float32), FOUR, "NaN or infinite"),
        (np.zeros((5, 6, 4), np.int64), FOUR, "values of type int64; save it as"),
        (np.zeros((5, 6, 4), bool), FOUR, "is an array of bool"),
        (np.zeros((2, 5, 6, 4), np.uint8), FOUR, "is an array of shape"),
        (np.zeros((50, 60, 4), np.uint8), FOUR, "more than max_pixels"),
        (np.zeros((0, 6, 4), np.uint8), FOUR, "has no pixels"),
    ],
)
def test_what_cannot_be_used_says_why(image: NDArray[Any], bands: Bands, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(to_npy(image), 100, None, bands)


def test_a_cut_or_pickled_array_is_damaged() -> None:
    data = to_npy(noise("uint8", 5, 6, 4))
    for broken in (data[:-1], data[:60], data[:8]):
        with pytest.raises(ImageError, match="is damaged"):
            read_image(broken, 100, None, FOUR)
    file = io.BytesIO()
    np.save(file, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="not of numbers"):
        read_image(file.getvalue(), 100, None, FOUR)


def test_types_without_a_place_are_converted_and_counted() -> None:
    for dtype in ("int16", "float16", "float64"):
        image = np.arange(-8, 16).reshape(2, 3, 4).astype(dtype)
        found = read_image(to_npy(image), 100, None, FOUR)
        assert found.image.dtype == np.float32
        assert np.array_equal(found.image, image)
        assert found.conversions == (dtype,)


def test_an_orientation_is_applied() -> None:
    image = noise("uint16", 5, 6, 4)
    turned = tiff(image, extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(read_image(turned, 100, None, FOUR).image, np.rot90(image, -1))


def test_four_bands_that_are_not_rgba_are_refused_without_the_key() -> None:
    """Without it, infrared would be taken for opacity, or dropped."""
    image = noise("uint8", 5, 6, 4)
    for data in (tiff(image), tiff(image, photometric="rgb", extrasamples=["unspecified"]), tiff(noise("uint16", 5, 6, 5))):
        bands = read_tiff_header(data).bands  # type: ignore[union-attr]
        with pytest.raises(ImageError, match=f"has {bands} bands that are not RGB with alpha; set download.channels to {bands}"):
            decode(data, 100)
    with pytest.raises(ImageError, match=r"is a NumPy array; set download\.channels"):
        decode(to_npy(image), 100)


def test_rgba_is_laid_on_white_as_ever() -> None:
    image = noise("uint8", 5, 6, 4)
    image[0, 0] = 0
    for data in (tiff(image, photometric="rgb", extrasamples=["unassalpha"]), pillow(image, "TIFF"), pillow(image, "PNG")):
        decoded = decode(data, 100)
        assert decoded.conversions == ("alpha",)
        assert decoded.image[0, 0].tolist() == [255, 255, 255]
    cmyk = io.BytesIO()
    Image.fromarray(image, "CMYK").save(cmyk, "TIFF")
    assert decode(cmyk.getvalue(), 100).conversions == ("cmyk",)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(noise("uint16", 5, 6, 4))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=r"download\.channels: these images need the package tifffile.*pip install"):
        read_image(data, 100, None, FOUR)


def test_the_network_sees_16_bits_from_0_to_1() -> None:
    assert network_values(np.array([[[0, 65535, 13107]]], np.uint16)).tolist() == [[[0, 1, np.float32(0.2)]]]
    assert network_values(noise("uint8", 2, 2, 4)).dtype == np.uint8


def test_people_see_the_first_three_bands_or_the_first() -> None:
    image = noise("uint8", 5, 6, 4)
    assert np.array_equal(shown_image(image), image[..., :3])
    assert np.array_equal(shown_image(image[..., :2]), image[..., :1])
    deep = shown_image(np.linspace(100, 300, 30).reshape(5, 6, 1).astype(np.uint16))
    assert (deep.min(), deep.max(), deep.shape) == (0, 255, (5, 6, 1))
    assert shown_image(np.full((5, 6, 4), 7, np.float32)).max() == 0


def listing(images: list[NDArray[Any] | bytes]) -> Listing:
    def item(row: int, image: NDArray[Any] | bytes) -> Item:
        data = image if isinstance(image, bytes) else Decoded(image)
        return Item(f"{row:02d}", "train", partial(lambda data, row: (data, row % 2), data, row))

    return Listing("bands", [item(*pair) for pair in enumerate(images)], lambda _: ["a", "b"], {"source": "test"})


@pytest.fixture
def download(make_params: Callable[..., Params]) -> Callable[..., DownloadParams]:
    return lambda **changes: make_params({f"download.{key}": value for key, value in changes.items()}).download


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("form", ["raw", "encoded"])
@pytest.mark.parametrize("sides", [(8, 8), (8, 9)], ids=["one size", "two sizes"])
def test_a_pack_gives_back_its_bands(
    tmp_path: Path, download: Callable[..., DownloadParams], dtype: str, form: str, sides: tuple[int, int]
) -> None:
    images = [noise(dtype, 8, sides[row % 2], 5) + np.array(row, dtype) for row in range(6)]
    dataset = write_pack(listing([tiff(image) for image in images]), tmp_path, download(channels=5, bands=[4, 0], format=form))
    pack = Pack.open(tmp_path)
    assert (dataset["dtype"], pack.dtype, pack.channels, dataset["bands"]) == (dtype, dtype, 2, {"channels": 5, "chosen": [4, 0]})
    for row, image in enumerate(images):
        assert pack[row].dtype == dtype
        assert np.array_equal(pack[row], image[..., [4, 0]])
    assert (pack.size is not None) == (form == "raw" and sides[0] == sides[1])


def test_files_of_all_their_bands_are_stored_unchanged(tmp_path: Path, download: Callable[..., DownloadParams]) -> None:
    data = [tiff(noise("uint16", 70, 80, 4)), tiff(noise("uint16", 70, 81, 4))]
    write_pack(listing([*data]), tmp_path, download(channels=4))
    assert sorted(data) == sorted(
        [(content := (tmp_path / "images-000.bin").read_bytes())[: len(data[0])], content[len(data[0]) :]]
    )


def test_bands_are_resized_as_precisely_as_they_are_stored(tmp_path: Path, download: Callable[..., DownloadParams]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 65535, 128)[:, None, None], (128, 128, 4)).astype(np.uint16)
    write_pack(listing([ramp, ramp[::-1].copy()]), tmp_path, download(channels=4, resize=64))
    image = Pack.open(tmp_path)[0]
    assert image.shape == (64, 64, 4)
    assert image.dtype == np.uint16
    assert np.abs(image[4:-4].astype(int) - (ramp[8:-8:2, ::2].astype(int) + 258)).max() < 5


def test_mixed_images_are_named(tmp_path: Path, download: Callable[..., DownloadParams]) -> None:
    mixed = [noise("uint16", 8, 8, 4), noise("uint8", 8, 8, 4), noise("uint16", 8, 8, 4)]
    with pytest.raises(InputError, match=r"'01' has uint8 values, but '00' has uint16; save them alike"):
        write_pack(listing(mixed), tmp_path, download(channels=4))
    bands = [noise("uint8", 8, 8, 4), noise("uint8", 8, 8, 5)]
    with pytest.raises(InputError, match=r"'01' has 5 band"):
        write_pack(listing(bands), tmp_path, download(channels=4))


def test_without_the_key_arrays_of_a_source_are_grey_or_rgb(tmp_path: Path, download: Callable[..., DownloadParams]) -> None:
    with pytest.raises(InputError, match=r"'00' has 4 band\(s\) of uint8; set download\.channels to 4"):
        write_pack(listing([noise("uint8", 8, 8, 4)] * 2), tmp_path, download())


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_each_band_has_its_own_mean_and_deviation(
    tmp_path: Path, download: Callable[..., DownloadParams], dtype: str, scale: float
) -> None:
    images = [
        (noise(dtype, 8, 8, 5) // 2 if dtype != "float32" else noise(dtype, 8, 8, 5) * [1, 2, 3, 4, 500] + 7).astype(dtype)
        for _ in range(2)
    ]
    images[1][..., 2] //= 3
    write_pack(listing([*images]), tmp_path, download(channels=5))
    mean, std, count = measure_channels(Pack.open(tmp_path), np.arange(2))
    pixels = np.concatenate([image.reshape(-1, 5) for image in images]).astype(np.float64) / scale
    assert count == 2
    assert np.allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    assert np.allclose(std, pixels.std(axis=0), rtol=1e-6)


def test_a_bad_tiff_header_is_no_header() -> None:
    whole = tiff(noise("uint8", 5, 6, 4))
    assert read_tiff_header(b"II*\0" + bytes(20)) is None
    assert read_tiff_header(b"\x89PNG") is None
    assert read_tiff_header(whole[:6]) is None
