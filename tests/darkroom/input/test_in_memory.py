"""Images that are held in memory make the same batches as those that are read for each, and are read once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.params import Params
from darkroom.input import in_memory
from darkroom.input.augment import (
    AlternatingFlip,
    BatchAugmentation,
    ImageAugmentation,
    RandomColor,
    RandomCropResize,
    RandomFlip,
    RandomShift,
)
from darkroom.input.dataset import ImageCache, ImageDataset
from darkroom.input.in_memory import InMemoryLoader, describe_input, make_repeating_loader
from darkroom.input.loaders import Loader, ThreadLoader
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler

CPU = torch.device("cpu")
WHOLE = [AlternatingFlip(), RandomShift(2), RandomColor()]


def batches_of(data: Any, transforms: list[Any], size: int = 16) -> ImageDataset:
    return ImageDataset(data.pack, image_size=size, channels=3, transforms=transforms, seed=3)


def loader(make_params: Callable[..., Params], batches: ImageDataset, order: Any, hold: Any) -> Loader:
    hardware = make_params({"hardware.cache_images": hold, "hardware.num_workers": 2}).hardware
    return make_repeating_loader(batches, order, hardware, device=CPU)


def seen(loader: Any, order: ShuffledBatchSampler, epochs: int = 3) -> list[Any]:
    made = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        made += list(loader)
    return made


@pytest.mark.parametrize("data", ["digits", "photos"])
@pytest.mark.parametrize(
    "transforms", [[], WHOLE, [RandomCropResize(), RandomFlip()]], ids=["plain", "whole batches", "single images"]
)
@pytest.mark.parametrize("size", [8, 20])
def test_the_bits_are_the_same(
    make_params: Callable[..., Params], request: Any, data: str, transforms: list[Any], size: int
) -> None:
    batches = batches_of(request.getfixturevalue(data), transforms, size)
    order = ShuffledBatchSampler(np.arange(5, 43), batch_size=16, seed=0)
    order.resume_at = (0, 1)
    read, kept = (seen(loader(make_params, batches, order, hold), order) for hold in (False, True))
    assert len(read) == len(kept) == 2 + 3 + 3
    for one, other in zip(read, kept, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name])
        assert other["images"].is_contiguous(memory_format=torch.channels_last)


def test_a_process_holds_its_own_part(make_params: Callable[..., Params], photos: Any) -> None:
    order = SequentialBatchSampler(np.arange(9), batch_size=2, rank=1, world_size=2)
    holder = loader(make_params, batches_of(photos, []), order, hold=True)
    assert isinstance(holder, InMemoryLoader)
    assert (holder.num_images, holder.nbytes, len(holder)) == (4, 4 * 16 * 16 * 3, 2)
    assert torch.cat([batch["rows"] for batch in holder]).tolist() == [1, 3, 5, 7]


class Plugin(BatchAugmentation):
    """What may be at home on the CPU alone."""

    num_random = 1

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:  # noqa: ARG002
        return images


@pytest.mark.parametrize(
    ("data", "transforms", "size", "hold", "found"),
    [
        ("photos", [], 16, "auto", "40 images cached on cpu (0.0307 MB), sliced in batches"),
        ("photos", WHOLE, 16, "auto", "40 images cached on cpu (0.0307 MB), sliced in batches"),
        ("photos", [], 16, False, "encoded images, 2 threads"),
        ("photos", [RandomCropResize()], 16, "auto", "encoded images, 2 threads, decoded once (2 GB of memory at most)"),
        ("photos", [Plugin()], 16, True, "encoded images, 2 threads, decoded once (2 GB of memory at most)"),
        ("photos", [torch.nn.Identity()], 16, True, "encoded images, 2 processes"),
        ("digits", WHOLE, 8, "auto", "pixels, sliced in batches, 2 threads"),
        ("digits", WHOLE, 8, True, "40 images cached on cpu (0.00768 MB), sliced in batches"),
        ("digits", WHOLE, 16, "auto", "40 images cached on cpu (0.0307 MB), sliced in batches"),
    ],
)
def test_what_is_held_is_said(
    make_params: Callable[..., Params],
    request: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    transforms: list[Any],
    size: int,
    hold: Any,
    found: str,
) -> None:
    monkeypatch.setattr(in_memory, "_free", lambda *_: 2 * 10**9)
    order = ShuffledBatchSampler(np.arange(40), batch_size=16, seed=0)
    batches = batches_of(request.getfixturevalue(data), transforms, size)
    assert describe_input(loader(make_params, batches, order, hold)) == found


def test_what_has_no_room_is_read_as_ever(
    make_params: Callable[..., Params], photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ShuffledBatchSampler(np.arange(40), batch_size=16, seed=0)
    monkeypatch.setattr(in_memory, "_free", lambda *_: 40 * 16 * 16 * 3 - 1)
    assert isinstance(loader(make_params, batches_of(photos, []), order, "auto"), ThreadLoader)
    sizes = batches_of(photos, []).at_sizes({0: 8, 2: 16})
    assert isinstance(loader(make_params, sizes, order, True), ThreadLoader)


def test_as_many_stay_as_there_is_room_for() -> None:
    kept = ImageCache(100)
    small, large, medium = (np.zeros((num_bytes, 1, 1), np.uint8) for num_bytes in (40, 80, 60))
    for row, image in enumerate((small, large, medium)):
        kept.add(row, image)
        kept.add(row, image)  # as two threads do
    assert [kept.get(row) for row in range(3)] == [small, None, medium]


class Painting(ImageAugmentation):
    """Changes the very image that it is given."""

    num_random = 1

    def __call__(self, image: Tensor, random: NDArray[np.float32], size: int) -> Tensor:  # noqa: ARG002
        image += 10
        return image


def test_an_image_that_is_kept_is_not_painted_over(make_params: Callable[..., Params], photos: Any) -> None:
    order = ShuffledBatchSampler(np.arange(8), batch_size=8, seed=0)
    kept = loader(make_params, batches_of(photos, [Painting()]), order, hold=True)
    first, second = seen(kept, order, 2)
    assert torch.equal(first["images"][first["rows"].argsort()], second["images"][second["rows"].argsort()])
