"""Numbers of each image, and counts of images, from probabilities and labels. N images, K classes."""

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.decision import Labels, Rounded

Floats = NDArray[np.float64]


class Grouped:
    """Images, or other columns of weights, sorted by a number of each, (N,), so that weights are added up by it.

    Attributes
    ----------
    present : (P,)
        The numbers that there are.
    """

    def __init__(self, of: NDArray[np.generic]):
        self._order = np.argsort(of, kind="stable")
        self.present, self._starts = np.unique(of[self._order], return_index=True)

    def sums(self, weights: Floats) -> Floats:
        """Return the sums (c, P) of weights (c, N)."""
        if not len(self.present):
            return np.zeros((len(weights), 0))
        each: Floats = np.add.reduceat(np.take(weights, self._order, axis=1), self._starts, axis=1)
        return each

    def spread(self, weights: Floats, size: int) -> Floats:
        """Return the sums (c, `size`) of weights (c, N), with zeros for the numbers that there are not."""
        sums = np.zeros((len(weights), size))
        sums[:, self.present] = self.sums(weights)
        return sums


def cross_entropy(probabilities: Rounded, labels: Labels) -> Floats:
    """Return the cross entropy of each image in nats, (N,); with labels (N, K) the mean binary cross entropy of its classes."""
    # A softmax can underflow to 0; the smallest positive number keeps the loss finite, at 708 nats for that image.
    tiny = np.finfo(np.float64).tiny
    if labels.ndim == 2:
        actual = np.where(labels == 1, probabilities, 1 - probabilities)
        each: Floats = -np.log(actual.clip(tiny)).mean(axis=1)
        return each
    losses: Floats = -np.log(probabilities[np.arange(len(labels)), labels].clip(tiny))
    return losses


def bin_of(confidence: Floats, bins: int) -> NDArray[np.intp]:
    """Return the bin of each confidence, from 0: bin m is (m / bins, (m + 1) / bins]."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def sums_of_bins(confidence: Floats, right: NDArray[np.bool_], bins: int) -> Floats:
    """Return for each bin the number of decisions, the sum of their confidence, and the number of right ones, (3, bins)."""
    place = bin_of(confidence, bins)
    return np.stack([np.bincount(place, weights, minlength=bins) for weights in (None, confidence, right)]).astype(np.float64)


def counts_of(labels: Labels, predicted: NDArray[np.generic], right: NDArray[np.bool_], num_classes: int) -> NDArray[np.int64]:
    """Return the images of each class that are predicted correctly, predicted, and actual, (3, K)."""
    if labels.ndim == 2:
        chosen, actual = predicted.astype(bool), labels.astype(bool)
        return np.stack([flags.sum(axis=0) for flags in (chosen & actual, chosen, actual)])
    return np.stack([np.bincount(each, minlength=num_classes) for each in (labels[right], predicted, labels)])
