"""Batches of packed images as uint8 tensors. Order and augmentation are functions of seed, epoch and image alone.

N images in a batch, C channels, H by W pixels, R random numbers per image.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import Size, Way, fit, height_and_width
from darkroom.data.rng import generator
from darkroom.input.augment import Augmentation, BatchAugmentation, ImageAugmentation, RandomCropResize
from darkroom.input.image_cache import ImageCache
from darkroom.input.pixel_moves import cut_out, resized_cuts
from darkroom.input.preprocess import ImageReader, Preprocess
from darkroom.input.samplers import AUGMENT, BatchKey
from darkroom.input.transforms import transform_image
from darkroom.models.preprocessing import Preprocessing

# One tensor (N, C, H, W) if all have one size, else one (C, h, w) after the other; uint8, or float32 of other types of values.
ImageTensors = Tensor | Iterable[Tensor]


class Batch(TypedDict):
    """What a network is trained on and measured on."""

    images: Tensor
    """(N, C, H, W) uint8; float32 if the pack has uint16 or float32"""
    labels: Tensor
    """(N,) int64, or (N, K) float32 of 0 and 1 in a multilabel set"""
    rows: Tensor
    """(N,) int64, where the images stand in the pack"""


class ImageDataset(Dataset[Batch]):
    """Batches of the pack by (epoch, rows), augmented if there are transforms, fitted to the size of the network's input.

    Parameters
    ----------
    pack
        The images.
    image_size, channels
        Of the network's input; the side of a square, or height and width.
    transforms
        Augmentations of batches and of images, callables on single images (C, H, W) and array transforms, in the order of
        train.augment.
    seed
        Seed of the augmentations.
    way
        How images of another shape are fitted: `train.resize`.
    preprocess
        What every image goes through first: `train.preprocess`.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        image_size: Size,
        channels: int,
        transforms: Sequence[Any] = (),
        seed: int = 0,
        way: Way = "crop",
        preprocess: Preprocess | None = None,
    ):
        self.pack, self.image_size, self.channels = pack, image_size, channels
        self.transforms, self.seed = transforms, seed
        self.way, self.preprocess = way, preprocess
        self.reader = ImageReader(pack, preprocess)
        self.sizes: dict[int, Size] = {}
        self.cache: ImageCache | None = None
        self._numbers: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self._side = self._needed_side([image_size])

    @classmethod
    def for_network(cls, pack: Pack, seen: Preprocessing, preprocess: Preprocess | None) -> "ImageDataset":
        """Return the images of a pack as a network is evaluated on them; `preprocess` are the steps of its preprocessing."""
        return cls(pack, image_size=seen.image_size, channels=seen.channels, way=seen.way, preprocess=preprocess)

    def augmented(self, transforms: Sequence[Any], seed: int) -> "ImageDataset":
        """Return the same images with augmentation."""
        return ImageDataset(
            self.pack,
            image_size=self.image_size,
            channels=self.channels,
            transforms=transforms,
            seed=seed,
            way=self.way,
            preprocess=self.preprocess,
        )

    def plain(self) -> "ImageDataset":
        """Return the same images without augmentation, at one size."""
        return self.augmented([], 0)

    def at_sizes(self, sizes: Mapping[int, Size]) -> "ImageDataset":
        """Return the same images with sizes by the epoch from which they hold."""
        made = copy.copy(self)
        made.sizes = dict(sizes)
        made._side = made._needed_side([*sizes.values(), self.image_size])
        return made

    def with_cache(self, num_bytes: int) -> "ImageDataset":
        """Return the same images with a cache of a number of bytes; not for several processes."""
        made = copy.copy(self)
        made.cache = ImageCache(num_bytes)
        return made

    @property
    def threads_can_share(self) -> bool:
        """Whether threads can share the work: transforms of other libraries draw from global generators."""
        return self.preprocess is None and all(isinstance(each, Augmentation) for each in self.transforms)

    @property
    def is_sliced(self) -> bool:
        """Whether a batch is sliced from memory at once, without a loop over images."""
        is_whole = self.pack.size is not None and self.preprocess is None
        return is_whole and all(isinstance(each, BatchAugmentation) for each in self.transforms)

    @property
    def is_as_stored(self) -> bool:
        """Whether images are stored in the size of the network's input."""
        return self.pack.size == height_and_width(self.image_size) and self.pack.dtype in ("uint8", "float32")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the images."""
        return torch.uint8 if self.pack.dtype == "uint8" else torch.float32

    def _needed_side(self, sizes: Iterable[Size]) -> int | None:
        """Return the shorter side that images must have when they are read; None: all pixels are needed."""
        size = max(side for each in sizes for side in height_and_width(each))
        if all(isinstance(each, BatchAugmentation) for each in self.transforms):
            return size
        first = self.transforms[0]
        # It is not known what transforms of other libraries crop.
        return first.needed_side(size) if isinstance(first, ImageAugmentation) else None

    def size_of(self, epoch: int) -> Size:
        """Return the image size of an epoch."""
        begun = [start for start in self.sizes if start <= epoch]
        return self.sizes[max(begun)] if begun else self.image_size

    def __getitem__(self, key: BatchKey) -> Batch:
        return self.labelled(self.images(*key), key[1])

    def labelled(self, images: Tensor, rows: Rows) -> Batch:
        """Return a batch of images, with their labels."""
        return Batch(images=images, labels=self.labels(rows), rows=torch.tensor(rows))

    def images(self, epoch: int, rows: Rows, made: Tensor | None = None) -> Tensor:
        """Return the images (N, C, H, W) of some rows, which do not depend on the batch; `made`, if they were written there."""
        size = self.size_of(epoch)
        images: ImageTensors
        own: Tensor | None = None
        remaining = list(enumerate(self.transforms))
        first = self.transforms[0] if self.transforms else None
        if isinstance(first, RandomCropResize):
            numbers = self.random_numbers(epoch, 0)[rows].tolist()
            cuts = (self._cut(row, first, drawn) for row, drawn in zip(rows.tolist(), numbers, strict=True))
            images = own = resized_cuts(cuts, len(rows), size, made)
            del remaining[0]
        elif self.pack.size is None or self.preprocess or isinstance(first, ImageAugmentation):
            images = (_to_tensor(self._read(int(row))) for row in rows)
        else:
            images = torch.from_numpy(self.pack.batch(rows)).permute(0, 3, 1, 2)
        for number, transform in remaining:
            if isinstance(transform, BatchAugmentation):
                drawn = torch.from_numpy(self.random_numbers(epoch, number)[rows])
                fitted = self._fitted(images, len(rows), size)
                images = transform.in_place(fitted, drawn) if fitted is own else transform(fitted, drawn)
            elif isinstance(transform, ImageAugmentation):
                numbers = self.random_numbers(epoch, number)
                # Images of the pack have the same number of channels; the results of other transforms may not.
                apply = transform.batch if number == 0 else transform.each
                images = apply(images, numbers[rows], size)
            else:
                keys = [(epoch, number, int(row)) for row in rows]
                images = [self._transform_one(transform, *pair) for pair in zip(images, keys, strict=True)]
        return self._fitted(images, len(rows), size)

    def labels(self, rows: Rows) -> Tensor:
        """Return the labels of a batch."""
        labels = torch.from_numpy(self.pack.labels[rows])
        return labels.float() if labels.ndim == 2 else labels

    def random_numbers(self, epoch: int, number: int) -> NDArray[np.float32]:
        """Return the random numbers (len(pack), R) of the n-th transform; they are kept for the other batches of the epoch."""
        known_epoch, numbers = self._numbers.get(number, (None, None))
        if numbers is None or known_epoch != epoch:

            def generator_of(epoch: int) -> np.random.Generator:
                return generator(self.seed, AUGMENT, epoch, number)

            numbers = self.transforms[number].random_numbers(generator_of, epoch, len(self.pack))
            self._numbers[number] = (epoch, numbers)
        return numbers

    def _read(self, row: int) -> NDArray[Any]:
        if self.cache is None:
            return self.reader(row, self._side)
        image = self.cache.get(row)
        if image is None:
            image = self.reader(row, self._side)
            self.cache.add(row, image)
        first = self.transforms[0] if self.transforms else None
        is_spared = not isinstance(first, ImageAugmentation) or first.spares_image
        return image if is_spared else image.copy()

    def _cut(self, row: int, crop: RandomCropResize, random: list[float]) -> NDArray[Any]:
        """Return the rectangle of an image that is cut out at random, (h, w, C)."""
        size = self.reader.size_at(row, self._side)
        if size and not (self.cache and self.cache.holds(row, math.prod(size) * self.pack.channels * self.dtype.itemsize)):
            return self.reader.part(row, crop.rectangle(size, random))
        image = self._read(row)
        return cut_out(image, crop.rectangle(image.shape, random))

    def _transform_one(self, transform: Any, image: Tensor, counters: tuple[int, ...]) -> Tensor:
        # Transforms of other libraries draw from global generators, which are seeded for each image.
        seed = int(np.random.SeedSequence((self.seed, AUGMENT, *counters)).generate_state(1)[0])
        return transform_image(transform, image, seed, "train.augment")

    def _fitted(self, images: ImageTensors, count: int, size: Size) -> Tensor:
        """Return images as one (count, channels, height, width) tensor."""
        channels, (height, width) = self.channels, height_and_width(size)
        if isinstance(images, Tensor) and images.shape[2:] == (height, width) and images.shape[1] in (1, channels):
            return images if images.shape[1] == channels else images.expand(-1, channels, -1, -1)
        # Channels last, as in the pack and for the network.
        fitted = np.empty((count, height, width, channels), np.uint8 if self.dtype == torch.uint8 else np.float32)
        for place, image in zip(fitted, images, strict=True):
            is_right = image.shape == (channels, height, width)
            place[...] = _to_array(image) if is_right else fit(_to_array(image), size, channels, self.way)
        return torch.from_numpy(fitted).permute(0, 3, 1, 2)


def _to_tensor(image: NDArray[Any]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def _to_array(image: Tensor) -> NDArray[Any]:
    return image.permute(1, 2, 0).numpy()
