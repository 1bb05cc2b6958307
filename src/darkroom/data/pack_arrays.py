"""The files of data/raw as arrays: verified, and mapped into memory."""

import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.data.bands import STORED

FORMATS = ("raw", "encoded")


class Shards:
    """Images one behind the other in some files: of each, the number of its file, where it begins there, and its bytes."""

    def __init__(self, files: list[NDArray[np.uint8]], index: Any):
        self.files = files
        self.numbers, self.offsets, self.lengths = (numbers(index[name]) for name in ("shard", "offset", "length"))

    def content(self, row: int) -> NDArray[np.uint8]:
        """Return the bytes of an image in the mapped file."""
        start = self.offsets[row]
        content: NDArray[np.uint8] = self.files[self.numbers[row]][start : start + self.lengths[row]]
        return content

    def are_complete(self, sizes: Sequence[NDArray[np.int64]]) -> bool:
        """Return whether the places in the index are inside the files and reach their ends, and images have one of the sizes.

        `sizes`: the possible numbers of bytes of each image; none: any.
        """
        if sizes and not np.any([self.lengths == each for each in sizes], axis=0).all():
            return False
        if not ((self.offsets >= 0).all() and (self.numbers >= 0).all() and (self.numbers < len(self.files)).all()):
            return False
        ends = np.zeros(len(self.files), np.int64)
        np.maximum.at(ends, self.numbers, self.offsets + self.lengths)
        return ends.tolist() == [len(file) for file in self.files]


Images = NDArray[Any] | Shards
"""Pixels (N, H, W, C), or files."""


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


def map_images(directory: Path, dataset: dict[str, Any], index: Any, shard_name: str) -> Images:
    """Return the pixels (N, H, W, C), or the files and the places in them that the index names."""
    if dataset["format"] not in FORMATS:
        raise ValueError(f"dataset.json has the unknown format {dataset['format']!r}")
    # As a plain array: indexing a memmap returns a memmap, which is slower.
    if "images.npy" not in dataset["files"]:
        names = [shard_name.format(number) for number in range(len(dataset["files"]) - 1)]
        return Shards([np.asarray(np.memmap(directory / name, np.uint8, mode="r")) for name in names], index)
    images = _load_npy(directory / "images.npy")
    if images.ndim != 4 or images.dtype.str not in STORED.values():
        raise ValueError(f"images.npy holds {images.dtype} of shape {images.shape}")
    return np.asarray(images)
