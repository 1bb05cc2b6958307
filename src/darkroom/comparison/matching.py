"""The images that two revisions both predicted, with one numbering of their classes. N images of both."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from darkroom.comparison.predictions import Flags, Predictions, Rows
from darkroom.metrics.predictions_file import EvaluatedSplit, numbers
from darkroom.versions.differences import pair_equal

MOST_IMAGES = 2**31


@dataclass(frozen=True)
class Matched:
    """Two revisions on the same images.

    Attributes
    ----------
    first, second : Predictions
        Of N images each, which are the same images with the same label.
    only_first, only_second : int
        Images that the other one did not predict.
    relabelled : int
        Images that both predicted, with another label in each; they are left out.
    """

    first: Predictions
    second: Predictions
    only_first: int
    only_second: int
    relabelled: int

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def fixed(self) -> Rows:
        """The images, (n,), that only the second revision predicts correctly, the most confident mistakes of the first before."""
        return _by_confidence(self.second.right & ~self.first.right, self.first)

    @cached_property
    def broken(self) -> Rows:
        """The images, (n,), that only the first revision predicts correctly, the most confident mistakes of the second before."""
        return _by_confidence(self.first.right & ~self.second.right, self.second)

    @cached_property
    def groups(self) -> list[str | None] | None:
        """The group of each image in the second revision; None if the images have no groups."""
        column = self.second.split.columns.get("group")
        return None if column is None else [column[row] for row in self.second.rows.tolist()]

    @cached_property
    def ids(self) -> list[str]:
        """The id of each image in the second revision."""
        return [self.second.split.ids[row] for row in self.second.rows.tolist()]

    def pixel_hash(self, row: int) -> bytes:
        """Return the hash of the pixels of an image."""
        return self.second.split.pixel_hashes[int(self.second.rows[row])]


def match(first: EvaluatedSplit, second: EvaluatedSplit) -> Matched:
    """Find the images that both have: by pixels and id, then by pixels alone, since files are renamed.

    Parameters
    ----------
    first, second
        Both multilabel, or neither.
    """
    classes = [*first.classes, *(name for name in second.classes if name not in set(first.classes))]
    left, right = np.arange(len(first)), np.arange(len(second))
    pairs = []
    codes = {name: _codes(first.table[name], second.table[name]) for name in ("pixel_hash", "id")}
    for columns in (("pixel_hash", "id"), ("pixel_hash",)):
        keys = [_joined([codes[name][side][rows] for name in columns]) for side, rows in enumerate((left, right))]
        places, others = pair_equal(*keys)
        pairs.append(np.stack([left[places], right[others]], axis=1))
        left, right = np.delete(left, places), np.delete(right, others)
    found = np.concatenate(pairs)
    found = found[np.argsort(found[:, 1], kind="stable")]
    sides = [Predictions(split, found[:, side], classes) for side, split in enumerate((first, second))]
    same: Flags = np.equal(sides[0].labels, sides[1].labels)
    same = np.all(same, axis=tuple(range(1, same.ndim)))
    kept = [Predictions(side.split, side.rows[same], classes) for side in sides]
    return Matched(kept[0], kept[1], len(left), len(right), int((~same).sum()))


def whole(split: EvaluatedSplit) -> Predictions:
    """Return the predictions of all images of a split."""
    return Predictions(split, np.arange(len(split)), split.classes)


def _codes(first: pa.ChunkedArray, second: pa.ChunkedArray) -> tuple[Rows, Rows]:
    """Return a number for each image of both, (n,) and (m,), equal where the columns are; below n + m."""
    both = pa.chunked_array([*first.chunks, *second.chunks], first.type).combine_chunks()
    codes = numbers(both.dictionary_encode().indices).astype(np.int64)
    return codes[: len(first)], codes[len(first) :]


def _joined(columns: list[Rows]) -> Rows:
    """Combine numbers of several columns into one; they are numbers of images, so this cannot overflow."""
    combined = columns[0]
    for more in columns[1:]:
        combined = combined * MOST_IMAGES + more
    return combined


def _by_confidence(chosen: Flags, wrong: Predictions) -> Rows:
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-wrong.confidence[rows], kind="stable")]
