"""Augmentations of whole batches; transforms of torchvision and albumentations, one picture at a time, can stand beside them.

Each is a pure function of uint8 pictures and uniform random numbers, so that what happens to a picture depends on the seed,
the epoch and the picture alone, never on the batch or process that it is in.
"""

import inspect
import random
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
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


class ArrayTransform(ABC):
    """Whatever is called as albumentations' transforms are: `transform(image=picture)["image"]`, pictures (H, W, C) uint8.

    It is known by its call, which takes `image`, or anything by name; nothing has to be derived from this class.
    """

    @abstractmethod
    def __call__(self, *, image: Any) -> Any:
        """Return a mapping whose `image` is the transformed picture."""

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        call = next((vars(base)["__call__"] for base in other.__mro__ if "__call__" in vars(base)), None)
        if cls is not ArrayTransform or not inspect.isfunction(call) or issubclass(other, nn.Module):
            return False
        taken = inspect.signature(call).parameters.values()
        return any(one.kind is one.VAR_KEYWORD or (one.name == "image" and one.kind is not one.VAR_POSITIONAL) for one in taken)


def transform_array(transform: ArrayTransform, picture: Tensor, seed: int) -> Any:
    """Return what a transform makes of a picture (C, H, W) uint8: of an array (h, w, C) or (h, w) a tensor (C, h, w).

    Generators of its own are set by the seed. All transforms of a `Compose` get the same generators, not each the same seed: they
    would draw the same numbers, and a picture be flipped both ways or not at all.
    """
    own: Any = transform
    if hasattr(own, "set_random_state"):
        own.set_random_state(np.random.default_rng(seed), random.Random(seed))
    elif hasattr(own, "set_random_seed"):
        own.set_random_seed(seed)
    made = own(image=np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))["image"]
    if not isinstance(made, np.ndarray):
        return made
    array = torch.from_numpy(np.ascontiguousarray(made[..., None] if made.ndim == 2 else made))
    return array.permute(2, 0, 1) if array.ndim == 3 else array
