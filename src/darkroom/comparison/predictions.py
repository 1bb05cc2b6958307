"""Predictions of one revision, in the form in which two can be compared. N images, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.decision import Decision, Labels
from darkroom.metrics.outcomes import Outcomes, OutcomesBuilder
from darkroom.metrics.per_image import Floats
from darkroom.metrics.predictions_file import EvaluatedSplit

Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]
SHOWN_CLASSES = 3
# Probabilities that are computed with at a time.
BATCH = 1_000_000


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

    @cached_property
    def labels(self) -> Labels:
        """Labels, (N,) int64; of a multilabel task (N, K) uint8."""
        return self._mapped(self.split.labels)

    @cached_property
    def predicted(self) -> Rows | Flags:
        """Predicted labels, (N,) int64; of a multilabel task (N, K) bool."""
        return self._mapped(self.split.predicted > 0 if self.is_multilabel else self.split.predicted)

    @cached_property
    def right(self) -> Flags:
        """Whether each prediction is correct, (N,); of a multilabel task whether all its classes are."""
        return self.split.right[self.rows]

    @cached_property
    def confidence(self) -> Floats:
        """The probability of what is predicted, (N,)."""
        return self.split.confidence[self.rows]

    def outcomes(self, *, bins: int) -> Outcomes:
        """Return what metrics are measured by, as evaluate has it, of these images and classes.

        Of more classes than all probabilities are kept of, there is no Brier score; probabilities are there for the curves of a
        binary or a multilabel task.
        """
        split, positive = self.split, self.split.decision.positive
        builder = OutcomesBuilder(len(split.classes), split.decision, multilabel=self.is_multilabel, bins=bins, keep=False)
        size = max(1, BATCH // len(split.classes))
        for begin in range(0, len(split), size):
            part = EvaluatedSplit(split.about, split.table.slice(begin, size))
            builder.add(part.probabilities, part.labels)
        made = builder.finish()
        everything = Predictions(split, np.arange(len(split)), self.classes)
        chosen = replace(
            made,
            num_classes=len(self.classes),
            decision=Decision(positive=None if positive is None else int(self.places[positive])),
            labels=everything.labels,
            predicted=everything.predicted,
            right=split.right,
            confidence=split.confidence,
            losses=split.losses,
            squares=made.squares if split.about.is_complete else None,
        ).take(self.rows)
        has_curves = split.about.is_complete and (made.binary or made.multilabel)
        return replace(chosen, probabilities=self._mapped(split.probabilities)) if has_curves else chosen

    def name(self, labels: NDArray[Any], row: int) -> str:
        """Return the class names of an image, of `labels` or `predicted`; of several the first, and how many more."""
        if not self.is_multilabel:
            return self.classes[int(labels[row])]
        names = [self.classes[place] for place in np.flatnonzero(labels[row]).tolist()]
        more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        return ", ".join(names[:SHOWN_CLASSES]) + more or "none"

    def _mapped(self, own: NDArray[Any]) -> NDArray[Any]:
        """Return labels of these images as the comparison numbers them; of columns for classes those of all K of them, (N, K)."""
        if own.ndim == 1:
            labels: Rows = self.places[own[self.rows]]
            return labels
        mapped = np.zeros((len(self), len(self.classes)), own.dtype)
        mapped[:, self.places] = own[self.rows]
        return mapped
