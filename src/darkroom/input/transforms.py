"""Applying transforms of other libraries to single images, and looking into compositions of them. C channels, H by W pixels."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError, described
from darkroom.input.albumentations import ArrayTransform, transform_array


def transform_image(transform: Any, image: Tensor, seed: int, key: str) -> Tensor:
    """Apply a transform of another library to an image (C, H, W), with the global generators it draws from seeded.

    Parameters
    ----------
    transform
        Of tensors, or an `ArrayTransform`.
    image
        uint8 or float32.
    seed
        For this image.
    key
        Key of params.yaml, for error messages.

    Raises
    ------
    InputError
        If it fails, or returns anything but an image (C, h, w) of the same type.
    """
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    where = f"params.yaml: {key}: {type(transform).__name__}"
    try:
        is_for_arrays = isinstance(transform, ArrayTransform)
        made = transform_array(transform, image, seed) if is_for_arrays else transform(image.contiguous())
    except Exception as error:
        raise InputError(f"{where} fails on an image ({described(error)}); correct or remove it") from error
    if not (isinstance(made, Tensor) and made.dtype == image.dtype and made.ndim == 3):
        found = f"a {made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else made
        raise InputError(
            f"{where} returns {found}, not {str(image.dtype).removeprefix('torch.')} (channels, height, width); "
            "remove conversion and normalisation, which the network does itself"
        )
    return made


def leaves(transform: Any) -> Iterator[Any]:
    """Yield the transforms in a composition of torchvision or albumentations, or the transform itself."""
    inner = list(transform.children()) if isinstance(transform, nn.Sequential) else getattr(transform, "transforms", None)
    if isinstance(inner, list | tuple | nn.ModuleList):
        for each in inner:
            yield from leaves(each)
    else:
        yield transform
