"""Every metric of a split as a function of weights of its images, so that one code gives the value and its bootstrap draws.

N images, K classes, M bins, c draws.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.per_image import Floats, Grouped

# Metrics that are fractions of images or of classes' images.
RATES = frozenset(
    ["accuracy", "top5_accuracy", "balanced_accuracy", "f1_micro"]
    + [f"{name}{average}" for name in ("precision", "recall", "f1") for average in ("", "_macro", "_weighted")]
)
MEANS = ("loss", "accuracy", "brier", "top5_accuracy")
# Areas under the curves of a class, and the names of their means over classes.
CURVES = {"auroc": "auroc", "average_precision": "mean_average_precision"}
OF_CURVES = frozenset([*CURVES, *CURVES.values()])
HIGHER_IS_BETTER, LOWER_IS_BETTER = (
    RATES | OF_CURVES,
    frozenset(["loss", "log_loss", "ece", "brier", "false_alarms", "conformal_size"]),
)

Sums = dict[str, Floats]
"""Sums over images, of which each has a weight, by name: see `sums_of`."""


class Measured(NamedTuple):
    """Metrics, (c,) by name, and of each class, (c, K) by name; NaN where undefined."""

    overall: dict[str, Floats]
    per_class: dict[str, Floats]


def measure(outcomes: Outcomes, weights: Floats | None = None) -> Measured:
    """Return the metrics of a split but for the areas under curves.

    Parameters
    ----------
    outcomes
        Of at least one image.
    weights : (c, N)
        How often each image is drawn; None: once.
    """
    return measure_sums(outcomes, sums_of(outcomes, np.ones((1, len(outcomes))) if weights is None else weights))


def sums_of(outcomes: Outcomes, weights: Floats) -> Sums:
    """Return what metrics are made of for weights (c, N): sums over images of what each has, times its weight.

    They are `total`, the weights alone, and what means are of, (c,); of each bin the right decisions without the sum of their
    confidence, `gaps` (c, M); and of each class the images that are predicted correctly, predicted, and actual, `right`,
    `claimed` and `support` (c, K).
    """
    columns = {"loss": outcomes.losses, "accuracy": outcomes.right}
    if outcomes.squares is not None:
        columns["brier"] = outcomes.squares
    if outcomes.ranks is not None and outcomes.num_classes > 5:
        columns["top5_accuracy"] = outcomes.ranks < 5
    stacked = np.stack([column.astype(np.float64) for column in columns.values()])
    # Of draws no product of matrices: as small as it is, its threads would take longer to wait for each other.
    means = np.einsum("cn,mn->cm", weights, stacked) if len(weights) > 1 else weights @ np.ascontiguousarray(stacked.T)
    if outcomes.gaps is not None:
        gaps = weights @ outcomes.gaps
    else:
        gaps = outcomes.by_bin.spread(weights * (outcomes.right - outcomes.confidence), outcomes.bins)
    counts = dict(zip(("right", "claimed", "support"), _counts(outcomes, weights), strict=True))
    return {"total": weights.sum(axis=1), **dict(zip(columns, means.T, strict=True)), "gaps": gaps, **counts}


def _counts(outcomes: Outcomes, weights: Floats) -> Iterable[Floats]:
    """Return the weights of the images of each class that are predicted correctly, predicted, and actual, (c, K) each."""
    if outcomes.predicted is None:  # of which only the counts of all images are kept
        return outcomes.counts[:, None].astype(np.float64)
    if outcomes.multilabel:
        predicted, actual = outcomes.predicted.astype(bool), outcomes.labels.astype(bool)
        return [weights @ each.astype(np.float64) for each in (predicted & actual, predicted, actual)]
    cells = outcomes.by_cell.sums(weights)
    actual, predicted = np.divmod(outcomes.by_cell.present, outcomes.num_classes)
    same = actual == predicted
    pairs = ((cells[:, same], actual[same]), (cells, predicted), (cells, actual))
    return [Grouped(of).spread(each, outcomes.num_classes) for each, of in pairs]


def measure_sums(outcomes: Outcomes, sums: Sums) -> Measured:
    """Return the metrics of a split but for the areas under curves, from sums over its images.

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
    total = sums["total"]
    overall: dict[str, Floats] = {name: sums[name] / total for name in MEANS if name in sums}
    overall["ece"] = np.abs(sums["gaps"]).sum(axis=1) / (total * (outcomes.num_classes if outcomes.multilabel else 1))
    right, claimed, support = sums["right"], sums["claimed"], sums["support"]
    classes = per_class(right, claimed, support)
    overall |= _averages(classes, support, claimed + support > 0)
    if outcomes.decision.positive is not None:
        overall |= {name: values[:, outcomes.decision.positive] for name, values in classes.items()}
    elif outcomes.multilabel:
        overall["f1_micro"] = _ratio(2 * right.sum(axis=1), (claimed + support).sum(axis=1))
    return Measured(overall, classes)


def per_class(right: Floats, claimed: Floats, support: Floats) -> dict[str, Floats]:
    """Return precision, recall and F1 (c, K) from the images of each class; NaN where undefined.

    That is precision of a class that was never predicted, recall of one without images, and F1 of one that is both.
    """
    return {
        "precision": _ratio(right, claimed),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, claimed + support),
    }


def _averages(classes: dict[str, Floats], support: Floats, seen: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return the means over classes."""
    known = {name: np.where(np.isnan(values), 0, values) for name, values in classes.items()}
    macro = {f"{name}_macro": _ratio((values * seen).sum(axis=1), seen.sum(axis=1)) for name, values in known.items()}
    weighted = {f"{name}_weighted": _ratio((values * support).sum(1), support.sum(1)) for name, values in known.items()}
    balanced = _ratio(known["recall"].sum(axis=1), (support > 0).sum(axis=1))
    return {"balanced_accuracy": balanced, **macro, **weighted}


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
    """Return the areas under the curves of each class, and their means over the classes for which they are defined.

    Of a binary task they are those of the one class alone.
    """
    columns: NDArray[Any] | None = None
    each = []
    for ranking in ranked:
        if columns is None:
            # Of draws in float32, which counts exactly up to 16 million images; transposed, whole rows are moved and added.
            columns = np.ascontiguousarray(weights.T, np.float32 if len(weights) > 1 else np.float64)
        each.append(ranking.areas(columns))
    if not each:
        return Measured({}, {})
    classes = {name: np.stack([values[name] for values in each], axis=1) for name in CURVES}
    if binary:
        return Measured({name: values[:, 0] for name, values in classes.items()}, {})
    return Measured({CURVES[name]: _mean_of_defined(values) for name, values in classes.items()}, classes)


def _mean_of_defined(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))
