"""Keeping a training's images in memory if they fit, or on the GPU, which then slices and augments the batches itself."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.params import HardwareParams
from darkroom.data.resizing import height_and_width
from darkroom.hardware.memory import free_memory
from darkroom.input.augment import BatchAugmentation
from darkroom.input.dataset import Batch, ImageDataset
from darkroom.input.loaders import Loader, describe_reading, make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler, ShuffledBatchSampler

Order = ShuffledBatchSampler | SequentialBatchSampler
Fill = Callable[[ImageDataset, Order], Loader]
# Share of the memory that is free when training starts; the network needs most of a GPU's.
USABLE = 0.25
# Images per batch while memory is filled.
FILLED = 512


def make_repeating_loader(
    batches: ImageDataset, order: Order, hardware: HardwareParams, *, device: torch.device, num_devices: int = 1
) -> Loader:
    """Return the fastest loader for repeated epochs that memory allows; all have the same bits.

    Parameters
    ----------
    batches
        By epoch and rows.
    order
        Epoch and rows of each batch.
    hardware
        `cache_images`, and the settings for reading.
    device
        Where the network computes.
    num_devices
        Processes that train together on this machine.
    """
    on_gpu = device.type == "cuda"
    readers = num_readers(hardware, batches, on_gpu=on_gpu, num_devices=num_devices)
    make = partial(make_loader, readers=readers, timeout=hardware.worker_timeout_seconds, pin_memory=on_gpu)
    if hardware.cache_images is False:
        return make(batches, order)
    is_forced = hardware.cache_images is True
    if _is_cut_in_whole(batches):
        place = device if on_gpu else torch.device("cpu")  # other devices are not tested
        held = InMemoryLoader(batches, order, place, fill=partial(make, pin_memory=False))
        # Images that are mapped in the network's size gain nothing, except on a GPU.
        gains = on_gpu or not batches.is_sliced or not batches.is_as_stored
        if is_forced or (gains and held.nbytes <= _free(place, num_devices)):
            return held
    elif batches.threads_can_share and batches.pack.is_encoded:
        batches = batches.with_cache(_free(torch.device("cpu"), num_devices))
    return make(batches, order)


def describe_input(loader: Loader) -> str:
    """Describe where images come from, such as "encoded images, 2 threads"."""
    if not isinstance(loader, InMemoryLoader):
        return describe_reading(loader)
    return f"{loader.num_images} images cached on {loader.device} ({loader.nbytes / 1e6:.3g} MB), sliced in batches"


def _is_cut_in_whole(batches: ImageDataset) -> bool:
    """Return whether all epochs use the same image size, and all augmentations work on batches on any device."""
    return not batches.sizes and all(isinstance(each, BatchAugmentation) and each.any_device for each in batches.transforms)


def _free(device: torch.device, num_devices: int) -> int:
    """Return the bytes of a device's memory that images may use."""
    if device.type == "cuda":
        return int(USABLE * torch.cuda.mem_get_info(device)[0])
    return int(USABLE * free_memory() / num_devices)


class InMemoryLoader:
    """Batches that are sliced from memory and augmented on the network's device, so that no step waits for a transfer.

    Parameters
    ----------
    batches
        The images; their augmentations work on batches on any device.
    order
        Epoch and rows of each batch.
    device
        Where the images are cached.
    fill
        Makes the loader that reads the images, before the first batch.

    Attributes
    ----------
    sampler
        The order, under the name by which Lightning finds it to set the epoch.
    """

    def __init__(self, batches: ImageDataset, order: Order, device: torch.device, *, fill: Fill):
        self.batches, self.sampler, self.device = batches, order, device
        self.batch_sampler = None  # Lightning looks for this, too
        self._fill = fill
        self._places = np.full(len(batches.pack), -1)
        self._places[order.rows] = np.arange(len(order.rows))
        self._images: Tensor | None = None  # M H W C
        self._labels = torch.empty(0)

    @property
    def num_images(self) -> int:
        """Number of cached images."""
        return len(self.sampler.rows)

    @property
    def nbytes(self) -> int:
        """The memory that the images need."""
        return self.num_images * math.prod(self._shape) * self.batches.dtype.itemsize

    @property
    def _shape(self) -> tuple[int, int, int]:
        return *height_and_width(self.batches.image_size), self.batches.channels

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        keys = list(self.sampler)
        if not keys:
            return
        images = self._read_images()
        # Everything for the epoch is moved to the device at its start.
        epoch, rows = keys[0][0], np.concatenate([rows for _, rows in keys])
        transforms = self.batches.transforms
        numbers = [self._sent(self.batches.random_numbers(epoch, number)[rows]) for number in range(len(transforms))]
        places, sent_rows = self._sent(self._places[rows]), self._sent(rows)
        start = 0
        for _, part in keys:
            of_batch = slice(start, start + len(part))
            cut = images.index_select(0, places[of_batch]).permute(0, 3, 1, 2)
            for transform, drawn in zip(transforms, numbers, strict=True):
                cut = transform(cut, drawn[of_batch])
            yield Batch(images=cut, labels=self._labels[places[of_batch]], rows=sent_rows[of_batch])
            start += len(part)

    def _sent(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _read_images(self) -> Tensor:
        """Return the images (M, H, W, C), which are read at the first call."""
        if self._images is None:
            rows = self.sampler.rows
            images = torch.empty(len(rows), *self._shape, dtype=self.batches.dtype, device=self.device)
            plain, done = self.batches.augmented([], 0), 0
            for batch in self._fill(plain, SequentialBatchSampler(rows, batch_size=FILLED)):
                images[done : done + len(batch["images"])] = batch["images"].permute(0, 2, 3, 1)
                done += len(batch["images"])
            self._images, self._labels = images, self.batches.labels(rows).to(self.device)
        return self._images
