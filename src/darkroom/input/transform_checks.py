"""Which transforms suit the images, tried on a few made-up ones before anything is trained. C channels, H by W pixels."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkroom.base.errors import InputError
from darkroom.input.augment import Augmentation, BatchAugmentation, ImageAugmentation
from darkroom.input.transforms import leaves, transform_image

# What the network does itself.
NORMALISING = ("Normalize", "ToFloat", "FromFloat")
# They know colours or 8 bits only, but may try something on other images, or do so only in one case of many.
COLOURS = (
    *("RandomColor", "ColorJitter", "RandomPhotometricDistort", "RandomGrayscale", "HueSaturationValue", "PlanckianJitter"),
    *("RandAugment", "TrivialAugmentWide", "AutoAugment", "AugMix"),
)
SIZE = (48, 40)
TRIES = 4


def check_suitable(transforms: Sequence[Any], key: str, *, channels: int, dtype: str) -> None:
    """Refuse what normalises, and what does not take images of this number of channels and type of values.

    Parameters
    ----------
    transforms
        Those of a list of params.yaml.
    key
        Of the list.
    channels, dtype
        Of the images: grey and RGB of uint8 suit every transform.

    Raises
    ------
    InputError
        Naming the transform.
    """
    for transform in transforms:
        for leaf in leaves(transform):
            name = type(leaf).__name__
            if name in NORMALISING:
                raise InputError(f"params.yaml: {key}: {name}: is what the network does itself, for every image; delete it")
            if channels not in (1, 3) or dtype != "uint8":
                _check_bands(leaf, name, key, channels, dtype)


def check_deterministic(transforms: Sequence[Any], key: str, *, channels: int, dtype: str) -> None:
    """Refuse transforms that draw random numbers: the same image must always become the same.

    Raises
    ------
    InputError
        Naming the transform.
    """
    advice = "move it to train.augment"
    for transform in transforms:
        for leaf in leaves(transform):
            name, probability = type(leaf).__name__, getattr(leaf, "p", 1)
            if isinstance(leaf, Augmentation):
                raise InputError(f"params.yaml: {key}: {name}: is random; {advice}")
            if isinstance(probability, int | float) and probability != 1:
                raise InputError(
                    f"params.yaml: {key}: {name}: is applied to some images only (p: {probability}); set p: 1, or {advice}"
                )
        (image,) = _images(channels, dtype, 1)
        first, *others = (transform_image(transform, image, seed, key) for seed in range(TRIES))
        if any(other.shape != first.shape or not torch.equal(other, first) for other in others):
            raise InputError(f"params.yaml: {key}: {type(transform).__name__}: is random; {advice}")
        if len(first) not in (1, channels):
            raise InputError(
                f"params.yaml: {key}: {type(transform).__name__}: makes {len(first)} channels of {channels}; remove it"
            )


def _check_bands(leaf: Any, name: str, key: str, channels: int, dtype: str) -> None:
    """Try a transform, always applied, on images of bands."""
    kind = f"{channels} band{'s' if channels > 1 else ''} of {dtype}"
    if name in COLOURS:
        raise InputError(f"params.yaml: {key}: {name}: is for 8-bit grey and RGB, but the images have {kind}; remove it")
    leaf = copy.deepcopy(leaf)
    if isinstance(getattr(leaf, "p", None), int | float):
        leaf.p = 1.0
    try:
        for image, made in _tried(leaf, channels, dtype, key):
            _check_values(image, made)
    except Exception as error:
        reason = str(error).removeprefix(f"params.yaml: {key}: {name} ").partition("; ")[0]
        raise InputError(f"params.yaml: {key}: {name}: does not take images of {kind} ({reason}); remove it") from error


def _tried(leaf: Any, channels: int, dtype: str, key: str) -> Iterator[tuple[Tensor, Tensor]]:
    images = _images(channels, dtype, TRIES)
    numbers = np.random.default_rng(0)
    for seed, image in enumerate(images):
        if isinstance(leaf, BatchAugmentation):
            yield image, leaf(images, torch.from_numpy(numbers.random((TRIES, leaf.num_random), np.float32)))[seed]
        elif isinstance(leaf, ImageAugmentation):
            yield image, leaf(image, numbers.random(leaf.num_random, np.float32), 32)
        else:
            yield image, transform_image(leaf, image, seed, key)


def _check_values(image: Tensor, made: Tensor) -> None:
    if made.dtype != image.dtype or len(made) != len(image):
        raise ValueError(f"it returns {len(made)} bands of {str(made.dtype).removeprefix('torch.')}")
    if image.min() < -1 and made.min() >= 0 and made.max() <= 1:
        raise ValueError("it clips values to 0..1")


def _images(channels: int, dtype: str, count: int) -> Tensor:
    """Return noise (count, C, H, W) as the network sees images of this type."""
    numbers, shape = np.random.default_rng(0), (count, *SIZE, channels)
    match dtype:
        case "uint8":
            values = numbers.integers(0, 256, shape, np.uint8)
        case "uint16":
            values = numbers.random(shape, np.float32)
        case _:
            values = 10 * numbers.standard_normal(shape, np.float32)
    return torch.from_numpy(values).permute(0, 3, 1, 2)
