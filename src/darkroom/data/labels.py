"""Labels in two forms: class indices (N,) int64, or in a multilabel set (N, K) uint8 with 1 for every class of an image."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64] | NDArray[np.uint8]
"""Class indices (N,) int64, or (N, K) uint8 in a multilabel set."""
SEPARATOR = "; "
# Characters without a width: marks of direction, soft hyphens, byte order marks; joiners, which some scripts need within words.
INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
IDLE_JOINER = re.compile(r"(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")


def clean_name(name: str) -> str:
    """Return the name of a class or group in the one spelling of all that look the same.

    Accents are composed (NFC; in file names of macOS they are characters of their own), what has no width is left out, and
    spaces of any kind become one.
    """
    return " ".join(IDLE_JOINER.sub("", INVISIBLE.sub("", unicodedata.normalize("NFC", name))).split())


def twins(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that differ in capitals alone."""
    first: dict[str, str] = {}
    return [(known, name) for name in classes if (known := first.setdefault(name.casefold(), name)) != name]


def is_multilabel(labels: Labels) -> TypeGuard[NDArray[np.uint8]]:
    """Return whether an image may have any number of classes."""
    return labels.ndim == 2


def count_labels(labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return the number of images of each class, (K,) int64."""
    if is_multilabel(labels):
        counts: NDArray[np.int64] = labels.sum(axis=0, dtype=np.int64)
        return counts
    return np.bincount(labels.astype(np.int64), minlength=num_classes)


def indices(labels: Labels) -> list[list[int]]:
    """Return the class indices of each image, ascending."""
    if not is_multilabel(labels):
        return [[label] for label in labels.tolist()]
    rows, columns = np.nonzero(labels)
    return [part.tolist() for part in np.split(columns, np.searchsorted(rows, np.arange(1, len(labels))))] if len(labels) else []


def names(labels: Labels, classes: Sequence[str]) -> list[str]:
    """Return the class names of each image as one text, empty if it has none."""
    return [SEPARATOR.join(classes[label] for label in each) for each in indices(labels)]


def multi_hot(each: Sequence[Sequence[int]], num_classes: int) -> NDArray[np.uint8]:
    """Return N lists of class indices as (N, K) uint8."""
    labels = np.zeros((len(each), num_classes), np.uint8)
    counts = [len(one) for one in each]
    flat: Any = [label for one in each for label in one]
    labels[np.repeat(np.arange(len(each)), counts), np.array(flat, np.int64)] = 1
    return labels


def labels_from_arrow(column: Any, num_classes: int, *, multilabel: bool) -> Labels:
    """Return a column of class indices, or of lists of them, as labels.

    Raises
    ------
    ValueError
        If an index is not below `num_classes`.
    """
    values: Any = column.combine_chunks()
    # from_dlpack, since `to_numpy` would import pandas, which takes 0.3 s.
    flat: NDArray[Any] = np.from_dlpack(values.flatten() if multilabel else values)
    if len(flat) and not (flat.min() >= 0 and flat.max() < num_classes):
        raise ValueError("a label has no class")
    if not multilabel:
        return flat.astype(np.int64)
    labels = np.zeros((len(values), num_classes), np.uint8)
    lengths: NDArray[Any] = np.from_dlpack(values.value_lengths())
    labels[np.repeat(np.arange(len(values)), lengths), flat] = 1
    return labels


def matching(classes: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Return for each class the place of the same name among the known ones, None if it is unknown.

    Names are compared as `clean_name` writes them.

    Raises
    ------
    ValueError
        If two classes, or two of the known ones, have the same name then.
    """
    places: dict[str, int] = {}
    for names, out in ((known, places), (classes, dict[str, int]())):
        for place, name in enumerate(names):
            if out.setdefault(clean_name(name), place) != place:
                raise ValueError(f"two classes are called '{name}' once accents and spaces are written alike")
    return [places.get(clean_name(name)) for name in classes]


def relabelled(labels: Labels, places: Sequence[int | None], num_classes: int) -> tuple[NDArray[np.bool_], Labels]:
    """Return which images have only known classes, (N,), and the labels of these as indices of known classes.

    `places` is what `matching` returns; `num_classes` is the number of known classes.
    """
    targets: NDArray[np.int64] = np.array([-1 if place is None else place for place in places], np.int64)
    if not is_multilabel(labels):
        places_of: NDArray[np.int64] = targets[labels]
        return np.asarray(places_of >= 0), places_of[places_of >= 0]
    known = targets >= 0
    is_known = np.asarray(~labels[:, ~known].any(axis=1))
    moved = np.zeros((int(is_known.sum()), num_classes), np.uint8)
    moved[:, targets[known]] = labels[is_known][:, known]
    return is_known, moved
