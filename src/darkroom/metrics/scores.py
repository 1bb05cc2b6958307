"""Metrics of predicted probabilities, with NumPy only. N images, K classes, M bins of confidence."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.decision import USUAL, Decision, Labels, Probabilities


class PerClass(NamedTuple):
    """Scores of every class, in the order of the class list.

    Attributes
    ----------
    precision, recall, f1 : (K,) float64
        NaN where undefined: precision of a class that was never predicted, recall of one without images, F1 of one that is both.
    support : (K,) int64
        Number of images of the class.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


class Reliability(NamedTuple):
    """Accuracy and mean confidence, in bins of equal width over the confidence.

    Attributes
    ----------
    confidence, accuracy : (M,) float64
        Mean probability of the predicted class, and fraction of correct predictions; NaN in a bin without images.
    num_images : (M,) int64
        Number of images in the bin.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    num_images: NDArray[np.int64]


def score(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL, *, bins: int) -> dict[str, float]:
    """Return the metrics of a split.

    Parameters
    ----------
    probabilities : (N, K) float64
        Each row sums to 1, unless labels are (N, K).
    labels : (N,) int64, or (N, K) uint8
        At least one image; classes may be missing.
    decision
        Which classes are predicted.
    bins
        Number of bins of the calibration error.

    Returns
    -------
    metrics
        `loss` is the mean cross entropy in nats, without label smoothing or weights, so that models trained with different losses
        can be compared. `balanced_accuracy` is the mean recall of the classes with images, `f1_macro` the mean F1 of the classes
        with images or predictions, both as in scikit-learn. `ece` is the expected calibration error [1]_. `top5_accuracy` is
        returned for more than five classes.

        With labels (N, K): `loss` is the mean binary cross entropy of all classes, `accuracy` the fraction of images whose
        classes are all correct, `ece` that of all K N decisions, and `mean_average_precision` that of the classes with images.

        Of a binary task also `precision`, `recall`, `f1`, `auroc` and `average_precision` of the positive class; NaN: undefined.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    classes = per_class(probabilities, labels, decision)
    metrics = {
        "loss": _cross_entropy(probabilities, labels),
        "accuracy": is_right(probabilities, labels, decision).mean(),
        "balanced_accuracy": _mean_of_defined(classes.recall),
        "f1_macro": _mean_of_defined(classes.f1),
        "ece": _calibration_error(reliability(probabilities, labels, decision, bins=bins)),
    }
    if decision.positive is not None:
        metrics |= _binary(probabilities, labels, classes, decision.positive)
    elif labels.ndim == 2:
        metrics["mean_average_precision"] = _mean_average_precision(probabilities, labels)
    elif probabilities.shape[1] > 5:
        metrics["top5_accuracy"] = _top_accuracy(probabilities, labels, 5)
    return {name: float(value) for name, value in metrics.items()}


def per_class(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL) -> PerClass:
    """Return precision, recall, F1 and support of every class from probabilities (N, K) and labels, (N,) or (N, K)."""
    predicted, actual = predictions(probabilities, labels, decision), _multi_hot(labels, probabilities.shape[1])
    right, claimed, support = ((each).sum(axis=0) for each in (predicted & actual, predicted, actual))
    with np.errstate(invalid="ignore"):  # 0 / 0
        return PerClass(precision=right / claimed, recall=right / support, f1=2 * right / (claimed + support), support=support)


def confusion_matrix(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL) -> NDArray[np.int64]:
    """Return the number of images (K, K) of each actual class (row) that were predicted to be each class (column).

    With labels (N, K) the diagonal counts correct predictions, and the other cells the images in which the class of the row was
    missed and that of the column was predicted wrongly.
    """
    num_classes = probabilities.shape[1]
    if labels.ndim == 2:
        predicted, actual = decision.chosen(probabilities), labels.astype(bool)
        instead = (actual & ~predicted).astype(np.int64).T @ (predicted & ~actual).astype(np.int64)
        matrix: NDArray[np.int64] = instead + np.diag((predicted & actual).sum(axis=0))
        return matrix
    cells = labels * num_classes + decision.label(probabilities)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def reliability(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL, *, bins: int) -> Reliability:
    """Sort images into bins ((m - 1) / bins, m / bins] of confidence, the probability of the predicted class.

    With labels (N, K) it sorts every decision on a class; its confidence is the probability of the decision.

    References
    ----------
    Guo et al. 2017 as in `score`, section 2.
    """
    if labels.ndim == 2:
        chosen = decision.chosen(probabilities)
        confidence, right = np.where(chosen, probabilities, 1 - probabilities).ravel(), (chosen == labels).ravel()
    else:
        confidence, right = decision.confidence(probabilities), is_right(probabilities, labels, decision)
    inner_edges = np.arange(1, bins) / bins
    place = np.searchsorted(inner_edges, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins
        return Reliability(
            confidence=np.bincount(place, confidence, minlength=bins) / count,
            accuracy=np.bincount(place, right, minlength=bins) / count,
            num_images=count,
        )


def predictions(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL) -> NDArray[np.bool_]:
    """Return which classes are predicted, (N, K): one for each image, or with labels (N, K) any number."""
    if labels.ndim == 2:
        return decision.chosen(probabilities)
    return _multi_hot(decision.label(probabilities), probabilities.shape[1])


def is_right(probabilities: Probabilities, labels: Labels, decision: Decision = USUAL) -> NDArray[np.bool_]:
    """Return for each image, (N,), whether its class is correct, or with labels (N, K) all its classes."""
    if labels.ndim == 2:
        right: NDArray[np.bool_] = (decision.chosen(probabilities) == labels).all(axis=1)
    else:
        right = decision.label(probabilities) == labels
    return right


def losses(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    """Return the cross entropy of each image in nats, (N,); with labels (N, K) the mean binary one over the classes."""
    # A softmax can underflow to 0; the smallest positive number keeps the loss finite, at 708 nats for that image.
    if labels.ndim == 2:
        actual = np.where(labels == 1, probabilities, 1 - probabilities)
        each: NDArray[np.float64] = -np.log(actual.clip(np.finfo(np.float64).tiny)).mean(axis=1)
        return each
    actual = probabilities[np.arange(len(labels)), labels]
    return -np.log(actual.clip(np.finfo(np.float64).tiny))  # type: ignore[no-any-return]


def most_confident_mistakes(
    probabilities: Probabilities, labels: Labels, decision: Decision = USUAL, *, count: int
) -> NDArray[np.intp]:
    """Return at most `count` rows of wrong predictions, the most confident first."""
    rows = np.flatnonzero(~is_right(probabilities, labels, decision))
    if labels.ndim == 2:
        chosen = decision.chosen(probabilities)
        confidence = np.where(chosen != labels, np.where(chosen, probabilities, 1 - probabilities), 0).max(axis=1)
    else:
        confidence = decision.confidence(probabilities)
    order = np.argsort(-confidence[rows], kind="stable")
    return rows[order[:count]]


def _multi_hot(labels: Labels, num_classes: int) -> NDArray[np.bool_]:
    if labels.ndim == 2:
        return labels.astype(np.bool_)
    hot = np.zeros((len(labels), num_classes), np.bool_)
    hot[np.arange(len(labels)), labels] = True
    return hot


def _binary(probabilities: Probabilities, labels: Labels, classes: PerClass, positive: int) -> dict[str, float]:
    """Return the scores of the positive class; neither curve is defined without images of it, nor AUROC without others."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    actual, probability = labels == positive, probabilities[:, positive]
    is_some, is_all = actual.any(), actual.all()
    return {
        "precision": classes.precision[positive],
        "recall": classes.recall[positive],
        "f1": classes.f1[positive],
        "auroc": roc_auc_score(actual, probability) if is_some and not is_all else np.nan,
        "average_precision": average_precision_score(actual, probability) if is_some else np.nan,
    }


def _mean_average_precision(probabilities: Probabilities, labels: Labels) -> float:
    # Imported here, since it takes 1.3 s and only multilabel sets and binary tasks need it.
    from sklearn.metrics import average_precision_score

    present = labels.any(axis=0)
    if not present.any():
        return np.nan
    return float(average_precision_score(labels[:, present], probabilities[:, present], average="macro"))


def _calibration_error(diagram: Reliability) -> float:
    filled = diagram.num_images > 0
    gaps = np.abs(diagram.accuracy - diagram.confidence)[filled]
    return float(np.average(gaps, weights=diagram.num_images[filled]))


def _mean_of_defined(values: NDArray[np.float64]) -> float:
    """Return the mean of what is not NaN; NaN if everything is."""
    return np.nan if np.isnan(values).all() else float(np.nanmean(values))


def _cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    return float(losses(probabilities, labels).mean())


def _top_accuracy(probabilities: Probabilities, labels: Labels, count: int) -> float:
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return float((top == labels[:, None]).any(axis=1).mean())
