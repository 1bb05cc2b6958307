"""Predictions of one revision, in the form in which two can be compared. N images, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.predictions_file import EvaluatedSplit, numbers

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]
SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Predictions:
    """Predictions for some images of a split, with labels that number the classes of a comparison.

    Attributes
    ----------
    split : EvaluatedSplit
        As evaluate recorded them.
    rows : (N,) int64
        The images, in the order of the comparison.
    classes : list of K str
        Classes of the comparison: those of both revisions.
    """

    split: EvaluatedSplit
    rows: Rows
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have any number of classes."""
        return self.split.task == "multilabel"

    @cached_property
    def places(self) -> Rows:
        """For each class of the revision its place among those of the comparison."""
        known = {name: place for place, name in enumerate(self.classes)}
        return np.array([known[name] for name in self.split.classes], np.int64)

    @property
    def positive(self) -> int | None:
        """The positive class of a binary task."""
        own = self.split.decision.positive
        return None if own is None else int(self.places[own])

    @cached_property
    def labels(self) -> Rows | Flags:
        """Labels, (N,) int64; of a multilabel task (N, K) bool."""
        return self._mapped(self.split.labels)

    @cached_property
    def predicted(self) -> Rows | Flags:
        """Predicted labels, of the same shape."""
        return self._mapped(self.split.predicted)

    @cached_property
    def right(self) -> Flags:
        """Whether each prediction is correct, (N,); of a multilabel task whether all its classes are."""
        return self.split.right[self.rows]

    @cached_property
    def confidence(self) -> Floats:
        """The probability of what is predicted, (N,)."""
        return self.split.confidence[self.rows]

    @cached_property
    def losses(self) -> Floats:
        """The cross entropy of each image in nats, (N,)."""
        return self.split.losses[self.rows]

    @cached_property
    def squares(self) -> Floats | None:
        """The Brier score of each image, (N,): the sum over classes, of two or of independent ones the mean; None: not known."""
        if not self.split.about.is_complete:
            return None
        own = self.split.labels[self.rows]
        probabilities = self.split.probabilities[self.rows].astype(np.float64)
        if self.is_multilabel:
            several: Floats = ((probabilities - own) ** 2).mean(axis=1)
            return several
        label = probabilities[np.arange(len(self)), own]
        squares: Floats = np.einsum("nk,nk->n", probabilities, probabilities) - 2 * label + 1
        return squares / 2 if self.split.decision.positive is not None else squares

    @cached_property
    def scores(self) -> Floats:
        """Probabilities of the positive class, (N,); of a multilabel task those of all classes, (N, K)."""
        probabilities = self.split.probabilities[self.rows].astype(np.float64)
        if self.split.decision.positive is not None:
            own: Floats = probabilities[:, self.split.decision.positive]
            return own
        scores = np.zeros((len(self), len(self.classes)))
        scores[:, self.places] = probabilities
        return scores

    @cached_property
    def ranks(self) -> Rows:
        """How many classes are more probable than that of the label, (N,); among equal ones the first of the list is."""
        return _ranks(self.split)[self.rows]

    def name(self, labels: Rows | Flags, row: int) -> str:
        """Return the class names of an image, of `labels` or `predicted`; of several the first, and how many more."""
        if not self.is_multilabel:
            return self.classes[int(labels[row])]
        names = [self.classes[place] for place in np.flatnonzero(labels[row]).tolist()]
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        return ", ".join(names[:SHOWN_CLASSES]) + more or "none"

    def _mapped(self, own: NDArray[np.generic]) -> Rows | Flags:
        if not self.is_multilabel:
            return self.places[own[self.rows].astype(np.int64)]
        mapped = np.zeros((len(self), len(self.classes)), np.bool_)
        mapped[:, self.places] = own[self.rows] > 0  # type: ignore[operator]
        return mapped


def _ranks(split: EvaluatedSplit) -> Rows:
    """Return the rank of the label of each image of a split, from 0; beyond the kept probabilities it is too small."""
    labels = split.labels.astype(np.int64)
    if split.about.is_complete:
        values = split.probabilities
        own = values[np.arange(len(split)), labels][:, None]
        before = (values == own) & (np.arange(values.shape[1]) < labels[:, None])
        complete: Rows = ((values > own) | before).sum(axis=1)
        return complete
    # Without a table of N K: the kept probabilities one after the other, the label's among them.
    column = split.table["probabilities"].combine_chunks()
    kept, values = numbers(split.table["kept"].combine_chunks().flatten()), numbers(column.flatten())
    image = np.repeat(np.arange(len(split)), np.diff(numbers(column.offsets)))
    is_own = kept == labels[image]
    own = np.zeros(len(split), values.dtype)
    own[image[is_own]] = values[is_own]
    above = (values > own[image]) | ((values == own[image]) & (kept < labels[image]))
    return np.bincount(image[above], minlength=len(split)).astype(np.int64)
