"""Which rows of the pack are in which batch, as functions of seed and epoch only."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from darkroom.data.pack import Rows
from darkroom.data.rng import generator

BatchKey = tuple[int, Rows]
"""Epoch, and the rows of one of its batches."""
# Independent streams of random numbers from one seed.
ORDER, AUGMENT, STEP = 1, 2, 3


class ShuffledBatchSampler(Sampler[BatchKey]):
    """The rows of each batch of an epoch, in an order given by seed and epoch.

    With `balance_by`, the labels (M,) of all M images of the pack, an epoch has the same number of images, but all classes
    equally often: large classes are subsampled, small ones repeated.

    With several processes, each takes its part of every global batch. A last batch that is too small for batch normalisation
    (fewer than two images per process) is dropped; every epoch drops other images.
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
        """Set the epoch that is iterated next; Lightning calls it."""
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
    """Return as many rows, with all classes equally often, up to one."""
    present = numbers.permutation(np.unique(labels[rows]))
    chosen = []
    for place, label in enumerate(present):
        own = numbers.permutation(rows[labels[rows] == label])
        count = len(rows) // len(present) + (place < len(rows) % len(present))
        chosen.append(np.resize(own, count))
    return np.concatenate(chosen)


class SequentialBatchSampler(Sampler[BatchKey]):
    """The rows of each batch in their own order, for measuring and predicting; each process takes every n-th row."""

    def __init__(self, rows: Rows, *, batch_size: int, rank: int = 0, world_size: int = 1):
        self.rows, self.batch_size = rows[rank::world_size], batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, len(self.rows), self.batch_size):
            yield 0, self.rows[start : start + self.batch_size]


def every_class_first(rows: Rows, labels: NDArray[Any]) -> Rows:
    """Return rows (N,) in an order that begins with an image of every label, or combination of labels, then a second of each."""
    _, kinds = np.unique(labels, axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    order = np.argsort(kinds, kind="stable")
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - np.searchsorted(kinds[order], kinds[order])
    chosen: Rows = rows[np.lexsort((kinds, ranks))]
    return chosen
