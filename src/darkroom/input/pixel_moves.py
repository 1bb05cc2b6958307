"""Shifting and mirroring batches of images: in NumPy on the CPU, by index on any device, with the same bits; and resizing parts.

N images, C channels, H by W pixels.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from darkroom.data.decoding.tiles import Box
from darkroom.data.resizing import Size, height_and_width

# Larger images are mirrored one after the other, which is faster.
MOST_VALUES_AT_ONCE = 3 * 64**2


def shift_in_numpy(images: Tensor, start: Tensor, pixels: int) -> Tensor:
    """Return images (N, C, H, W), each shifted by `pixels` minus its own `start` (N, 2), from 0 to 2 * pixels."""
    # NumPy copies rows of pixels; torch would copy single numbers, ten times as slowly.
    padded = repeat_border(images.permute(0, 2, 3, 1).numpy(), pixels)
    windows = sliding_window_view(padded, images.shape[2:], axis=(1, 2))  # N 2P+1 2P+1 C H W
    moved = windows[np.arange(len(images)), start[:, 0].numpy(), start[:, 1].numpy()]  # N C H W
    return torch.from_numpy(moved).contiguous(memory_format=torch.channels_last)


def repeat_border(images: NDArray[Any], pixels: int) -> NDArray[Any]:
    """Return images (N, H, W, C) with their border repeated on all sides, in two thirds of the time of `numpy.pad`."""
    count, height, width, channels = images.shape
    bottom, right = pixels + height, pixels + width
    padded = np.empty((count, bottom + pixels, right + pixels, channels), images.dtype)
    padded[:, pixels:bottom, pixels:right] = images
    padded[:, pixels:bottom, :pixels] = images[:, :, :1]
    padded[:, pixels:bottom, right:] = images[:, :, -1:]
    padded[:, :pixels] = padded[:, pixels : pixels + 1]
    padded[:, bottom:] = padded[:, bottom - 1 : bottom]
    return padded


def shift_by_index(images: Tensor, start: Tensor, pixels: int) -> Tensor:
    """Return the same on any device, by indexing every pixel."""
    count, _, height, width = images.shape
    numbers = partial(torch.arange, device=images.device)
    rows = (numbers(height) + start[:, :1] - pixels).clamp(0, height - 1)  # N H
    columns = (numbers(width) + start[:, 1:] - pixels).clamp(0, width - 1)  # N W
    pixel_rows = images.permute(0, 2, 3, 1)
    return pixel_rows[numbers(count)[:, None, None], rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def mirror_in_numpy(images: Tensor, is_kept: Tensor) -> Tensor:
    """Return images (N, C, H, W) mirrored left to right, except those that are kept, (N,) bool."""
    if images[0].numel() > MOST_VALUES_AT_ONCE:
        made = torch.empty_like(images)
        for place, image, stays in zip(made, images, is_kept.tolist(), strict=True):
            place.copy_(image if stays else image.flip(-1))
        return made
    mirrored = images.flip(-1)
    # NumPy copies whole images, where torch.where would select byte by byte.
    mirrored.permute(0, 2, 3, 1).numpy()[is_kept.numpy()] = images.permute(0, 2, 3, 1).numpy()[is_kept.numpy()]
    return mirrored


def mirror_by_choice(images: Tensor, is_kept: Tensor) -> Tensor:
    """Return the same on any device."""
    return torch.where(is_kept[:, None, None, None], images, images.flip(-1))


def cut_out(image: NDArray[Any], box: Box) -> NDArray[Any]:
    """Return a rectangle of an image (H, W, C)."""
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def resized_cuts(cuts: Iterable[NDArray[Any]], count: int, size: Size, made: Tensor | None = None) -> Tensor:
    """Return rectangles (h, w, C) of images in another size, (count, C, height, width), bilinear with antialiasing.

    They are written to `made`, and that is returned, if it has their channels and type and lies in memory with the channels last.
    """
    # functional.interpolate calls this, but cannot write to a place.
    resize: Any = torch._C._nn._upsample_bilinear2d_aa
    for number, cut in enumerate(cuts):
        if number == 0:
            made = _room_for(cut, count, size, made)
        assert made is not None
        # Torch itself would copy what is not one block of memory, in twice the time.
        image = torch.from_numpy(np.ascontiguousarray(cut)[None]).permute(0, 3, 1, 2)
        resize(image, made.shape[2:], False, None, None, out=made[number : number + 1])
    return torch.empty(0) if made is None else made


def _room_for(cut: NDArray[Any], count: int, size: Size, made: Tensor | None) -> Tensor:
    """Return `made`, or a new tensor if it does not suit."""
    dtype, shape = torch.from_numpy(cut[:0]).dtype, (count, cut.shape[2], *height_and_width(size))
    if made is not None and (made.dtype, made.shape) == (dtype, shape) and made.permute(0, 2, 3, 1).is_contiguous():
        return made
    return torch.empty(count, *shape[2:], shape[1], dtype=dtype).permute(0, 3, 1, 2)
