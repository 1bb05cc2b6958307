"""A photo that is predicted has the pixels that the same file has in the pack, however download keeps it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base.params import DownloadParams
from darkroom.data.pack import Pack
from darkroom.data.stored import read_as_stored
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

MOST = 10**6


def photo(seed: int, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    """A photo-like image: noise at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC) for n in (3, 9, 60)
    ]
    image = Image.fromarray(np.mean([np.asarray(layer) for layer in layers], axis=0).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGB", (300, 200), "red")]
    return {
        "a/large.jpg": photo(0, (300, 200), "JPEG"),
        "a/turned.jpg": photo(1, (300, 200), "JPEG", exif=exif, quality=60),
        "a/small.jpg": photo(2, (90, 80), "JPEG"),
        "a/large.png": photo(3, (300, 200), "PNG"),
        "b/large.webp": photo(4, (300, 200), "WEBP"),
        "b/grey.jpg": photo(5, (300, 200), "JPEG"),
        "b/animated.webp": photo(6, (300, 200), "WEBP", save_all=True, append_images=frames),
        "b/progressive.jpg": photo(7, (200, 300), "JPEG", progressive=True),
    }


@pytest.mark.sample(2)
@pytest.mark.parametrize("form", ["raw", "encoded"])
@pytest.mark.parametrize("resize", [None, 100])
def test_a_file_is_read_as_from_the_pack(
    tmp_path: Path, download: Callable[..., DownloadParams], form: str, resize: int | None
) -> None:
    folder = tmp_path / "photos"
    for name, data in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    params = download(source="folder", folder=str(folder), format=form, resize=resize)
    (tmp_path / "raw").mkdir()
    with read_source(params, tmp_path) as listing:
        write_pack(listing, tmp_path / "raw", params)
    pack = Pack.open(tmp_path / "raw")
    for row, name in enumerate(pack.ids):
        for side in (None, 64, 20, 8):
            found = read_as_stored(files()[name], MOST, side, form=pack.form, resize=resize, bands=None)
            np.testing.assert_array_equal(found.reshape(*found.shape[:2], -1), pack.read(row, side), err_msg=f"{name} {side}")
