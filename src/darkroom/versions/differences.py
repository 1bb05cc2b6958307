"""Differences between two versions of the data: which images are the same, and what has changed about them.

N images before, M after. Nothing here loops over images: a million of each take seconds.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from darkroom.data.pack import Rows
from darkroom.versions.datasets import Dataset

KINDS = ("added", "removed", "relabelled", "moved", "renamed", "replaced")
NONE = -1
# What two images must share to count as the same, most certain first: among identical images, pairs that differ least come first.
# Last come images with the same id and other pixels.
KEYS = (("pixel_hash", "id"), ("pixel_hash", "class", "split"), ("pixel_hash", "class"), ("pixel_hash",), ("id",))


@dataclass(frozen=True)
class Differences:
    """Differences between two versions.

    Attributes
    ----------
    before, after : Dataset
    pairs : (P, 2) int64
        Rows before and after of images that are in both.
    rows : dict of (n, 2) int64
        Rows before and after, -1 for none, by kind. An image that was relabelled and moved is in both kinds; an image is renamed
        if only its id has changed.
    """

    before: Dataset
    after: Dataset
    pairs: Rows
    rows: dict[str, Rows]

    @cached_property
    def num_unchanged(self) -> int:
        """Number of images that have not changed at all."""
        changed = np.concatenate([self.rows[kind][:, 0] for kind in KINDS[2:]])
        return len(self.pairs) - len(np.unique(changed))

    @property
    def new_classes(self) -> list[str]:
        """Class names that are only in the list after."""
        return [name for name in self.after.classes if name not in set(self.before.classes)]

    @property
    def lost_classes(self) -> list[str]:
        """Class names that are only in the list before."""
        return [name for name in self.before.classes if name not in set(self.after.classes)]

    @property
    def is_reordered(self) -> bool:
        """Whether the classes of both lists are in another order, so that the same label means another class."""
        common = set(self.before.classes) & set(self.after.classes)
        first, second = ([name for name in each.classes if name in common] for each in (self.before, self.after))
        return first != second

    @property
    def without_split(self) -> list[str]:
        """Why it is unknown which images have moved between splits; empty if it is known."""
        return [why for why in (self.before.without_split, self.after.without_split) if why]


def compare(before: Dataset, after: Dataset) -> Differences:
    """Match the images of both versions, by pixels first and by id second, and find what has changed."""
    codes = {name: _codes(before.images[name], after.images[name]) for name in before.images.column_names}
    pairs = _pair(codes, len(before), len(after))
    differs = {name: first[pairs[:, 0]] != second[pairs[:, 1]] for name, (first, second) in codes.items()}
    if before.without_split or after.without_split:
        differs["split"] = np.zeros(len(pairs), np.bool_)
    rows = {"relabelled": differs["class"], "moved": differs["split"], "replaced": differs["pixel_hash"]}
    rows["renamed"] = differs["id"] & ~(differs["class"] | differs["split"])
    added, removed = (np.setdiff1d(np.arange(len(each)), pairs[:, side]) for side, each in ((1, after), (0, before)))
    changes = {
        "added": np.stack([np.full(len(added), NONE), added], axis=1),
        "removed": np.stack([removed, np.full(len(removed), NONE)], axis=1),
    } | {kind: pairs[chosen] for kind, chosen in rows.items()}
    return Differences(before, after, pairs, {kind: changes[kind] for kind in KINDS})


def _codes(before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[Rows, Rows]:
    """Return integer codes (N,) and (M,) of two columns; equal values have equal codes."""
    encoded = pa.chunked_array([*before.chunks, *after.chunks], before.type).combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy().astype(np.int64)
    return numbers[: len(before)], numbers[len(before) :]


def _pair(codes: dict[str, tuple[Rows, Rows]], num_before: int, num_after: int) -> Rows:
    """Return rows (P, 2) of the same images before and after, ascending; each row is in at most one pair."""
    left, right = np.arange(num_before), np.arange(num_after)
    found = []
    for names in KEYS:
        keys = _joined([(codes[name][0][left], codes[name][1][right]) for name in names])
        first, second = pair_equal(*keys)
        found.append(np.stack([left[first], right[second]], axis=1))
        left, right = np.delete(left, first), np.delete(right, second)
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 0])]


def _joined(columns: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    """Combine codes of several columns into one; codes are smaller than the number of images, so this cannot overflow."""
    first, second = columns[0]
    for more, others in columns[1:]:
        size = 1 + max(more.max(initial=0), others.max(initial=0))
        first, second = first * size + more, second * size + others
    return first, second


def pair_equal(first: Rows, second: Rows) -> tuple[Rows, Rows]:
    """Return the places (p,) of equal numbers in two arrays, each place once: first occurrence with first occurrence.

    Parameters
    ----------
    first : (n,) int64
        Any numbers.
    second : (m,) int64
        Any numbers.
    """
    order, other = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    keys, others = first[order], second[other]
    copy = np.arange(len(keys)) - np.searchsorted(keys, keys, side="left")
    partner = np.searchsorted(others, keys, side="left") + copy
    has_partner = partner < np.searchsorted(others, keys, side="right")
    return order[has_partner], other[partner[has_partner]]
