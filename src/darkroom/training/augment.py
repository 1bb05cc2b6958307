"""Augmentations of batches and of single pictures; transforms of torchvision and albumentations can stand beside them.

Each is a pure function of uint8 pictures and uniform random numbers, so that what happens to a picture depends on the seed,
the epoch and the picture alone, never on the batch or process that it is in.
"""

import inspect
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

CROP_TRIES = 3


class BatchAugmentation(ABC):
    """An augmentation that treats every picture of a batch in its own way, at once."""

    num_random: int
    """R, the random numbers that it takes for one picture."""

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return augmented pictures (N, C, H, W) uint8 of pictures (N, C, H, W) uint8 and numbers (N, R) in [0, 1)."""


class PictureAugmentation(ABC):
    """An augmentation that treats one picture of any size at a time and draws nothing itself, so that threads may share them."""

    num_random: int
    """R, the random numbers that it takes for one picture."""

    def needed_side(self, size: int) -> int | None:  # noqa: ARG002
        """Return the shorter side that is enough for a result of `size` pixels; None: it needs every pixel."""
        return None

    @abstractmethod
    def __call__(self, picture: Tensor, random: NDArray[np.float32], size: int) -> Tensor:
        """Return an augmented picture (C, h, w) uint8 of a picture (C, H, W) uint8 and numbers (R,) in [0, 1).

        `size` is the side of the square that the network sees; a result of another size is cropped and resized to it.
        """


class RandomCropResize(PictureAugmentation):
    """Cut out a rectangle of random area and shape and resize it to the square that the network sees.

    It does what torchvision's RandomResizedCrop does with antialiasing, but from numbers that it is given, so that threads can
    share the pictures; and it tries three shapes rather than ten before it takes what fits of the last one.

    Parameters
    ----------
    scale
        Smallest and largest share of the picture's area.
    ratio
        Smallest and largest ratio of width to height.
    """

    num_random = 2 * CROP_TRIES + 2

    def __init__(self, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)):
        for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
            if not 0 < low <= high:
                raise ValueError(f"{name} is {[low, high]}, but must be two numbers above 0, the smaller one first")
        if scale[1] > 1:
            raise ValueError(f"scale is {list(scale)}, but no part of a picture is larger than 1")
        self.scale, self.ratio = scale, ratio

    def needed_side(self, size: int) -> int:
        """Return the shorter side of which the smallest rectangle still has the pixels."""
        return math.ceil(size / math.sqrt(self.scale[0]))

    def __call__(self, picture: Tensor, random: NDArray[np.float32], size: int) -> Tensor:
        """Return a square (C, size, size) uint8."""
        top, left, height, width = self._rectangle(picture.shape[1], picture.shape[2], random.tolist())
        cut = picture[:, top : top + height, left : left + width]
        # As a batch of one whose channels come last: else torch puts the channels of the result first, and back costs more.
        batch = cut.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
        return functional.interpolate(batch, size=(size, size), mode="bilinear", antialias=True)[0]

    def _rectangle(self, height: int, width: int, random: list[float]) -> tuple[int, int, int, int]:
        """Return top, left, height and width."""
        low, high = map(math.log, self.ratio)
        for area, shape in zip(random[0:-2:2], random[1:-2:2], strict=True):
            pixels = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
            ratio = math.exp(low + (high - low) * shape)
            cut_height, cut_width = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < cut_height <= height and 0 < cut_width <= width:
                break
        cut_height, cut_width = min(max(cut_height, 1), height), min(max(cut_width, 1), width)
        return int(random[-2] * (height - cut_height + 1)), int(random[-1] * (width - cut_width + 1)), cut_height, cut_width


class RandomShift(BatchAugmentation):
    """Move each picture by up to `pixels` along both axes; the border is repeated into what becomes free."""

    num_random = 2

    def __init__(self, pixels: int):
        if pixels < 0:
            raise ValueError(f"pixels is {pixels}, but must not be negative")
        self.pixels = pixels

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 pictures, each moved by its own whole number of pixels."""
        around = (self.pixels, self.pixels)
        # In numpy, which copies rows of pixels; torch would pick one number after the other, ten times as slow.
        padded = np.pad(images.permute(0, 2, 3, 1).numpy(), ((0, 0), around, around, (0, 0)), mode="edge")
        windows = sliding_window_view(padded, images.shape[2:], axis=(1, 2))  # N 2P+1 2P+1 C H W
        start = (random * (2 * self.pixels + 1)).long().numpy()  # N 2
        moved = windows[np.arange(len(images)), start[:, 0], start[:, 1]]  # N C H W
        return torch.from_numpy(moved).contiguous(memory_format=torch.channels_last)


class RandomFlip(BatchAugmentation):
    """Mirror each picture left to right with the given probability."""

    num_random = 1

    def __init__(self, probability: float = 0.5):
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}, but must be between 0 and 1")
        self.probability = probability

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 pictures, some of them mirrored."""
        mirrored = images.flip(-1)
        # Numpy moves whole pictures, where torch.where would choose byte by byte.
        is_kept = (random[:, 0] >= self.probability).numpy()
        mirrored.permute(0, 2, 3, 1).numpy()[is_kept] = images.permute(0, 2, 3, 1).numpy()[is_kept]
        return mirrored


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
