"""Random crops read no more of an image than they need, and have the pixels of the whole image cropped, however it is stored."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.base.params import Params
from darkroom.data import pack as packs
from darkroom.data.bands import to_npy
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.input.augment import RandomColor, RandomCropResize, RandomFlip
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader
from darkroom.input.preprocess import ImageReader
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.sources.pack_writer import write_pack

ROWS = np.arange(6)
SIZES = [(140, 90), (90, 140), (200, 201), (64, 64), (333, 70), (97, 98)]


def photo(row: int, shape: tuple[int, ...], kind: str) -> bytes:
    """An image file; RGB, or of other bands as an array."""
    numbers = np.random.default_rng(row)
    if kind.startswith("<"):
        return to_npy((numbers.random((*shape, 4)) * 60000).astype(kind))
    small = Image.fromarray(numbers.integers(0, 256, (9, 9, 3), np.uint8)).resize(shape[::-1], Image.Resampling.BICUBIC)
    file = io.BytesIO()
    (small.convert("L") if kind == "all grey" or (kind == "grey" and row % 2) else small).save(
        file, "PNG" if kind == "PNG" else "JPEG", quality=90
    )
    return file.getvalue()


def packed(directory: Path, params: Params, kind: str, sizes: list[tuple[int, int]]) -> Pack:
    """A pack of six images."""
    files = [photo(row, size, kind) for row, size in enumerate(sizes)]
    items = [Item(str(row), "train", partial(lambda data, row: (data, row % 2), data, row)) for row, data in enumerate(files)]
    write_pack(Listing("set", items, lambda _: ["a", "b"], {}), directory, params.download)
    return Pack.open(directory)


@pytest.mark.sample(12)
@pytest.mark.parametrize(
    ("kind", "settings", "sizes"),
    [
        ("JPEG", {}, SIZES),
        ("JPEG", {"download.resize": 60}, SIZES),
        ("grey", {"download.resize": 60}, SIZES),
        ("PNG", {"download.resize": 60}, SIZES),
        ("JPEG", {"download.format": "raw"}, SIZES),
        ("grey", {"download.format": "raw"}, SIZES),
        ("JPEG", {"download.format": "raw"}, [(90, 80)] * 6),
        ("JPEG", {"download.resize": 500}, [(620, 600)] * 6),
        ("<u2", {"download.channels": 4}, SIZES),
        ("<u2", {"download.channels": 4, "download.format": "raw"}, SIZES),
        ("<f4", {"download.channels": 4, "download.resize": 60}, SIZES),
    ],
)
@pytest.mark.parametrize("cache", [None, 0, 40_000, 10**9])
def test_a_part_has_the_pixels_of_the_whole(
    kind: str,
    settings: dict[str, Any],
    sizes: list[tuple[int, int]],
    cache: int | None,
    make_params: Callable[..., Params],
    tmp_path: Path,
) -> None:
    """The image of (620, 600) is read at half its size, as a whole."""
    pack = packed(tmp_path, make_params(settings), kind, sizes)
    crop, flip = RandomCropResize(scale=(0.08, 0.6)), RandomFlip()
    batches = ImageDataset(pack, image_size=32, channels=pack.channels, transforms=[crop, flip])
    read = ImageReader(pack)
    batches = batches if cache is None else batches.with_cache(cache)
    for epoch in range(3):
        drawn = batches.random_numbers(epoch, 0)
        wholes = [torch.from_numpy(read(row, batches._side)).permute(2, 0, 1) for row in ROWS.tolist()]
        cropped = torch.stack([crop(*each, 32) for each in zip(wholes, drawn, strict=True)])
        expected = flip(cropped, torch.from_numpy(batches.random_numbers(epoch, 1)))
        assert torch.equal(batches.images(epoch, ROWS), expected)
        # In the place that a loader has for them.
        made = torch.zeros(6, 32, 32, pack.channels, dtype=batches.dtype).permute(0, 3, 1, 2)
        assert batches.images(epoch, ROWS, made) is made
        assert torch.equal(made, expected)


def test_no_more_is_decoded_than_is_needed(
    make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = packed(tmp_path, make_params({"download.resize": 200}), "JPEG", [(300, 260)] * 6)
    batches = ImageDataset(pack, image_size=32, channels=3, transforms=[RandomCropResize(scale=(0.05, 0.2))])
    expected = batches.images(0, ROWS)
    monkeypatch.setattr(packs, "read_image", None)  # decodes whole images
    assert torch.equal(batches.images(0, ROWS), expected)
    # What there is room for is decoded whole once, for the epochs to come.
    with pytest.raises(TypeError):
        batches.with_cache(10**9).images(0, ROWS)


def test_parts_of_withheld_images_are_withheld(make_params: Callable[..., Params], tmp_path: Path) -> None:
    for name, settings in {"raw": {"download.format": "raw"}, "encoded": {"download.resize": 60}}.items():
        (tmp_path / name).mkdir()
        pack = packed(tmp_path / name, make_params(settings), "JPEG", SIZES)
        pack.withhold(np.array([2]))
        assert pack.read_part(1, (0, 0, 9, 9)).shape == (9, 9, 3)
        with pytest.raises(Exception, match="is in the test split"):
            pack.read_part(2, (0, 0, 9, 9))


def test_a_part_is_a_copy(make_params: Callable[..., Params], tmp_path: Path) -> None:
    pack = packed(tmp_path, make_params({"download.format": "raw"}), "JPEG", SIZES)
    before = pack.read(0)
    pack.read_part(0, (0, 0, 140, 90)).fill(7)
    assert np.array_equal(pack.read(0), before)


@pytest.mark.parametrize("kind", ["all grey", "JPEG"])
def test_what_comes_behind_a_crop(kind: str, make_params: Callable[..., Params], tmp_path: Path) -> None:
    """It may be a new tensor, or grey images shown in colour, which the loader then copies."""
    pack = packed(tmp_path, make_params({"download.resize": 60}), kind, SIZES)
    assert pack.channels == (3 if kind == "JPEG" else 1)
    transforms = [RandomCropResize(), RandomFlip(), RandomColor(), RandomFlip()]
    batches = ImageDataset(pack, image_size=24, channels=3, transforms=transforms)
    order = ShuffledBatchSampler(ROWS, batch_size=3, seed=0)
    for one, other in zip(make_loader(batches, order, readers=2), make_loader(batches, order, readers=0), strict=True):
        assert torch.equal(one["images"], other["images"])
    crop, flip, color, last = transforms
    wholes = (torch.from_numpy(pack.read(row)).permute(2, 0, 1) for row in ROWS.tolist())
    cropped = torch.stack([crop(*each, 24) for each in zip(wholes, batches.random_numbers(0, 0), strict=True)])
    seen = cropped.expand(-1, 3, -1, -1)
    for number, each in enumerate((flip, color, last), start=1):
        seen = each(seen, torch.from_numpy(batches.random_numbers(0, number)))
    assert torch.equal(batches.images(0, ROWS), seen)


def test_a_resized_jpeg_is_stored_in_tiles(make_params: Callable[..., Params], tmp_path: Path) -> None:
    pack = packed(tmp_path, make_params({"download.resize": 60}), "JPEG", SIZES)
    assert b"darkroom" in (pack.file(0) or b"")[:60]
