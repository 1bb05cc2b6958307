"""Metrics and tables of a split from its outcomes. N images, K classes, M bins of confidence."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.measures import areas, measure, rankings
from darkroom.metrics.measures import per_class as per_class_of
from darkroom.metrics.outcomes import Outcomes

# What evaluate.json has of every task; all other metrics are in intervals.json.
ALWAYS = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "ece")
# Of the positive class of a binary task.
OF_POSITIVE = ("precision", "recall", "f1", "auroc", "average_precision")


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


def score_of(outcomes: Outcomes) -> dict[str, float]:
    """Return the metrics of a split that evaluate.json holds, as `measure` and `areas` define them; NaN: undefined.

    Of more than five classes also `top5_accuracy`, of several labels an image `mean_average_precision`, up to a thousand classes,
    and of a binary task the scores of the positive class.
    """
    once = np.ones((1, len(outcomes)))
    found = measure(outcomes, once).overall
    names: tuple[str, ...] = ALWAYS
    if outcomes.binary or outcomes.multilabel:
        found |= areas(rankings(outcomes), once, binary=outcomes.binary).overall
        names += OF_POSITIVE if outcomes.binary else ("mean_average_precision",)
    names += ("top5_accuracy",)
    return {name: float(found[name][0]) for name in names if name in found}


def per_class_scores(outcomes: Outcomes) -> PerClass:
    """Return precision, recall, F1 and support of every class."""
    return PerClass(**per_class_of(*outcomes.counts.astype(np.float64)), support=outcomes.counts[2])


def diagram(outcomes: Outcomes) -> Reliability:
    """Return the reliability diagram: in bins ((m - 1) / M, m / M] of confidence, the probability of the predicted class.

    With labels (N, K) every decision on a class is in a bin; its confidence is the probability of the decision.

    References
    ----------
    Guo et al. 2017 as in `measure`, section 2.
    """
    assert outcomes.binned is not None, "outcomes of some of the images"
    number, confidence, right = outcomes.binned
    with np.errstate(invalid="ignore"):  # 0 / 0 in empty bins
        return Reliability(confidence=confidence / number, accuracy=right / number, num_images=number.astype(np.int64))
