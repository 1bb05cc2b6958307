"""The files of data/raw as arrays: verified, and mapped into memory."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.data.bands import STORED

FORMATS = ("raw", "encoded")
Images = NDArray[Any] | list[NDArray[np.uint8]]
"""Pixels (N, H, W, C), or one array of bytes for each shard."""


def numbers(column: Any) -> NDArray[Any]:
    """Return a column of numbers without copying; `to_numpy` would import pandas, which takes 0.3 s."""
    return np.from_dlpack(column.combine_chunks())


def verify_files(directory: Path, recorded: dict[str, str]) -> None:
    """Raise `ValueError` if a file does not have the SHA-256 that is recorded."""
    for name, digest in recorded.items():
        if files.sha256(directory / name) != digest:
            raise ValueError(f"{name} does not have the SHA-256 that dataset.json records")


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        images: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (tokenize.TokenError, SyntaxError, OverflowError) as error:  # the header is a Python literal
        raise ValueError(f"{path.name} has no readable header ({error})") from error
    return images


def map_images(directory: Path, dataset: dict[str, Any], shard_name: str) -> Images:
    """Return the pixels (N, H, W, C), or one array of bytes for each shard."""
    if dataset["format"] not in FORMATS:
        raise ValueError(f"dataset.json has the unknown format {dataset['format']!r}")
    # As a plain array: indexing a memmap returns a memmap, which is slower.
    if "images.npy" not in dataset["files"]:
        names = [shard_name.format(number) for number in range(len(dataset["files"]) - 1)]
        return [np.asarray(np.memmap(directory / name, np.uint8, mode="r")) for name in names]
    images = _load_npy(directory / "images.npy")
    if images.ndim != 4 or images.dtype.str not in STORED.values():
        raise ValueError(f"images.npy holds {images.dtype} of shape {images.shape}")
    return np.asarray(images)
