"""Batches of packed pictures as uint8 tensors. Order and augmentation are functions of seed, epoch and picture alone.

N pictures in a batch, C channels, H by W pixels, R random numbers per picture.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
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
from darkroom.training.augment import ArrayTransform, BatchAugmentation, transform_array

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
    rows: Tensor
    """(N,) int64, where the pictures stand in the pack"""


class ShuffledRows(Sampler[BatchKey]):
    """The rows of each batch of an epoch, in an order given by seed and epoch.

    With `balance_by`, the labels (M,) of all M pictures of the pack, an epoch has as many pictures, but every class equally
    often: of a large class it has some, of a small one all of them more than once.

    Under several processes each takes its part of every global batch. A last batch too small for batch normalisation
    (fewer than two pictures per process) is left out; another order leaves out other pictures.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        balance_by: NDArray[Any] | None = None,
    ):
        self.rows, self.batch_size, self.seed, self.balance_by = rows, batch_size, seed, balance_by
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
        numbers = generator(self.seed, ORDER, self.epoch)
        order = numbers.permutation(self.rows if self.balance_by is None else _balanced(self.rows, self.balance_by, numbers))
        first = self.resume_at[1] if self.epoch == self.resume_at[0] else 0
        for number in range(first, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield self.epoch, batch[self.rank :: self.world_size]


def _balanced(rows: Rows, labels: NDArray[Any], numbers: np.random.Generator) -> Rows:
    """Return as many rows, with each of their classes as often as any other, or once more."""
    present = numbers.permutation(np.unique(labels[rows]))
    chosen = []
    for place, label in enumerate(present):
        own = numbers.permutation(rows[labels[rows] == label])
        count = len(rows) // len(present) + (place < len(rows) % len(present))
        chosen.append(np.resize(own, count))
    return np.concatenate(chosen)


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
        Batch augmentations, callables on single pictures (C, H, W) uint8 and array transforms, in the order of train.augment.
    seed
        Seed of the augmentations.
    """

    def __init__(self, pack: Pack, *, image_size: int, channels: int, transforms: Sequence[Any] = (), seed: int = 0):
        self.pack, self.image_size, self.channels = pack, image_size, channels
        self.transforms, self.seed = transforms, seed
        self.sizes: dict[int, int] = {}
        self._numbers: dict[int, tuple[int, NDArray[np.float32]]] = {}
        # Transforms of single pictures may crop: they need every pixel.
        self._side = image_size if all(isinstance(each, BatchAugmentation) for each in transforms) else None

    def augmented(self, transforms: Sequence[Any], seed: int) -> "PictureBatches":
        """Return the same batches, augmented."""
        return PictureBatches(self.pack, image_size=self.image_size, channels=self.channels, transforms=transforms, seed=seed)

    def at_sizes(self, sizes: Mapping[int, int]) -> "PictureBatches":
        """Return the same batches with other sides in pixels from some epochs on."""
        made = copy.copy(self)
        made.sizes = dict(sizes)
        if sizes and made._side is not None:
            made._side = max(*sizes.values(), self.image_size)
        return made

    def _size(self, epoch: int) -> int:
        begun = [start for start in self.sizes if start <= epoch]
        return self.sizes[max(begun)] if begun else self.image_size

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
                pictures = transform(self._fitted(pictures, self._size(epoch)), torch.from_numpy(numbers[rows]))
            else:
                keys = [(epoch, number, int(row)) for row in rows]
                pictures = [self._transform_one(transform, *pair) for pair in zip(pictures, keys, strict=True)]
        return Batch(images=self._fitted(pictures, self._size(epoch)), labels=self.labels(rows), rows=torch.tensor(rows))

    def labels(self, rows: Rows) -> Tensor:
        """Return the labels of a batch."""
        labels = torch.from_numpy(self.pack.labels[rows])
        return labels.float() if labels.ndim == 2 else labels

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
            is_for_arrays = isinstance(transform, ArrayTransform)
            transformed = transform_array(transform, picture, seed) if is_for_arrays else transform(picture)
        except Exception as error:
            raise InputError(f"{where} cannot transform a picture ({described(error)}); correct or remove it") from error
        if not (isinstance(transformed, Tensor) and transformed.dtype == torch.uint8 and transformed.ndim == 3):
            found = f"a {transformed.dtype} {tuple(transformed.shape)}" if isinstance(transformed, Tensor) else transformed
            raise InputError(
                f"{where} makes {found} of a picture, not uint8 (channels, height, width); "
                "leave conversion and normalisation out, the network has its own"
            )
        return transformed

    def _fitted(self, pictures: Pictures, size: int) -> Tensor:
        """Return pictures as one (N, C, size, size) uint8 tensor with the channels that the network sees."""
        channels = self.channels
        if isinstance(pictures, Tensor) and pictures.shape[2:] == (size, size):
            return pictures if pictures.shape[1] == channels else pictures.expand(-1, channels, -1, -1)
        shape = (channels, size, size)
        fitted = [image if image.shape == shape else _to_tensor(fit(_to_array(image), size, channels)) for image in pictures]
        return torch.stack(fitted)


def make_loader(
    batches: Dataset[Batch], order: Sampler[BatchKey], *, num_workers: int, timeout: float = 0, pin_memory: bool = False
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
