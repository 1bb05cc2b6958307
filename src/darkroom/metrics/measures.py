"""Every metric of a split as a function of weights of its images, so that one code gives the value and its bootstrap draws.

N images, K classes, M bins, c draws.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.per_image import Floats

# Metrics that are a mean over classes of a curve's area: of all classes, or of the positive one of a binary task.
CURVES = ("auroc", "average_precision")


class Counts(NamedTuple):
    """Weights of the images of each class, (c, K): predicted correctly, predicted, actual; and of all images, (c,)."""

    right: Floats
    claimed: Floats
    support: Floats
    total: Floats


class Measured(NamedTuple):
    """Metrics, (c,) by name, and of each class, (c, K) by name; NaN where undefined."""

    overall: dict[str, Floats]
    per_class: dict[str, Floats]


def measure(outcomes: Outcomes, weights: Floats | None = None, *, counts: Counts | None = None) -> Measured:
    """Return the metrics of a split but for the areas under curves.

    Parameters
    ----------
    outcomes
        Of at least one image.
    weights : (c, N)
        How often each image is drawn; None: once.
    counts
        What `count` returns for these weights, if it is known.

    Returns
    -------
    measured
        `loss` is the mean cross entropy in nats, without label smoothing or weights, so that models trained with different losses
        can be compared. `balanced_accuracy` is the mean recall of the classes with images; `precision`, `recall` and `f1` with
        `_macro` are means over the classes with images or predictions, with `_weighted` over those with images, by their number;
        a precision or recall that is undefined there counts as 0: all as in scikit-learn. `brier` is the mean Brier score,
        `ece` the expected calibration error [1]_. `top5_accuracy` is there for more than five classes.

        With labels (N, K): `loss` is the mean binary cross entropy of all classes, `accuracy` the fraction of images whose
        classes are all correct, `ece` that of all K N decisions, and `f1_micro` the F1 of all decisions together.

        Of a binary task also `precision`, `recall` and `f1` of the positive class.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    weights = np.ones((1, len(outcomes))) if weights is None else weights
    counts = count(outcomes, weights) if counts is None else counts
    total = counts.total
    columns = {"loss": outcomes.losses, "accuracy": outcomes.right, "brier": outcomes.squares}
    if outcomes.ranks is not None and outcomes.num_classes > 5:
        columns["top5_accuracy"] = outcomes.ranks < 5
    means = weights @ np.stack([column.astype(np.float64) for column in columns.values()], axis=1) / total[:, None]
    overall = dict(zip(columns, means.T, strict=True)) | {"ece": _calibration_error(outcomes, weights, total)}
    classes = per_class(counts)
    overall |= _averages(counts, classes)
    positive = outcomes.decision.positive
    if positive is not None:
        overall |= {name: values[:, positive] for name, values in classes.items()}
    elif outcomes.multilabel:
        right, claimed, support = (each.sum(axis=1) for each in counts[:3])
        overall["f1_micro"] = _ratio(2 * right, claimed + support)
    return Measured(overall, classes)


def count(outcomes: Outcomes, weights: Floats | None = None) -> Counts:
    """Count the images of each class, each as often as it is drawn."""
    total = np.array([len(outcomes)], np.float64) if weights is None else weights.sum(axis=1)
    if weights is None or outcomes.predicted is None:  # of which only the counts of all images are kept
        right, claimed, support = (each.astype(np.float64)[None] for each in outcomes.counts)
        return Counts(right, claimed, support, total)
    if outcomes.multilabel:
        predicted, actual = outcomes.predicted.astype(bool), outcomes.labels.astype(bool)
        right, claimed, support = (weights @ each.astype(np.float64) for each in (predicted & actual, predicted, actual))
        return Counts(right, claimed, support, total)
    labels, chosen, rows = outcomes.labels, outcomes.predicted, np.arange(len(outcomes))
    hits = rows[outcomes.right]
    pairs = ((hits, labels[hits]), (rows, chosen), (rows, labels))
    right, claimed, support = (_sums(weights, places, of, outcomes.num_classes) for places, of in pairs)
    return Counts(right, claimed, support, total)


def _sums(weights: Floats, rows: NDArray[np.intp], of: NDArray[np.generic], num_classes: int) -> Floats:
    """Return the sums (c, K) of the weights of some images by their class."""
    order = np.argsort(of, kind="stable")
    present, starts = np.unique(of[order], return_index=True)
    sums = np.zeros((len(weights), num_classes))
    if len(present):
        sums[:, present] = np.add.reduceat(np.take(weights, rows[order], axis=1), starts, axis=1)
    return sums


def per_class(counts: Counts) -> dict[str, Floats]:
    """Return precision, recall and F1 (c, K); NaN where undefined.

    That is precision of a class that was never predicted, recall of one without images, and F1 of one that is both.
    """
    right, claimed, support, _ = counts
    return {
        "precision": _ratio(right, claimed),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, claimed + support),
    }


def _averages(counts: Counts, classes: dict[str, Floats]) -> dict[str, Floats]:
    """Return the means over classes."""
    seen, support = counts.claimed + counts.support > 0, counts.support
    known = {name: np.where(np.isnan(values), 0, values) for name, values in classes.items()}
    macro = {f"{name}_macro": _ratio((values * seen).sum(axis=1), seen.sum(axis=1)) for name, values in known.items()}
    weighted = {f"{name}_weighted": _ratio((values * support).sum(1), support.sum(1)) for name, values in known.items()}
    balanced = _ratio(known["recall"].sum(axis=1), (support > 0).sum(axis=1))
    return {"balanced_accuracy": balanced, **macro, **weighted}


def _calibration_error(outcomes: Outcomes, weights: Floats, total: Floats) -> Floats:
    if outcomes.gaps is not None:
        every: Floats = np.abs(weights @ outcomes.gaps).sum(axis=1) / (total * outcomes.num_classes)
        return every
    gap = outcomes.right - outcomes.confidence
    sums = _sums(weights * gap, np.arange(len(outcomes)), outcomes.bin_of, outcomes.bins)
    each: Floats = np.abs(sums).sum(axis=1) / total
    return each


def _ratio(above: Floats, below: NDArray[Any]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: NaN
        each: Floats = above / below
    return each


@dataclass(frozen=True)
class Ranking:
    """Images sorted by the probability of a class, for the areas under its two curves.

    Attributes
    ----------
    order : (N,)
        The images, the most probable first.
    hits : (P,)
        Places in `order` of the P images of the class.
    begin, end : (P,)
        Places at which the images begin and end that are as probable as each of these.
    """

    order: NDArray[np.intp]
    hits: NDArray[np.intp]
    begin: NDArray[np.intp]
    end: NDArray[np.intp]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], actual: NDArray[np.bool_]) -> "Ranking":
        """Sort N images by the probability (N,) of a class."""
        order = np.argsort(-probabilities, kind="stable")
        ascending = np.sort(-probabilities)
        hits = np.flatnonzero(actual[order])
        begin, end = (np.searchsorted(ascending, ascending[hits], side=side) for side in ("left", "right"))
        return cls(order, hits, begin, end)

    def areas(self, weights: Floats) -> dict[str, Floats]:
        """Return the areas under the ROC curve and of average precision, (c,), for weights (N, c); NaN where undefined.

        Both are those of scikit-learn: half of the images that are as probable count as less so, and precision is taken where the
        last of them is included.
        """
        drawn = weights[self.order]
        seen = np.zeros((len(drawn) + 1, drawn.shape[1]), drawn.dtype)
        np.cumsum(drawn, axis=0, out=seen[1:])
        own = drawn[self.hits]
        found = np.zeros((len(own) + 1, own.shape[1]), drawn.dtype)
        np.cumsum(own, axis=0, out=found[1:])
        first, last = (np.searchsorted(self.hits, places) for places in (self.begin, self.end))
        images, positives = seen[self.end], found[last]
        above, below = seen[self.begin] - found[first], images - positives  # negatives before a tie, and with those in it
        num, rest = found[-1], seen[-1] - found[-1]
        ahead = rest - _ratio((own * (above + below)).sum(axis=0, dtype=np.float64), 2 * num)
        precision = np.divide(positives, images, out=np.zeros_like(images), where=images > 0)
        return {"auroc": _ratio(ahead, rest), "average_precision": _ratio((own * precision).sum(axis=0, dtype=np.float64), num)}


def rankings(outcomes: Outcomes) -> Iterator[Ranking]:
    """Yield the ranking of each class, of a binary task that of the positive one; none if probabilities were not kept."""
    if outcomes.probabilities is None:
        return
    positive = outcomes.decision.positive
    classes = range(outcomes.num_classes) if positive is None else [positive]
    actual = (outcomes.labels[:, label] == 1 if outcomes.multilabel else outcomes.labels == label for label in classes)
    for label, flags in zip(classes, actual, strict=True):
        yield Ranking.of(outcomes.probabilities[:, label], flags)


def areas(ranked: Iterable[Ranking], weights: Floats, *, binary: bool) -> Measured:
    """Return the areas under the curves of each class, and their means over the classes for which they are defined."""
    # Of draws in float32, which counts exactly up to 16 million images; transposed, whole rows are moved and added.
    columns: NDArray[Any] = np.ascontiguousarray(weights.T, np.float32 if len(weights) > 1 else np.float64)
    each = [ranking.areas(columns) for ranking in ranked]
    if not each:
        return Measured({}, {})
    classes = {name: np.stack([values[name] for values in each], axis=1) for name in CURVES}
    if binary:
        return Measured({name: values[:, 0] for name, values in classes.items()}, {})
    means = {"auroc": "auroc", "average_precision": "mean_average_precision"}
    return Measured({means[name]: _mean_of_defined(values) for name, values in classes.items()}, classes)


def _mean_of_defined(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))
