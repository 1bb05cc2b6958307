"""The two forms of labels: one class per image, (N,) int64, its index; any number of them, (N, K) uint8, 1 for each of them."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64] | NDArray[np.uint8]
"""Class indices (N,) int64, or (N, K) uint8 in a multilabel set."""
SEPARATOR = "; "


def is_multilabel(labels: Labels) -> TypeGuard[NDArray[np.uint8]]:
    """Return whether images have any number of classes."""
    return labels.ndim == 2


def count_labels(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return the number (K,) of images of each class."""
    if is_multilabel(labels):
        counts: NDArray[np.int64] = labels.sum(axis=0, dtype=np.int64)
        return counts
    return np.bincount(labels.astype(np.int64), minlength=num_classes)


def indices(labels: Labels) -> list[list[int]]:
    """Return the classes of each image, ascending."""
    if not is_multilabel(labels):
        return [[label] for label in labels.tolist()]
    rows, columns = np.nonzero(labels)
    return [part.tolist() for part in np.split(columns, np.searchsorted(rows, np.arange(1, len(labels))))] if len(labels) else []


def names(labels: Labels, classes: Sequence[str]) -> list[str]:
    """Return the class names of each image in one text, empty for none."""
    return [SEPARATOR.join(classes[label] for label in each) for each in indices(labels)]


def multi_hot(each: Sequence[Sequence[int]], num_classes: int) -> NDArray[np.uint8]:
    """Return lists of classes as (N, K) uint8."""
    labels = np.zeros((len(each), num_classes), np.uint8)
    counts = [len(one) for one in each]
    flat: Any = [label for one in each for label in one]
    labels[np.repeat(np.arange(len(each)), counts), np.array(flat, np.int64)] = 1
    return labels
