"""Counts and statistics of the data; NumPy only. N images, K classes, S splits, B bins, M pairs of duplicates."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

SPLITS = ("train", "val", "test", "left_out")
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}
# Bounds of the longer side over the shorter one: square, 4:3 screens, 35 mm film, phones, panoramas.
RATIOS = (1, 4 / 3, 3 / 2, 2, 3)
LANDSCAPE = ("square", "1:1 to 4:3", "4:3 to 3:2", "3:2 to 2:1", "2:1 to 3:1", "over 3:1")
PORTRAIT = ("3:4 to 1:1", "2:3 to 3:4", "1:2 to 2:3", "1:3 to 1:2", "under 1:3")
SHAPES = (*reversed(PORTRAIT), *LANDSCAPE)


class Contents(NamedTuple):
    """The images, and their splits.

    Attributes
    ----------
    classes : K str
    labels : (N,) int64, or (N, K) uint8
        Index of the class; for multi-label data 1 for each class of an image.
    splits : (N,) str
        One of `SPLITS`.
    sizes : (N, 2) int32
        Height and width.
    ids : N str
    pairs : (M, 2) int64
        Rows of images that are identical or nearly so.
    distances : (M,) int64
        Number of bits in which their perceptual hashes differ; -1 where the pixels are equal.
    mean, std : (C,) float64
        Mean and standard deviation of the pixels of training images, scaled to 0..1, by channel.
    num_measured
        Number of training images that mean and std were measured on.
    read_image
        Given a row, returns the image as (H, W, C) uint8.
    """

    classes: Sequence[str]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    splits: NDArray[np.str_]
    sizes: NDArray[np.int32]
    ids: Sequence[str]
    pairs: NDArray[np.int64]
    distances: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_measured: int
    read_image: Callable[[int], NDArray[np.uint8]]


class Histogram(NamedTuple):
    """Images in bins.

    Attributes
    ----------
    bins : B str
        Names of the bins, in order.
    places : B int
        Sort keys of the bins, comparable between histograms.
    counts : (B, S) int64
        Number of images of each split.
    """

    bins: Sequence[str]
    places: Sequence[int]
    counts: Counts


def count_images(contents: Contents) -> list[int]:
    """Return the number of images in each of the S splits."""
    return [int((contents.splits == split).sum()) for split in SPLITS]


def count_classes(contents: Contents) -> Counts:
    """Return the number of images (K, S) of every class in every split."""
    if contents.labels.ndim == 2:
        return np.stack([contents.labels[contents.splits == split].sum(axis=0, dtype=np.int64) for split in SPLITS], axis=1)
    return _count(contents, contents.labels, len(contents.classes))


def histogram_of_sizes(contents: Contents) -> Histogram:
    """Count images by their shorter side in pixels: four bins from each power of two to the next, the same for every set."""
    sides = contents.sizes.min(axis=1)
    starts = [int(_start_of_bin(sides.min()))]
    while (following := starts[-1] + int(_width_of_bin(starts[-1]))) <= sides.max():
        starts.append(following)
    widths = _width_of_bin(starts).tolist()
    names = [str(start) if width == 1 else f"{start} to {start + width - 1}" for start, width in zip(starts, widths, strict=True)]
    return Histogram(names, starts, _count(contents, np.searchsorted(starts, _start_of_bin(sides)), len(starts)))


def histogram_of_shapes(contents: Contents) -> Histogram:
    """Count images by width to height, from the narrowest to the widest; empty bins are included."""
    height, width = contents.sizes.T
    steps = np.searchsorted(RATIOS, np.maximum(height, width) / np.minimum(height, width))
    places = len(PORTRAIT) + np.where(width < height, -steps, steps)
    return Histogram(SHAPES, range(len(SHAPES)), _count(contents, places, len(SHAPES)))


def notable_pairs(contents: Contents) -> NDArray[np.intp]:
    """Return the order (M,) of pairs: first those with different labels, then those across splits, then the most similar."""
    kinds = (contents.distances, ~are_across_splits(contents), ~have_two_labels(contents))
    return np.lexsort(kinds)


def have_two_labels(contents: Contents) -> NDArray[np.bool_]:
    """Return which pairs (M,) have different labels."""
    differ: NDArray[np.bool_] = contents.labels[contents.pairs[:, 0]] != contents.labels[contents.pairs[:, 1]]
    return differ if differ.ndim == 1 else np.any(differ, axis=1)


def class_names(contents: Contents, row: int) -> str:
    """Return the name of an image's class, or the names of its classes."""
    label = contents.labels[row]
    chosen = [int(label)] if label.ndim == 0 else np.flatnonzero(label).tolist()
    return ", ".join(contents.classes[each] for each in chosen) or "none"


def are_across_splits(contents: Contents) -> NDArray[np.bool_]:
    """Return which pairs (M,) are in two splits, both of which are used."""
    first, second = contents.splits[contents.pairs].T
    across: NDArray[np.bool_] = (first != second) & (first != "left_out") & (second != "left_out")
    return across


def channel_names(dataset: dict[str, Any], count: int) -> Sequence[str]:
    """Return the names of the channels; bands have the numbers that they have in the file."""
    bands = dataset.get("bands")
    return CHANNELS[count] if bands is None else [f"band {number}" for number in bands["chosen"] or range(count)]


def numbers(contents: Contents, dataset: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    """Return the content of numbers.json, by which `dvc metrics` compares two versions of the data.

    `imbalance` is the size of the largest class in train over that of the smallest.

    Parameters
    ----------
    contents
        The images.
    dataset, split
        The contents of dataset.json and split.json.
    """
    counts, shorter = count_classes(contents), contents.sizes.min(axis=1)
    train = counts[:, 0]
    channels = channel_names(dataset, len(contents.mean))
    return {
        "images": dict(zip(SPLITS, count_images(contents), strict=True)),
        "classes": len(contents.classes),
        "imbalance": round(float(train.max() / max(1, train.min())), 4),
        "shorter_side": {"smallest": int(shorter.min()), "median": float(np.median(shorter)), "largest": int(shorter.max())},
        # Rounded: the last bits differ between machines.
        "mean": {name: round(value, 6) for name, value in zip(channels, contents.mean.tolist(), strict=True)},
        "std": {name: round(value, 6) for name, value in zip(channels, contents.std.tolist(), strict=True)},
        "duplicates": split["duplicates"],
        "skipped": len(dataset["skipped"]),
        "converted": dataset["converted"],
    }


def _count(contents: Contents, bins: NDArray[Any], num_bins: int) -> Counts:
    """Count images by bin (N,) and split: (B, S)."""
    return np.stack([np.bincount(bins[contents.splits == split], minlength=num_bins) for split in SPLITS], axis=1)


def _width_of_bin(sides: Any) -> NDArray[np.int64]:
    """Return a quarter of the largest power of two that is not above each side, but at least one pixel."""
    exponents = np.frexp(sides)[1].astype(np.int64) - 1
    widths: NDArray[np.int64] = np.left_shift(1, np.maximum(exponents - 2, 0))
    return widths


def _start_of_bin(sides: Any) -> NDArray[np.int64]:
    width = _width_of_bin(sides)
    starts: NDArray[np.int64] = np.asarray(sides) // width * width
    return starts
