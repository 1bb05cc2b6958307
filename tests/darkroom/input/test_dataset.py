"""Order and augmentation depend on seed, epoch and image alone; batches are what the network expects."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from darkroom.base.params import Params
from darkroom.data.images import Decoded
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.resizing import fit
from darkroom.input.augment import RandomCropResize, RandomShift
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler
from darkroom.sources.pack_writer import write_pack


def rows_of(order: ShuffledBatchSampler, epoch: int) -> list[int]:
    order.set_epoch(epoch)
    return [int(row) for _, rows in order for row in rows]


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    order = ShuffledBatchSampler(np.arange(10, 74), batch_size=16, seed=3)
    first, second = rows_of(order, 0), rows_of(order, 1)
    assert sorted(first) == sorted(second) == list(range(10, 74))
    assert first != second
    assert rows_of(ShuffledBatchSampler(np.arange(10, 74), batch_size=16, seed=3), 0) == first
    assert rows_of(ShuffledBatchSampler(np.arange(10, 74), batch_size=16, seed=4), 0) != first


@pytest.mark.parametrize(("count", "batch_size", "batches"), [(64, 16, 4), (66, 16, 5), (65, 16, 4), (3, 16, 1), (1, 16, 1)])
def test_only_a_last_batch_of_one_is_left_out(count: int, batch_size: int, batches: int) -> None:
    order = ShuffledBatchSampler(np.arange(count), batch_size=batch_size, seed=0)
    assert len(order) == len(list(order)) == batches


def test_processes_share_every_global_batch() -> None:
    whole = list(ShuffledBatchSampler(np.arange(50), batch_size=8, seed=0))
    parts = [list(ShuffledBatchSampler(np.arange(50), batch_size=8, seed=0, rank=rank, world_size=2)) for rank in (0, 1)]
    for (_, rows), (_, even), (_, odd) in zip(whole, *parts, strict=False):
        assert sorted([*even, *odd]) == sorted(rows)
    halves = [
        np.concatenate([rows for _, rows in SequentialBatchSampler(np.arange(7), batch_size=2, rank=rank, world_size=2)])
        for rank in (0, 1)
    ]
    assert sorted(np.concatenate(halves)) == list(range(7))


def test_images_of_one_size_are_taken_as_they_are(digits: Any) -> None:
    batch = ImageDataset(digits.pack, image_size=8, channels=1)[0, np.array([5, 3])]
    assert batch["images"].shape == (2, 1, 8, 8)
    assert batch["images"].dtype == torch.uint8
    assert np.array_equal(batch["images"][1, 0].numpy(), digits.pack[3][..., 0])
    assert batch["labels"].tolist() == digits.pack.labels[[5, 3]].tolist()
    colour = ImageDataset(digits.pack, image_size=16, channels=3)[0, np.array([5])]["images"]
    assert colour.shape == (1, 3, 16, 16)
    assert torch.equal(colour[:, 0], colour[:, 2])


@pytest.mark.parametrize("transforms", [[], [RandomCropResize([1.0, 1.0], [1.0, 1.0])], [RandomShift(0)]])
def test_a_grey_network_sees_coloured_images_of_one_size_in_grey(
    transforms: list[Any], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    items = [
        Item(str(row), "train", partial(lambda data, row: (Decoded(data), row % 2), data, row)) for row, data in enumerate(pixels)
    ]
    write_pack(Listing("set", items, lambda _: ["a", "b"], {}), tmp_path, make_params({"download.format": "raw"}).download)
    data = ImageDataset(Pack.open(tmp_path), image_size=8, channels=1, transforms=transforms)
    wanted = np.stack([fit(image, 8, 1) for image in pixels])
    seen = data.images(0, np.arange(4)).permute(0, 2, 3, 1).numpy()
    assert np.abs(seen.astype(int) - wanted).max() <= 1, "cutting resizes, and rounds"


def test_photos_are_fitted_as_predict_fits_them(photos: Any) -> None:
    images = ImageDataset(photos.pack, image_size=32, channels=3)[0, np.array([7])]["images"]
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), fit(photos.pack[7], 32, 3))


@pytest.mark.parametrize("data", ["digits", "photos"])
@pytest.mark.parametrize(
    "transforms",
    [
        [RandomShift(2)],
        [v2.RandomRotation(30), RandomShift(1)],
        [v2.RandomResizedCrop(12)],
        [albumentations.Affine(rotate=(-30, 30), p=0.9), RandomShift(1)],
        [
            albumentations.OneOf(
                [albumentations.GaussNoise(), albumentations.Compose([albumentations.RandomResizedCrop((12, 12))])]
            )
        ],
    ],
)
def test_augmentation_is_a_function_of_seed_epoch_and_image(data: str, transforms: list[Any], request: Any) -> None:
    pack = request.getfixturevalue(data).pack

    def augmented(epoch: int, rows: list[int], seed: int = 0) -> torch.Tensor:
        return ImageDataset(pack, image_size=12, channels=pack.channels, transforms=transforms, seed=seed)[epoch, np.array(rows)][
            "images"
        ]

    whole = augmented(0, list(range(20)))
    torch.rand(5)  # what was drawn elsewhere has no say
    assert torch.equal(augmented(0, [7, 3])[1], whole[3])
    assert not torch.equal(augmented(1, list(range(20))), whole)
    assert not torch.equal(augmented(0, list(range(20)), seed=1), whole)
    assert whole.dtype == torch.uint8
    assert whole.shape == (20, pack.channels, 12, 12)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    "transforms",
    [
        [v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()],
        [albumentations.Compose([albumentations.RandomResizedCrop((16, 16)), albumentations.HorizontalFlip()])],
    ],
)
def test_bits_do_not_depend_on_the_number_of_workers(photos: Any, num_workers: int, transforms: list[Any]) -> None:
    def images(workers: int) -> torch.Tensor:
        batches = ImageDataset(photos.pack, image_size=16, channels=3, transforms=transforms)
        loader = make_loader(batches, ShuffledBatchSampler(np.arange(40), batch_size=8, seed=0), readers=workers)
        return torch.cat([batch["images"] for batch in loader])

    assert torch.equal(images(0), images(num_workers))


class Grey(torch.nn.Module):
    """Makes some of the images grey."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:1] if image.shape[1] % 2 else image


def test_what_a_transform_makes_grey_is_cropped_too(photos: Any) -> None:
    rows = np.arange(6)
    batches = ImageDataset(photos.pack, image_size=20, channels=3, transforms=[Grey(), RandomCropResize()])
    cropped = ImageDataset(photos.pack, image_size=20, channels=3, transforms=[RandomCropResize()])
    images = batches[0, rows]["images"]
    assert images.shape == cropped[0, rows]["images"].shape
    is_grey = [torch.equal(image[0], image[2]) for image in images]
    assert is_grey == [photos.pack[row].shape[0] % 2 == 1 for row in rows]


class Painting(torch.nn.Module):
    """Changes the very image that it is given."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.fill_(7)


@pytest.mark.parametrize("sides", [[20, 20], [20, 30]], ids=["one size", "many sizes"])
def test_pixels_that_lie_in_a_file_are_not_painted_over(
    sides: list[int], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    grey = [np.arange(side * 24).astype(np.uint8).reshape(side, 24) for side in sides]
    items = [Item(str(row), "train", partial(lambda data, row: (Decoded(data), row), data, row)) for row, data in enumerate(grey)]
    write_pack(Listing("set", items, lambda _: ["a", "b"], {}), tmp_path, make_params({"download.format": "raw"}).download)
    pack = Pack.open(tmp_path)
    assert not pack.is_encoded
    before = [pack[row] for row in range(2)]
    for first in (Painting(), RandomCropResize(), RandomShift(1)):
        for _ in range(2):
            ImageDataset(pack, image_size=12, channels=1, transforms=[first, Painting()])[0, np.arange(2)]
    assert all(np.array_equal(pack[row], before[row]) for row in range(2))


class Flattening(torch.nn.Module):
    """Views an image as what it may rely on, one block of memory."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.view(-1).view(image.shape)


@pytest.mark.parametrize("data", ["digits", "photos"])
def test_transforms_are_given_one_block_of_memory(data: str, request: Any) -> None:
    pack = request.getfixturevalue(data).pack
    plain = ImageDataset(pack, image_size=48, channels=pack.channels)
    rows = np.arange(3)
    assert torch.equal(plain.augmented([Flattening()], 0)[0, rows]["images"], plain[0, rows]["images"])


def test_a_balanced_epoch_has_every_class_equally_often() -> None:
    labels = np.array([0] * 60 + [1] * 6 + [2] * 24)
    rows = np.arange(90)
    order = ShuffledBatchSampler(rows, batch_size=10, seed=3, balance_by=labels)
    epochs = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        epochs.append(np.concatenate([batch for _, batch in order]))
    for found in epochs:
        assert np.bincount(labels[found]).tolist() == [30, 30, 30]
        assert np.bincount(found, minlength=90)[:60].max() == 1
        assert np.bincount(found, minlength=90)[60:66].tolist() == [5] * 6
    assert not np.array_equal(*epochs)
    again = ShuffledBatchSampler(rows, batch_size=10, seed=3, balance_by=labels)
    assert np.array_equal(np.concatenate([batch for _, batch in again]), epochs[0])


def test_two_processes_share_a_balanced_epoch() -> None:
    labels = np.array([0] * 60 + [1] * 4)
    one = ShuffledBatchSampler(np.arange(64), batch_size=8, seed=3, balance_by=labels)
    two = [
        ShuffledBatchSampler(np.arange(64), batch_size=8, seed=3, rank=rank, world_size=2, balance_by=labels) for rank in (0, 1)
    ]
    for (_, whole), (_, first), (_, second) in zip(one, *two, strict=True):
        assert sorted([*first, *second]) == sorted(whole)


def test_sizes_grow_from_epoch_to_epoch(digits: Any) -> None:
    batches = ImageDataset(digits.pack, image_size=8, channels=1).at_sizes({0: 4, 2: 6})
    rows = np.arange(3)
    assert [tuple(batches[epoch, rows]["images"].shape[2:]) for epoch in range(4)] == [(4, 4), (4, 4), (6, 6), (6, 6)]
