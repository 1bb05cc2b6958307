"""Transforms with the interface of albumentations, on arrays in place of tensors."""

import inspect
import random
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class ArrayTransform(ABC):
    """A transform with the interface of albumentations: `transform(image=image)["image"]`, images (H, W, C) uint8.

    It is recognised by a `__call__` that takes `image` or any keyword; it need not be a subclass of this class.
    """

    @abstractmethod
    def __call__(self, *, image: Any) -> Any:
        """Return a mapping whose `image` is the transformed image."""

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        call = next((vars(base)["__call__"] for base in other.__mro__ if "__call__" in vars(base)), None)
        if cls is not ArrayTransform or not inspect.isfunction(call) or issubclass(other, nn.Module):
            return False
        taken = inspect.signature(call).parameters.values()
        return any(one.kind is one.VAR_KEYWORD or (one.name == "image" and one.kind is not one.VAR_POSITIONAL) for one in taken)


def transform_array(transform: ArrayTransform, image: Tensor, seed: int) -> Any:
    """Apply a transform to an image (C, H, W) uint8; a result (h, w, C) or (h, w) becomes a tensor (C, h, w).

    Its own generators are seeded. All transforms of a `Compose` share them: with one seed each, they would draw the same
    numbers, and an image would be flipped both ways or not at all.
    """
    own: Any = transform
    if hasattr(own, "set_random_state"):
        own.set_random_state(np.random.default_rng(seed), random.Random(seed))
    elif hasattr(own, "set_random_seed"):
        own.set_random_seed(seed)
    made = own(image=np.ascontiguousarray(image.permute(1, 2, 0).numpy()))["image"]
    if not isinstance(made, np.ndarray):
        return made
    array = torch.from_numpy(np.ascontiguousarray(made[..., None] if made.ndim == 2 else made))
    return array.permute(2, 0, 1) if array.ndim == 3 else array
