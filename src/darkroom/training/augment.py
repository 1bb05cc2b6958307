"""Augmentations of whole batches; torchvision's v2 transforms, one picture at a time, can stand beside them in train.augment.

Each is a pure function of uint8 pictures and uniform random numbers, so that what happens to a picture depends on the seed,
the epoch and the picture alone, never on the batch or process that it is in.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional


class BatchAugmentation(ABC):
    """An augmentation that treats every picture of a batch in its own way, at once."""

    num_random: int
    """R, the random numbers that it takes for one picture."""

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return augmented pictures (N, C, H, W) uint8 of pictures (N, C, H, W) uint8 and numbers (N, R) in [0, 1)."""


class RandomShift(BatchAugmentation):
    """Move each picture by up to `pixels` along both axes; the border is repeated into what becomes free."""

    num_random = 2

    def __init__(self, pixels: int):
        if pixels < 0:
            raise ValueError(f"pixels is {pixels}, but must not be negative")
        self.pixels = pixels

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 pictures, each moved by its own whole number of pixels."""
        num, _, height, width = images.shape
        # Replication padding is not implemented for bytes.
        padded = functional.pad(images.float(), [self.pixels] * 4, mode="replicate").to(images.dtype)
        start = (random * (2 * self.pixels + 1)).long()  # N 2
        rows = start[:, 0, None] + torch.arange(height)  # N H
        columns = start[:, 1, None] + torch.arange(width)  # N W
        picked = padded.permute(0, 2, 3, 1)[torch.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]]  # N H W C
        return picked.permute(0, 3, 1, 2)


class RandomFlip(BatchAugmentation):
    """Mirror each picture left to right with the given probability."""

    num_random = 1

    def __init__(self, probability: float = 0.5):
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}, but must be between 0 and 1")
        self.probability = probability

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 pictures, some of them mirrored."""
        return torch.where(random[:, 0, None, None, None] < self.probability, images.flip(-1), images)
