"""What evaluate keeps of the predictions for N images, made batch by batch: enough for every metric. K classes, M bins.

Up to a thousand classes these are all probabilities; beyond, a few numbers an image, so that memory does not grow with N K.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.decision import USUAL, Decision, Labels, Probabilities, Rounded
from darkroom.metrics.per_image import Floats, Grouped, bin_of, counts_of, cross_entropy, sums_of_bins

# Up to so many classes every probability is kept.
MOST_CLASSES = 1000


class Predicted(NamedTuple):
    """The predictions for a batch of n images.

    Attributes
    ----------
    labels : (n,) int64, or (n, K) uint8
    predicted : (n,) int64, or (n, K) bool
        The class of each image; with labels (n, K) which classes.
    confidence : (n,) float64
        Probability of the predicted class; with labels (n, K) that of the least certain decision on a class.
    losses : (n,) float64
        Cross entropy in nats; with labels (n, K) the mean binary one.
    probabilities : (n, K) float32
    """

    labels: Labels
    predicted: NDArray[np.int64] | NDArray[np.bool_]
    confidence: Floats
    losses: Floats
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Outcomes:
    """What is kept of the predictions for the N images of a split.

    Attributes
    ----------
    num_classes, bins, decision
        K, M, and which classes are predicted.
    labels : (N,) int64, or (N, K) uint8
    predicted : (N,) int64, or (N, K) bool, or None
        None with labels (N, K) of more than a thousand classes.
    right : (N,) bool
        Whether the class, or all of them, is correct.
    confidence : (N,) float64
        As in `Predicted`.
    worst : (N,) float64
        Probability of the most confident of the wrong decisions on an image, 0 where all are right.
    losses : (N,) float64
        Cross entropy.
    squares : (N,) float64, or None
        Brier score: of one class the sum over classes [1]_, of two or independent ones the mean; None: unknown.
    ranks : (N,) int64, or None
        Number of classes that are more probable than the correct one; None with labels (N, K).
    probabilities : (N, K) float32, or None
        None for more than a thousand classes.
    counts : (3, K) int64
        Images of each class that are predicted correctly, that are predicted to be of it, and that are of it.
    binned : (3, M) float64, or None
        In bins ((m - 1) / M, m / M] of confidence: number of decisions, sum of their confidence, number of right ones; None of
        some of the images.
    gaps : (N, M) float32, or None
        With labels (N, K): of each image the right decisions in a bin without the sum of their confidence.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.
    """

    num_classes: int
    bins: int
    decision: Decision
    labels: Labels
    predicted: NDArray[np.int64] | NDArray[np.bool_] | None
    right: NDArray[np.bool_]
    confidence: Floats
    worst: Floats
    losses: Floats
    squares: Floats | None
    ranks: NDArray[np.int64] | None
    probabilities: NDArray[np.float32] | None
    counts: NDArray[np.int64]
    binned: Floats | None
    gaps: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, probabilities: Probabilities, labels: Labels, decision: Decision = USUAL, *, bins: int = 15) -> Self:
        """Return the outcomes of probabilities (N, K) that are in memory already."""
        made = OutcomesBuilder(probabilities.shape[1], decision, multilabel=labels.ndim == 2, bins=bins)
        made.add(probabilities, labels)
        found = made.finish()
        assert isinstance(found, cls)
        return found

    def __len__(self) -> int:
        return len(self.right)

    @property
    def multilabel(self) -> bool:
        """Whether an image has any number of classes."""
        return self.labels.ndim == 2

    @property
    def binary(self) -> bool:
        """Whether the task is binary."""
        return self.decision.positive is not None

    @cached_property
    def by_bin(self) -> Grouped:
        """The images sorted by the bin of their confidence, from 0."""
        return Grouped(bin_of(self.confidence, self.bins))

    @cached_property
    def by_cell(self) -> Grouped:
        """The images sorted by K times their label plus their prediction; not with labels (N, K)."""
        assert self.predicted is not None
        return Grouped(self.labels * np.int64(self.num_classes) + self.predicted)

    def take(self, rows: NDArray[np.intp]) -> "Outcomes":
        """Return the outcomes of some images, without their probabilities."""
        per_image = ("labels", "predicted", "right", "confidence", "worst", "losses", "squares", "ranks", "gaps")
        chosen: dict[str, Any] = {name: None if (each := getattr(self, name)) is None else each[rows] for name in per_image}
        assert chosen["predicted"] is not None, "only the counts of all images are kept"
        counts = counts_of(chosen["labels"], chosen["predicted"], chosen["right"], self.num_classes)
        return replace(self, **chosen, probabilities=None, counts=counts, binned=None)

    def chosen(self, row: int) -> NDArray[np.generic]:
        """Return the predicted label of an image, (), or which are predicted, (K,); none where they were not kept."""
        return np.zeros(self.num_classes, np.bool_) if self.predicted is None else self.predicted[row]

    def most_confident_mistakes(self, count: int | None = None) -> NDArray[np.intp]:
        """Return at most `count` rows of wrong predictions, the most confident first."""
        rows = np.flatnonzero(~self.right)
        return rows[np.argsort(-self.worst[rows], kind="stable")][:count]

    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return actual class, predicted class and number of images of the mistakes, most frequent first.

        With labels (N, K) it counts the images in which the first class was missed and the second was predicted wrongly; of more
        than a thousand classes none.
        """
        if self.predicted is None:
            return (np.zeros(0, np.int64),) * 3
        if self.multilabel:
            actual, predicted = self.labels.astype(bool), self.predicted.astype(bool)
            # In floating point, which BLAS multiplies; counts are exact below 2 ** 53.
            matrix = (actual & ~predicted).astype(np.float64).T @ (predicted & ~actual).astype(np.float64)
            cells = np.flatnonzero(matrix)
            counts = matrix.ravel()[cells].astype(np.int64)
        else:
            wrong = ~self.right
            cells, counts = np.unique(
                self.labels[wrong].astype(np.int64) * self.num_classes + self.predicted[wrong], return_counts=True
            )
        order = np.argsort(-counts, kind="stable")
        return cells[order] // self.num_classes, cells[order] % self.num_classes, counts[order]


class OutcomesBuilder:
    """Makes the outcomes of a split from its batches.

    Parameters
    ----------
    num_classes, decision, bins
        As in `Outcomes`.
    multilabel
        Whether an image has any number of classes.
    keep
        Whether the probabilities of up to a thousand classes are kept.
    """

    def __init__(self, num_classes: int, decision: Decision = USUAL, *, multilabel: bool, bins: int, keep: bool = True):
        self.num_classes, self.decision, self.multilabel, self.bins = num_classes, decision, multilabel, bins
        self.has_few = num_classes <= MOST_CLASSES
        self.keeps_all = keep and self.has_few
        self._parts: list[dict[str, NDArray[np.generic] | None]] = []
        self._counts = np.zeros((3, num_classes), np.int64)
        self._binned = np.zeros((3, bins))

    def add(self, probabilities: Rounded, labels: Labels) -> Predicted:
        """Add a batch of probabilities (n, K), which are rounded to float32 as they are kept, and labels."""
        rounded = probabilities.astype(np.float32)
        exact = rounded.astype(np.float64)
        losses = cross_entropy(probabilities, labels)
        part = self._several(exact, labels) if self.multilabel else self._one(exact, labels)
        part |= {"labels": labels, "losses": losses}
        predicted, confidence = part["predicted"], part["confidence"]
        if not self.has_few and self.multilabel:
            part["predicted"] = None
        part["probabilities"] = rounded if self.keeps_all else None
        self._parts.append(part)
        return Predicted(labels, predicted, confidence, losses, rounded)  # type: ignore[arg-type]

    def _one(self, exact: Floats, labels: Labels) -> dict[str, NDArray[np.generic] | None]:
        rows = np.arange(len(labels))
        predicted = self.decision.label(exact)
        right, confidence, own = predicted == labels, exact[rows, predicted], exact[rows, labels]
        before = (exact > own[:, None]).sum(axis=1)
        equal = exact == own[:, None]  # of equals the first class comes first
        before += (equal & (np.arange(self.num_classes) < labels[:, None])).sum(axis=1)
        squares = np.einsum("nk,nk->n", exact, exact) - 2 * own + 1
        if self.decision.positive is not None:
            squares = squares / 2
        self._counts += counts_of(labels, predicted, right, self.num_classes)
        self._binned += sums_of_bins(confidence, right, self.bins)
        kept = {"predicted": predicted, "right": right, "confidence": confidence, "worst": np.where(right, 0, confidence)}
        return {**kept, "squares": squares, "ranks": before, "gaps": None}

    def _several(self, exact: Floats, labels: Labels) -> dict[str, NDArray[np.generic] | None]:
        chosen, actual = self.decision.chosen(exact), labels.astype(bool)
        certain, right = np.where(chosen, exact, 1 - exact), chosen == actual
        self._counts += counts_of(labels, chosen, right, self.num_classes)
        self._binned += sums_of_bins(certain.ravel(), right.ravel(), self.bins)
        place = bin_of(certain, self.bins) + self.bins * np.arange(len(labels))[:, None]
        gaps = np.bincount(place.ravel(), (right - certain).ravel(), minlength=self.bins * len(labels))
        return {
            "predicted": chosen,
            "right": right.all(axis=1),
            "confidence": certain.min(axis=1),
            "worst": np.where(right, 0, certain).max(axis=1),
            "squares": ((exact - actual) ** 2).mean(axis=1),
            "ranks": None,
            "gaps": gaps.reshape(len(labels), self.bins).astype(np.float32),
        }

    def finish(self) -> Outcomes:
        """Return the outcomes of all images that were added, of at least one."""
        joined = {name: _joined([part[name] for part in self._parts]) for name in self._parts[0]}
        about = {"num_classes": self.num_classes, "bins": self.bins, "decision": self.decision}
        return Outcomes(**about, **joined, counts=self._counts, binned=self._binned)  # type: ignore[arg-type]


def _joined(parts: Sequence[NDArray[np.generic] | None]) -> NDArray[np.generic] | None:
    return None if parts[0] is None else np.concatenate(parts)  # type: ignore[arg-type]
