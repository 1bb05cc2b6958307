"""Numbers that say how good probabilities are; NumPy only. N pictures, K classes, M bins of confidence."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]  # N K
Labels = NDArray[np.int64]  # N


class PerClass(NamedTuple):
    """Scores of every class, in the order of the class list.

    Attributes
    ----------
    precision, recall, f1 : (K,) float64
        0 where undefined: nothing was predicted to be the class, or no picture is of it.
    support : (K,) int64
        Number of pictures of the class.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


class Reliability(NamedTuple):
    """What the model believes and what is true, in bins of equal width over its confidence.

    Attributes
    ----------
    confidence, accuracy : (M,) float64
        Mean probability of the predicted class, and fraction that it was right; NaN in a bin without pictures.
    num_pictures : (M,) int64
        Number of pictures in the bin.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    num_pictures: NDArray[np.int64]


def score(probabilities: Probabilities, labels: Labels, *, bins: int) -> dict[str, float]:
    """Return the metrics of a split.

    Parameters
    ----------
    probabilities : (N, K) float64
        Each row sums to 1; of equal probabilities the first class is the predicted one.
    labels : (N,) int64
        At least one; classes may be missing.
    bins
        Number of bins of the calibration error.

    Returns
    -------
    metrics
        `loss` is the mean cross entropy in nats, without label smoothing or weights, so that models trained with different losses
        compare. `balanced_accuracy` is the mean recall of the classes that have pictures, `f1_macro` the mean F1 of all classes
        with 0 where undefined, both as in scikit-learn. `ece` is the expected calibration error [1]_. `top5_accuracy` is there
        for more than five classes.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    classes = per_class(probabilities, labels)
    metrics = {
        "loss": _cross_entropy(probabilities, labels),
        "accuracy": _top_accuracy(probabilities, labels, 1),
        "balanced_accuracy": classes.recall[classes.support > 0].mean(),
        "f1_macro": classes.f1.mean(),
        "ece": _calibration_error(reliability(probabilities, labels, bins=bins)),
    }
    if probabilities.shape[1] > 5:
        metrics["top5_accuracy"] = _top_accuracy(probabilities, labels, 5)
    return {name: float(value) for name, value in metrics.items()}


def per_class(probabilities: Probabilities, labels: Labels) -> PerClass:
    """Return precision, recall, F1 and support of every class from probabilities (N, K) and labels (N,)."""
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    claimed = np.bincount(predicted, minlength=num_classes)
    support = np.bincount(labels, minlength=num_classes)
    # The numerator is 0 wherever the denominator is, so a denominator of 1 gives the 0 of an undefined score.
    return PerClass(
        precision=right / claimed.clip(1),
        recall=right / support.clip(1),
        f1=2 * right / (claimed + support).clip(1),
        support=support,
    )


def confusion_matrix(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """Return the number of pictures (K, K) of each actual class (row) that were predicted to be each class (column)."""
    num_classes = probabilities.shape[1]
    cells = labels * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def reliability(probabilities: Probabilities, labels: Labels, *, bins: int) -> Reliability:
    """Sort pictures into bins ((m - 1) / bins, m / bins] of confidence, the probability of the predicted class.

    References
    ----------
    Guo et al. 2017 as in `score`, section 2.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    inner_edges = np.arange(1, bins) / bins
    place = np.searchsorted(inner_edges, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins
        return Reliability(
            confidence=np.bincount(place, confidence, minlength=bins) / count,
            accuracy=np.bincount(place, right, minlength=bins) / count,
            num_pictures=count,
        )


def _calibration_error(diagram: Reliability) -> float:
    filled = diagram.num_pictures > 0
    gaps = np.abs(diagram.accuracy - diagram.confidence)[filled]
    return float(np.average(gaps, weights=diagram.num_pictures[filled]))


def _cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    # A softmax can underflow to 0: the smallest positive number keeps the loss finite, at 708 nats for that picture.
    actual = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(actual.clip(np.finfo(np.float64).tiny)).mean())


def _top_accuracy(probabilities: Probabilities, labels: Labels, count: int) -> float:
    if count == 1:
        return float((probabilities.argmax(axis=1) == labels).mean())
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return float((top == labels[:, None]).any(axis=1).mean())
