"""Images and labels as Python has them: data sets of torch, arrays, tensors, images of Pillow. N images, C channels."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from darkroom.base.errors import InputError, described
from darkroom.data.images import ImageArray
from darkroom.data.listing import Example


@runtime_checkable
class LabelledImages(Protocol):
    """A data set in torch's sense: any object with a length that returns an image and its label by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Return an image and its label.

        The image is of Pillow, an array (H, W) or (H, W, C) or a tensor (C, H, W), in uint8 or in floats from 0 to 1 that are
        multiples of 1/255, as `ToTensor` returns them. The label is the number or the name of a class, or a list of names.
        """


Data = LabelledImages | tuple[Any, Any]
"""A data set, or images (N, …) and N labels in two arrays, tensors or lists."""


def examples_of(part: str, data: Data, classes: Sequence[str] | None) -> Iterator[Example]:
    """Yield the examples of a data set; `part` is their split, and `classes` names labels that are numbers.

    Raises
    ------
    InputError
        Naming what is no label.
    """
    both = isinstance(data, tuple)
    if both and len(data[0]) != len(data[1]):
        raise InputError(f"{part}: has {len(data[0])} images and {len(data[1])} labels; give one label for each image")
    for number in range(len(data[0] if both else data)):
        label = data[1][number] if both else _item(data, number, part)[1]
        read = partial(_read, data[0] if both else data, number, labelled=not both)
        yield Example(f"{part}/{number:08d}", read, _label(label, classes, part), part)


def _item(data: Any, number: int, part: str) -> Any:
    """Return an image with its label; an error of the data set is one line."""
    try:
        item = data[number]
    except Exception as error:
        raise InputError(f"{part}: item {number} cannot be read ({described(error)}); correct the data set") from error
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise InputError(f"{part}: item {number} is no image with a label; let the data set return (image, label)")
    return item


def _read(images: Any, number: int, *, labelled: bool) -> ImageArray:
    return pixels(images[number][0] if labelled else images[number])


def _label(label: Any, classes: Sequence[str] | None, part: str) -> str | list[str]:
    if isinstance(label, str):
        return label
    if isinstance(label, list | tuple):
        return [str(_label(each, classes, part)) for each in label]
    try:
        number = int(label)
        if number != label:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{part}: {label!r:.60} is no label; give a class by number or name, or a list of names") from None
    if classes is None:
        return str(number)
    if not 0 <= number < len(classes):
        raise InputError(f"{part}: the label {number} is none of the {len(classes)} classes; correct it, or classes")
    return classes[number]


def pixels(image: Any) -> ImageArray:
    """Return an image as (H, W) or (H, W, C) uint8.

    Parameters
    ----------
    image
        Of Pillow, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W); floats are multiples of 1/255 from 0 to 1.

    Raises
    ------
    InputError
        If it has other values, so that bytes cannot hold it.
    """
    if hasattr(image, "movedim"):  # a tensor, without importing torch
        array = np.asarray((image.movedim(0, -1) if image.ndim == 3 else image).detach().cpu())
    elif hasattr(image, "convert"):
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    else:
        array = np.asarray(image)
    if not array.size:
        raise InputError("images: one has no pixels; leave it out")
    if np.issubdtype(array.dtype, np.floating):
        scaled = array.astype(np.float64) * 255
        array = np.rint(scaled)
        if not (np.abs(scaled - array) < 1e-3).all() or array.min() < 0 or array.max() > 255:
            raise InputError("images: hold floats other than multiples of 1/255 from 0 to 1; give uint8, before normalisation")
        array = array.astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise InputError(f"images: are {array.dtype} of {array.ndim} dimensions; give uint8 (H, W) or (H, W, C)")
    return np.ascontiguousarray(array)
