"""Augmentations of batches and of single images; transforms of torchvision and albumentations can stand beside them.

Each is a pure function of uint8 images and uniform random numbers, so that what happens to an image depends on the seed,
the epoch and the image alone, never on the batch or process that it is in.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.input.pixel_moves import mirror_by_choice, mirror_in_numpy, shift_by_index, shift_in_numpy

CROP_TRIES = 3


class Augmentation(ABC):
    """What both kinds have: numbers for every image, drawn for it and not when it is treated."""

    num_random: int
    """R, the random numbers that it takes for one image."""

    def random_numbers(self, generator_of: Callable[[int], np.random.Generator], epoch: int, count: int) -> NDArray[np.float32]:
        """Return the numbers (count, R) in [0, 1) of an epoch, each of which has a generator of its own."""
        return generator_of(epoch).random((count, self.num_random), np.float32)


class BatchAugmentation(Augmentation):
    """An augmentation that treats every image of a batch in its own way, at once."""

    any_device = False
    """Whether it takes images and numbers that lie on a GPU, too, and makes the same bits of them."""

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return augmented images (N, C, H, W) uint8 of images (N, C, H, W) uint8 and numbers (N, R) in [0, 1)."""


class ImageAugmentation(Augmentation):
    """An augmentation that treats one image of any size at a time and draws nothing itself, so that threads may share them."""

    spares_image = False
    """Whether the image that it is given stays as it is, so that it need not be a copy."""

    def needed_side(self, size: int) -> int | None:  # noqa: ARG002
        """Return the shorter side that is enough for a result of `size` pixels; None: it needs every pixel."""
        return None

    @abstractmethod
    def __call__(self, image: Tensor, random: NDArray[np.float32], size: int) -> Tensor:
        """Return an augmented image (C, h, w) uint8 of an image (C, H, W) uint8 and numbers (R,) in [0, 1).

        `size` is the side of the square that the network sees; a result of another size is cropped and resized to it.
        """

    def each(self, images: Iterable[Tensor], random: NDArray[np.float32], size: int) -> Iterable[Tensor]:
        """Return what is made of N images and numbers (N, R), one after the other."""
        return map(self, images, random, repeat(size))

    def batch(self, images: Iterable[Tensor], random: NDArray[np.float32], size: int) -> Tensor | Iterable[Tensor]:
        """Return the same of images with equally many channels, or at once a tensor (N, C, size, size) uint8."""
        return self.each(images, random, size)


class RandomCropResize(ImageAugmentation):
    """Cut out a rectangle of random area and shape and resize it to the square that the network sees.

    It does what torchvision's RandomResizedCrop does with antialiasing, but from numbers that it is given, so that threads can
    share the images; and it tries three shapes rather than ten before it takes what fits of the last one.

    Parameters
    ----------
    scale
        Smallest and largest share of the image's area.
    ratio
        Smallest and largest ratio of width to height.
    """

    num_random = 2 * CROP_TRIES + 2
    spares_image = True

    def __init__(self, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)):
        for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
            if not 0 < low <= high:
                raise ValueError(f"{name} is {[low, high]}, but must be two numbers above 0, the smaller one first")
        if scale[1] > 1:
            raise ValueError(f"scale is {list(scale)}, but no part of an image is larger than 1")
        self.scale, self.ratio = scale, ratio

    def needed_side(self, size: int) -> int:
        """Return the shorter side of which the smallest rectangle still has the pixels."""
        return math.ceil(size / math.sqrt(self.scale[0]))

    def __call__(self, image: Tensor, random: NDArray[np.float32], size: int) -> Tensor:
        """Return a square (C, size, size) uint8."""
        square = torch.empty(size, size, len(image), dtype=torch.uint8).permute(2, 0, 1)
        self._write(image, random, square)
        return square

    def batch(self, images: Iterable[Tensor], random: NDArray[np.float32], size: int) -> Tensor:
        """Return squares (N, C, size, size) uint8."""
        squares = torch.empty(0)
        for number, image in enumerate(images):
            if number == 0:
                squares = torch.empty(len(random), size, size, len(image), dtype=torch.uint8).permute(0, 3, 1, 2)
            self._write(image, random[number], squares[number])
        return squares

    def _write(self, image: Tensor, random: NDArray[np.float32], square: Tensor) -> None:
        """Write the square where it is to stand, (C, size, size) with the channels last: copying it there costs a tenth more."""
        top, left, height, width = self._rectangle(image.shape[1], image.shape[2], random.tolist())
        cut = image[:, top : top + height, left : left + width]
        # Torch's functional.interpolate calls this, but lets nobody say where to write.
        batch = cut.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
        torch.ops.aten._upsample_bilinear2d_aa.out(batch, square.shape[1:], False, None, None, out=square[None])

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
    """Move each image by up to `pixels` along both axes; the border is repeated into what becomes free."""

    num_random = 2
    any_device = True

    def __init__(self, pixels: int):
        if pixels < 0:
            raise ValueError(f"pixels is {pixels}, but must not be negative")
        self.pixels = pixels

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 images, each moved by its own whole number of pixels."""
        start = (random * (2 * self.pixels + 1)).long()  # N 2
        move = shift_in_numpy if images.device.type == "cpu" else shift_by_index
        return move(images, start, self.pixels)


class RandomFlip(BatchAugmentation):
    """Mirror each image left to right with the given probability."""

    num_random = 1
    any_device = True

    def __init__(self, probability: float = 0.5):
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}, but must be between 0 and 1")
        self.probability = probability

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 images, some of them mirrored."""
        is_kept = random[:, 0] >= self.probability
        mirror = mirror_in_numpy if images.device.type == "cpu" else mirror_by_choice
        return mirror(images, is_kept)


class AlternatingFlip(RandomFlip):
    """Mirror half of the images in the first epoch, the other half in the second, and so on: two epochs show both sides of all.

    References
    ----------
    Jordan 2024, https://arxiv.org/abs/2404.00498
    """

    def __init__(self) -> None:
        super().__init__(0.5)

    def random_numbers(self, generator_of: Callable[[int], np.random.Generator], epoch: int, count: int) -> NDArray[np.float32]:
        """Return the numbers of the first epoch, in every second one on the other side of a half."""
        first = super().random_numbers(generator_of, 0, count)
        return (first + np.float32(0.5 * (epoch % 2))) % 1


class RandomColor(BatchAugmentation):
    """Change brightness, contrast and saturation of each image, in this order, by factors of its own.

    They are those of torchvision's ColorJitter, which draws their order as well and cuts values off after each; here they are
    one sum for every pixel.

    Parameters
    ----------
    brightness, contrast, saturation
        From 0 to 1: factors lie between 1 - x and 1 + x. Grey images have no saturation.
    """

    num_random = 3
    any_device = True

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4):
        for name, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, but must be between 0 and 1")
        self.strengths = (brightness, contrast, saturation)

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 images in other colours."""
        drawn = (1 + strength * (2 * random[:, number] - 1) for number, strength in enumerate(self.strengths))
        brightness, contrast, saturation = (factor[:, None, None, None] for factor in drawn)
        # Sums of whole numbers: an image's mean has the same bits in any batch and on any device.
        mean = _grey(images.sum(dim=(2, 3), keepdim=True).float()) / images[0, 0].numel()
        values = images.float()
        both = brightness * contrast
        common = _grey(values) * (both * (1 - saturation)) + mean * (brightness * (1 - contrast))
        return (values * (both * saturation) + common).clamp(0, 255).round().to(torch.uint8)


def _grey(values: Tensor) -> Tensor:
    """Return the brightness (N, 1, H, W) of colours (N, C, H, W), weighted as ITU-R BT.601 does."""
    if values.shape[1] == 1:
        return values
    return values[:, :1] * 0.299 + values[:, 1:2] * 0.587 + values[:, 2:] * 0.114
