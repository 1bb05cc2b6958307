"""Batches of packed pictures as uint8 tensors. Order and augmentation are functions of seed, epoch and picture alone.

N pictures in a batch, C channels, H by W pixels, R random numbers per picture.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from darkroom.data.pack import Pack
from darkroom.data.pictures import fit
from darkroom.data.randomness import generator
from darkroom.errors import InputError, described
from darkroom.training.augment import BatchAugmentation

Rows = NDArray[np.int64]
BatchKey = tuple[int, Rows]
# One tensor (N, C, H, W) where all are of one size, else a (C, h, w) each; always uint8.
Pictures = Tensor | list[Tensor]
# Independent streams of random numbers from one seed.
ORDER, AUGMENT, STEP = 1, 2, 3


class Batch(TypedDict):
    """What a network is trained on and measured on."""

    images: Tensor
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64, or (N, K) float32 of 0 and 1 in a multilabel set"""


class ShuffledRows(Sampler[BatchKey]):
    """The rows of each batch of an epoch, in an order given by seed and epoch.

    Under several processes each takes its part of every global batch. A last batch too small for batch normalisation
    (fewer than two pictures per process) is left out; another order leaves out other pictures.
    """

    def __init__(self, rows: Rows, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.resume_at = (0, 0)
        """Epoch, and the batch of it, that a resumed training begins with."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is iterated next; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return full + (rest >= 2 * self.world_size or full == 0)

    def __iter__(self) -> Iterator[BatchKey]:
        order = generator(self.seed, ORDER, self.epoch).permutation(self.rows)
        first = self.resume_at[1] if self.epoch == self.resume_at[0] else 0
        for number in range(first, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield self.epoch, batch[self.rank :: self.world_size]


class OrderedRows(Sampler[BatchKey]):
    """The rows of each batch in their own order, for measuring and predicting; each process takes every so manieth row."""

    def __init__(self, rows: Rows, *, batch_size: int, rank: int = 0, world_size: int = 1):
        self.rows, self.batch_size = rows[rank::world_size], batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, len(self.rows), self.batch_size):
            yield 0, self.rows[start : start + self.batch_size]


class PictureBatches(Dataset[Batch]):
    """Batches of the pack by (epoch, rows), augmented if there are transforms, fitted to the network's square.

    Parameters
    ----------
    pack
        The pictures.
    image_size, channels
        What the network sees.
    transforms
        Batch augmentations and callables on single pictures (C, H, W) uint8, in the order of train.augment.
    seed
        Seed of the augmentations.
    """

    def __init__(self, pack: Pack, *, image_size: int, channels: int, transforms: Sequence[Any] = (), seed: int = 0):
        self.pack, self.image_size, self.channels = pack, image_size, channels
        self.transforms, self.seed = transforms, seed
        self._numbers: dict[int, tuple[int, NDArray[np.float32]]] = {}
        # Transforms of single pictures may crop: they need every pixel.
        self._side = image_size if all(isinstance(each, BatchAugmentation) for each in transforms) else None

    def augmented(self, transforms: Sequence[Any], seed: int) -> "PictureBatches":
        """Return the same batches, augmented."""
        return PictureBatches(self.pack, image_size=self.image_size, channels=self.channels, transforms=transforms, seed=seed)

    def __getitem__(self, key: BatchKey) -> Batch:
        epoch, rows = key
        pictures: Pictures
        if self.pack.size is None:
            pictures = [_to_tensor(self.pack.read(int(row), self._side)) for row in rows]
        else:
            pictures = torch.from_numpy(self.pack.batch(rows)).permute(0, 3, 1, 2)
        for number, transform in enumerate(self.transforms):
            if isinstance(transform, BatchAugmentation):
                numbers = self._random_numbers(epoch, number, transform.num_random)
                pictures = transform(self._fitted(pictures), torch.from_numpy(numbers[rows]))
            else:
                keys = [(epoch, number, int(row)) for row in rows]
                pictures = [self._transform_one(transform, *pair) for pair in zip(pictures, keys, strict=True)]
        labels = torch.from_numpy(self.pack.labels[rows])
        return Batch(images=self._fitted(pictures), labels=labels.float() if labels.ndim == 2 else labels)

    def _random_numbers(self, epoch: int, number: int, num_random: int) -> NDArray[np.float32]:
        """Return (len(pack), R) numbers for one transform and epoch; kept, since every batch of the epoch needs its rows."""
        known_epoch, numbers = self._numbers.get(number, (None, None))
        if numbers is None or known_epoch != epoch:
            numbers = generator(self.seed, AUGMENT, epoch, number).random((len(self.pack), num_random), np.float32)
            self._numbers[number] = (epoch, numbers)
        return numbers

    def _transform_one(self, transform: Any, picture: Tensor, counters: tuple[int, ...]) -> Tensor:
        # Transforms of other libraries draw from the global generators, so these are set for each picture.
        seed = int(np.random.SeedSequence((self.seed, AUGMENT, *counters)).generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        where = f"params.yaml: train.augment: {type(transform).__name__}"
        try:
            transformed = transform(picture)
        except Exception as error:
            raise InputError(f"{where} cannot transform a picture ({described(error)}); correct or remove it") from error
        if not (isinstance(transformed, Tensor) and transformed.dtype == torch.uint8 and transformed.ndim == 3):
            found = f"a {transformed.dtype} {tuple(transformed.shape)}" if isinstance(transformed, Tensor) else transformed
            raise InputError(
                f"{where} makes {found} of a picture, not uint8 (channels, height, width); "
                "leave conversion and normalisation out, the network has its own"
            )
        return transformed

    def _fitted(self, pictures: Pictures) -> Tensor:
        """Return pictures as one (N, C, H, W) uint8 tensor of the size and channels that the network sees."""
        size, channels = self.image_size, self.channels
        if isinstance(pictures, Tensor) and pictures.shape[2:] == (size, size):
            return pictures if pictures.shape[1] == channels else pictures.expand(-1, channels, -1, -1)
        shape = (channels, size, size)
        fitted = [image if image.shape == shape else _to_tensor(fit(_to_array(image), size, channels)) for image in pictures]
        return torch.stack(fitted)


def make_loader(
    batches: PictureBatches, order: Sampler[BatchKey], *, num_workers: int, timeout: float = 0, pin_memory: bool = False
) -> "DataLoader[Batch]":
    """Return a DataLoader whose workers make whole batches, pictures never travel one by one; `timeout` is in seconds."""
    return DataLoader(
        batches,
        sampler=order,
        batch_size=None,
        num_workers=num_workers,
        timeout=timeout if num_workers else 0,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


def _to_tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def _to_array(picture: Tensor) -> NDArray[np.uint8]:
    return picture.permute(1, 2, 0).numpy()
