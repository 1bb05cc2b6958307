"""Which transforms suit the images, tried on a few made-up ones before anything is trained. C channels, H by W pixels."""

import copy
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
# What transforms call the values that they fill in.
FILLINGS = ("fill", "value", "fill_value", "cval", "mask_value", "fill_mask")
# After these, images in a composition have another scale.
CONVERTING = ("ToDtype", "ConvertImageDtype", "ToTensor", "ToFloat")
SIZE, LARGE = (48, 40), (640, 640)
TRIES = 4
# A plain grey image, and how far from 0 noise of normalised images reaches.
PLAIN, AROUND = 100, 7


def check_suitable(transforms: Sequence[Any], key: str, *, channels: int, dtype: str) -> None:
    """Refuse what normalises, what draws or fills in values of another scale, and what does not take images of this kind.

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
        if dtype == "uint8" and channels in (1, 3) and not isinstance(transform, Augmentation):
            parts = list(leaves(transform))
            if any(type(leaf).__name__ in CONVERTING for leaf in parts):
                parts = [transform]
            with _generators_kept():
                for part in parts:
                    _check_fillings(part, key)
                    _check_drawn(part, key, channels)


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
    leaf = _always(leaf)
    try:
        for image, made in _tried(leaf, channels, dtype, key):
            _check_values(image, made)
    except Exception as error:
        reason = str(error).removeprefix(f"params.yaml: {key}: {name} ").partition("; ")[0]
        raise InputError(f"params.yaml: {key}: {name}: does not take images of {kind} ({reason}); remove it") from error


def _check_fillings(leaf: Any, key: str) -> None:
    for attribute in FILLINGS:
        filling = getattr(leaf, attribute, None)
        values = filling.values() if isinstance(filling, dict) else [filling]
        for value in (each for one in values for each in (one if isinstance(one, list | tuple) else [one])):
            if isinstance(value, float) and (not value.is_integer() or not 0 <= value <= 255):
                where = f"params.yaml: {key}: {type(leaf).__name__}: {attribute}"
                raise InputError(f"{where}: {value:g} is no value of these images, which have 0 to 255; set a whole number")


def _check_drawn(transform: Any, key: str, channels: int) -> None:
    """Refuse a transform that fails on bytes, or draws numbers around 0: 0, 1, 2 and, as bytes wrap around, 253, 254, 255."""
    name = type(transform).__name__
    transform = _always(transform)
    drawn: set[int] = set()
    for seed in range(TRIES):
        made = _of_plain(transform, seed, key, channels)
        drawn |= set(np.unique(made.numpy()).tolist()) - {PLAIN}
    low, high = drawn & set(range(AROUND)), drawn & set(range(256 - AROUND, 256))
    if drawn == low | high and low and high and len(drawn) > 2:
        raise InputError(
            f"params.yaml: {key}: {name}: draws numbers around 0, for floating-point images; these have 0 to 255, and would get "
            f"{', '.join(map(str, sorted(drawn)))}; set it to a fixed value, or remove it"
        )


def _of_plain(transform: Any, seed: int, key: str, channels: int) -> Tensor:
    """Return what a transform makes of a plain image; of a large one if it cuts more than the small one has."""
    try:
        return transform_image(transform, torch.full((channels, *SIZE), PLAIN, dtype=torch.uint8), seed, key)
    except InputError:
        return transform_image(transform, torch.full((channels, *LARGE), PLAIN, dtype=torch.uint8), seed, key)


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Bring the global generators, which transforms draw from, back to where they were; warnings come with use."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def _always(transform: Any) -> Any:
    """Return a copy of a transform that is applied to every image, with all that are in it."""
    transform = copy.deepcopy(transform)
    for each in (transform, *leaves(transform)):
        for probability in ("p", "probability"):
            if isinstance(getattr(each, probability, None), int | float):
                setattr(each, probability, 1.0)
    return transform


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
