"""Augmentations of batches and of single images, to be used alone or with transforms of torchvision and albumentations.

Each is a pure function of images, uint8 or float32, and uniform random numbers, so that the result depends only on seed, epoch
and image, never on the batch or the process.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.data.decoding.tiles import Box
from darkroom.data.resizing import Size
from darkroom.input.pixel_moves import cut_out, mirror_by_choice, mirror_in_numpy, resized_cuts, shift_by_index, shift_in_numpy

CROP_TRIES = 3


class Augmentation(ABC):
    """Base of both kinds: their random numbers are drawn for every image of an epoch at once."""

    num_random: int
    """R, the number of random numbers per image."""

    def random_numbers(self, generator_of: Callable[[int], np.random.Generator], epoch: int, count: int) -> NDArray[np.float32]:
        """Return the random numbers (count, R) in [0, 1) of an epoch; each epoch has its own generator."""
        return generator_of(epoch).random((count, self.num_random), np.float32)


class BatchAugmentation(Augmentation):
    """An augmentation of a whole batch at once, with different random numbers for each image."""

    any_device = False
    """Whether it works on a GPU, too, with the same bits."""

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return augmented images (N, C, H, W) of images (N, C, H, W) of the same type, and numbers (N, R) in [0, 1)."""

    def in_place(self, images: Tensor, random: Tensor) -> Tensor:
        """Return the same; the images may be changed, if that is faster."""
        return self(images, random)


class ImageAugmentation(Augmentation):
    """An augmentation of one image of any size at a time. It draws no random numbers itself, so that threads can run it."""

    spares_image = False
    """Whether it leaves its input unchanged, so that no copy is needed."""

    def needed_side(self, size: int) -> int | None:  # noqa: ARG002
        """Return the shorter side that suffices for a result of `size` pixels; None: all pixels are needed."""
        return None

    @abstractmethod
    def __call__(self, image: Tensor, random: NDArray[np.float32], size: Size) -> Tensor:
        """Return an augmented image (C, h, w) of an image (C, H, W) of the same type, and numbers (R,) in [0, 1).

        `size` is the side of the square that the network sees, or its height and width; a result of another size is fitted to it.
        """

    def each(self, images: Iterable[Tensor], random: NDArray[np.float32], size: Size) -> Iterable[Tensor]:
        """Return N augmented images for random numbers (N, R), one after the other."""
        return map(self, images, random, repeat(size))

    def batch(self, images: Iterable[Tensor], random: NDArray[np.float32], size: Size) -> Tensor | Iterable[Tensor]:
        """Return the same for images with the same number of channels, or one tensor (N, C, height, width)."""
        return self.each(images, random, size)


class RandomCropResize(ImageAugmentation):
    """Crop a rectangle of random area and aspect ratio, and resize it to the size of the network's input.

    As torchvision's RandomResizedCrop with antialiasing, but with given random numbers, so that threads can run it, and with
    three attempts in place of ten before the last rectangle is clipped to the image.

    Parameters
    ----------
    scale
        Smallest and largest fraction of the image's area.
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
        """Return the shorter side with which the smallest rectangle still has `size` pixels."""
        return math.ceil(size / math.sqrt(self.scale[0]))

    def __call__(self, image: Tensor, random: NDArray[np.float32], size: Size) -> Tensor:
        """Return an image (C, height, width)."""
        return self.batch([image], random[None], size)[0]

    def batch(self, images: Iterable[Tensor], random: NDArray[np.float32], size: Size) -> Tensor:
        """Return images (N, C, height, width)."""
        arrays = (image.permute(1, 2, 0).numpy() for image in images)
        pairs = zip(arrays, random.tolist(), strict=True)
        cuts = (cut_out(image, self.rectangle(image.shape, drawn)) for image, drawn in pairs)
        return resized_cuts(cuts, len(random), size)

    def rectangle(self, size: tuple[int, ...], random: list[float]) -> Box:
        """Return the rectangle of an image (H, W) or (H, W, C): top, left, height and width."""
        height, width = size[:2]
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
    """Shift each image by up to `pixels` along both axes, repeating the border."""

    num_random = 2
    any_device = True

    def __init__(self, pixels: int):
        if pixels < 0:
            raise ValueError(f"pixels is {pixels}, but must not be negative")
        self.pixels = pixels

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Return (N, C, H, W) images, each shifted by its own number of pixels."""
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
        """Return (N, C, H, W) images, some of them mirrored."""
        is_kept = random[:, 0] >= self.probability
        mirror = mirror_in_numpy if images.device.type == "cpu" else mirror_by_choice
        return mirror(images, is_kept)

    def in_place(self, images: Tensor, random: Tensor) -> Tensor:
        """Return the same images; those that are kept are not copied."""
        for number in torch.nonzero(random[:, 0] < self.probability)[:, 0].tolist():
            images[number].copy_(images[number].flip(-1))
        return images


class AlternatingFlip(RandomFlip):
    """Mirror half of the images in the first epoch, the other half in the second, and so on.

    References
    ----------
    Jordan 2024, https://arxiv.org/abs/2404.00498
    """

    def __init__(self) -> None:
        super().__init__(0.5)

    def random_numbers(self, generator_of: Callable[[int], np.random.Generator], epoch: int, count: int) -> NDArray[np.float32]:
        """Return the numbers of the first epoch, shifted by a half in every second epoch."""
        first = super().random_numbers(generator_of, 0, count)
        return (first + np.float32(0.5 * (epoch % 2))) % 1


class RandomColor(BatchAugmentation):
    """Change brightness, contrast and saturation of each image, in this order, by random factors.

    As torchvision's ColorJitter, which also draws the order and clips after each change; here all are one sum per pixel.

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
        """Return (N, C, H, W) uint8 images with changed colours."""
        drawn = (1 + strength * (2 * random[:, number] - 1) for number, strength in enumerate(self.strengths))
        brightness, contrast, saturation = (factor[:, None, None, None] for factor in drawn)
        # Sums of integers: an image's mean has the same bits in any batch and on any device.
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
