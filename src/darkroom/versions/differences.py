"""How two versions of the data differ: which image of the one is which of the other, and what has changed of it.

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
# What two images must share to be the same one, the surest first: of copies of one image, and of those that were given
# another name, the pairs of which least has changed. Last come those of one name and other pixels.
KEYS = (("pixel_hash", "id"), ("pixel_hash", "class", "split"), ("pixel_hash", "class"), ("pixel_hash",), ("id",))


@dataclass(frozen=True)
class Differences:
    """What differs between two versions.

    Attributes
    ----------
    before, after : Dataset
    pairs : (P, 2) int64
        Rows before and after of the images that stand in both.
    rows : dict of (n, 2) int64
        Rows before and after by kind, -1 where there is none. An image that was relabelled and moved is in both; renamed are
        those of which nothing but the id has changed.
    """

    before: Dataset
    after: Dataset
    pairs: Rows
    rows: dict[str, Rows]

    @cached_property
    def num_unchanged(self) -> int:
        """Number of images of which nothing has changed."""
        changed = np.concatenate([self.rows[kind][:, 0] for kind in KINDS[2:]])
        return len(self.pairs) - len(np.unique(changed))

    @property
    def new_classes(self) -> list[str]:
        """Names that are only in the class list after."""
        return [name for name in self.after.classes if name not in set(self.before.classes)]

    @property
    def lost_classes(self) -> list[str]:
        """Names that are only in the class list before."""
        return [name for name in self.before.classes if name not in set(self.after.classes)]

    @property
    def is_reordered(self) -> bool:
        """Whether classes that stand in both lists have changed places, so that their labels mean other classes."""
        common = set(self.before.classes) & set(self.after.classes)
        first, second = ([name for name in each.classes if name in common] for each in (self.before, self.after))
        return first != second

    @property
    def without_split(self) -> list[str]:
        """Why it is not known which images have moved; empty if it is."""
        return [why for why in (self.before.without_split, self.after.without_split) if why]


def compare(before: Dataset, after: Dataset) -> Differences:
    """Find the same images in both, by their pixels first and their ids second, and what has changed of them."""
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
    """Return a number (N,) and (M,) for each value, equal for equal values of both columns."""
    encoded = pa.chunked_array([*before.chunks, *after.chunks], before.type).combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy().astype(np.int64)
    return numbers[: len(before)], numbers[len(before) :]


def _pair(codes: dict[str, tuple[Rows, Rows]], num_before: int, num_after: int) -> Rows:
    """Return rows (P, 2) before and after of the same images, ascending; none is in two pairs."""
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
    """Return one number for several, different for different ones: they are smaller than the number of images."""
    first, second = columns[0]
    for more, others in columns[1:]:
        size = 1 + max(more.max(initial=0), others.max(initial=0))
        first, second = first * size + more, second * size + others
    return first, second


def pair_equal(first: Rows, second: Rows) -> tuple[Rows, Rows]:
    """Return places (p,) in two lists of numbers where they are equal, each place once: the first copy with the first copy.

    Parameters
    ----------
    first : (n,) int64
        Any numbers.
    second : (m,) int64
        The same of the other list.
    """
    order, other = np.argsort(first, kind="stable"), np.argsort(second, kind="stable")
    keys, others = first[order], second[other]
    copy = np.arange(len(keys)) - np.searchsorted(keys, keys, side="left")
    partner = np.searchsorted(others, keys, side="left") + copy
    has_partner = partner < np.searchsorted(others, keys, side="right")
    return order[has_partner], other[partner[has_partner]]
