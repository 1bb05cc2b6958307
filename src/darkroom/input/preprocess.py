"""`train.preprocess`: transforms that every image goes through, in training, evaluation and prediction alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Params, Target
from darkroom.data.bands import network_values
from darkroom.data.decoding.tiles import Box
from darkroom.data.pack import Pack
from darkroom.data.resizing import with_channels
from darkroom.input.albumentations import ArrayTransform
from darkroom.input.augment import Augmentation
from darkroom.input.transform_checks import check_deterministic, check_suitable
from darkroom.input.transforms import transform_image
from darkroom.models.preprocessing import Preprocessing

KEY = "train.preprocess"


class Preprocess:
    """Applies the transforms to one image at a time, as it is stored and before it is fitted to the network's size.

    Threads may not share it: transforms of other libraries keep state while they run.

    Parameters
    ----------
    transforms
        In order.
    channels
        Of the network: they see images of as many, whether a file is grey or RGB.
    """

    def __init__(self, transforms: Sequence[Any], channels: int):
        self.transforms, self.channels = transforms, channels

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image (h, w, C) of an image (H, W, C), both uint8, or float32 as the network sees them."""
        image = np.ascontiguousarray(with_channels(image, self.channels))
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        for transform in self.transforms:
            tensor = transform_image(transform, tensor, 0, KEY)
        return tensor.permute(1, 2, 0).numpy()


def build_preprocess(params: Params, *, channels: int, dtype: str) -> Preprocess | None:
    """Build the transforms of `train.preprocess`; None if there are none.

    Parameters
    ----------
    params
        All of params.yaml.
    channels, dtype
        Of the network's images.

    Raises
    ------
    InputError
        If one cannot be built, is random, or does not take such images.
    """
    if not params.train.preprocess:
        return None
    # Augmentations only to say what is wrong with them.
    builder = Builder(KEY, (Augmentation, nn.Module, ArrayTransform), params.base.allow_targets)
    transforms = [builder.build(target) for target in params.train.preprocess]
    check_suitable(transforms, KEY, channels=channels, dtype=dtype)
    check_deterministic(transforms, KEY, channels=channels, dtype=dtype)
    return Preprocess(transforms, channels)


def published_preprocess(params: Params, seen: Preprocessing, where: str) -> Preprocess | None:
    """Build the transforms of a published model; they are named by params.yaml, never by the model, so that it runs no code.

    Raises
    ------
    InputError
        If params.yaml names others.
    """
    if not seen.steps:
        return None  # whatever params.yaml says of the next training
    if seen.steps != params.train.preprocess:
        raise InputError(
            f"{where}: was trained with train.preprocess {_shown(seen.steps)}, but params.yaml has "
            f"{_shown(params.train.preprocess)}; set it to what it was"
        )
    return build_preprocess(params, channels=seen.channels, dtype=seen.dtype)


class ImageReader:
    """Reads images of a pack as the network sees them before they are augmented and fitted to its size.

    Parameters
    ----------
    pack
        The images.
    preprocess
        Applied to each of them.
    """

    def __init__(self, pack: Pack, preprocess: Preprocess | None = None):
        self.pack, self.preprocess = pack, preprocess

    def __call__(self, row: int, side: int | None = None) -> NDArray[Any]:
        """Return an image (H, W, C); it may be smaller if `side`, the shorter side to resize to, is given."""
        if self.preprocess is None:
            return network_values(self.pack.read(row, side))
        return self.preprocess(network_values(self.pack.read(row)))

    def size_at(self, row: int, side: int | None) -> tuple[int, int] | None:
        """Return the height and width of an image as it is read; None if only reading it tells."""
        return self.pack.size_at(row, side) if self.preprocess is None else None

    def part(self, row: int, box: Box) -> NDArray[Any]:
        """Return a rectangle of an image whose size is known without reading it, (height, width, C)."""
        return network_values(self.pack.read_part(row, box))


def _shown(steps: Sequence[Target]) -> str:
    return str([step.model_dump(by_alias=True) for step in steps]).replace("'", "")
