"""The metrics of predictions in which every image has a weight. N images, K classes, B rows of weights, M bins of confidence.

Weights of 1 give the metrics of a split, as evaluate measures them; those of resampled images give their metrics. Most of them
are functions of a few sums over images, so that one product of matrices has them for many resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from darkroom.comparison.predictions import Flags, Floats, Predictions, Rows

# Of more classes the sums are products of sparse matrices; scipy is imported for these alone.
DENSE_CLASSES = 100
TOP = 5
LOWER_IS_BETTER = frozenset({"loss", "log_loss", "ece", "brier"})
HIGHER_IS_BETTER = frozenset(
    [
        *("accuracy", "top5_accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_micro"),
        *("precision_macro", "recall_macro", "precision_weighted", "recall_weighted", "precision", "recall", "f1"),
        *("auroc", "average_precision", "mean_average_precision"),
    ]
)


@dataclass(frozen=True)
class Summed:
    """What is added up over images.

    Attributes
    ----------
    columns : dict of (N, C) float64
        By name; C is 1, K or M. Of many classes they are sparse matrices.
    curve : Curve or None
        Of a binary and of a multilabel task.
    positive : int or None
        The positive class of a binary task.
    num_decisions : int
        Decisions for each image: K of a multilabel task, else 1.
    """

    columns: Mapping[str, Any]
    curve: "Curve | None"
    positive: int | None
    num_decisions: int

    def __len__(self) -> int:
        return len(self.columns["images"])

    @property
    def cost(self) -> int:
        """How many numbers are multiplied with the weight of an image, about; orders of scores count as ten."""
        dense = sum(int(column.shape[1]) for column in self.columns.values() if isinstance(column, np.ndarray))
        return dense + 10 * (1 + (self.curve.scores.shape[1] if self.curve else 0))

    def sums(self, weights: Floats) -> dict[str, Floats]:
        """Return the sums of each column for weights (B, N), (B, C)."""
        return sums(self.columns, weights)

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Return each metric for weights (B, N), (B,); NaN where it is undefined."""
        found = self.metrics_of(self.sums(weights))
        return found | (self.curve.metrics(weights) if self.curve else {})

    def metrics_of(self, sums: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return each metric but those of curves from the sums."""
        total = sums["images"][:, 0]
        hits, support, claimed = sums["hits"], sums["support"], sums["claimed"]
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: undefined
            classes = {"precision": hits / claimed, "recall": hits / support, "f1": 2 * hits / (support + claimed)}
            found = {
                "accuracy": sums["right"][:, 0] / total,
                **({"top5_accuracy": sums["top"][:, 0] / total} if "top" in sums else {}),
                **_averages(classes, support, support + claimed > 0),
                "loss": sums["loss"][:, 0] / total,
                **({"brier": sums["brier"][:, 0] / total} if "brier" in sums else {}),
                "ece": np.abs(sums["gap"]).sum(axis=1) / (total * self.num_decisions),
            }
            if self.num_decisions > 1:
                found["f1_micro"] = 2 * hits.sum(axis=1) / (support + claimed).sum(axis=1)
        if self.positive is not None:
            found |= {name: values[:, self.positive] for name, values in classes.items()}
        return found


def sums(columns: Mapping[str, Any], weights: Floats) -> dict[str, Floats]:
    """Return the sums of columns (N, C) for weights (B, N), by name, (B, C)."""
    dense = [name for name, column in columns.items() if isinstance(column, np.ndarray)]
    # One product for all of them.
    together = weights @ np.concatenate([columns[name] for name in dense], axis=1)
    ends = np.cumsum([columns[name].shape[1] for name in dense])
    found = dict(zip(dense, np.split(together, ends[:-1], axis=1), strict=True))
    return found | {name: (column.T @ weights.T).T for name, column in columns.items() if name not in found}


def summed(predictions: Predictions, *, bins: int) -> Summed:
    """Return what the metrics of predictions are made of; `bins` are those of the calibration error."""
    num_classes = len(predictions.classes)
    labels, curve = predictions.labels, None
    if predictions.is_multilabel:
        actual, chosen = labels.astype(np.float64), predictions.predicted.astype(np.float64)
        hits, curve = actual * chosen, Curve(predictions.scores, labels > 0, is_binary=False)
    else:
        actual, chosen = (_one_hot(each, num_classes) for each in (labels, predictions.predicted))
        hits = _one_hot(labels, num_classes, predictions.right)
        if predictions.positive is not None:
            curve = Curve(predictions.scores[:, None], (labels == predictions.positive)[:, None], is_binary=True)
    columns = {
        "images": np.ones((len(predictions), 1)),
        "right": predictions.right.astype(np.float64)[:, None],
        "loss": predictions.losses[:, None],
        "gap": _gaps(predictions, bins),
        "hits": hits,
        "support": actual,
        "claimed": chosen,
    }
    if predictions.squares is not None:
        columns["brier"] = predictions.squares[:, None]
    if not predictions.is_multilabel and len(predictions.split.classes) > TOP:
        columns["top"] = (predictions.ranks < TOP).astype(np.float64)[:, None]
    return Summed(columns, curve, predictions.positive, num_classes if predictions.is_multilabel else 1)


def _one_hot(labels: Rows | Flags, num_classes: int, where: Flags | None = None) -> Any:
    """Return (N, K) with 1 at the label of each image, or only of those `where`."""
    rows = np.arange(len(labels)) if where is None else np.flatnonzero(where)
    if num_classes > DENSE_CLASSES:
        from scipy.sparse import csr_array

        return csr_array((np.ones(len(rows)), (rows, labels[rows])), shape=(len(labels), num_classes))
    hot = np.zeros((len(labels), num_classes))
    hot[rows, labels[rows]] = 1
    return hot


def _gaps(predictions: Predictions, bins: int) -> Floats:
    """Return for each image and bin of confidence, (N, M), how much the decisions in it are right beyond their confidence.

    The calibration error is the mean of the absolute sums, see `darkroom.metrics.scores.reliability`.
    """
    if predictions.is_multilabel:
        chosen, scores = predictions.predicted, predictions.scores
        confidence, right = np.where(chosen, scores, 1 - scores), chosen == predictions.labels
    else:
        confidence, right = predictions.confidence[:, None], predictions.right[:, None]
    place = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    cells = np.arange(len(predictions))[:, None] * bins + place
    gaps: Floats = np.zeros(len(predictions) * bins)
    np.add.at(gaps, cells.ravel(), (right - confidence).ravel())
    return gaps.reshape(-1, bins)


def _averages(classes: Mapping[str, Floats], support: Floats, is_seen: Flags) -> dict[str, Floats]:
    """Return means over classes, (B,), from precision, recall and F1 of each, (B, K).

    Those with `_macro` are over the classes with images or predictions, those with `_weighted` over those with images by their
    number; what is undefined there counts as 0. The balanced accuracy is the mean recall of the classes with images.
    """
    known = {name: np.nan_to_num(values) for name, values in classes.items()}
    macro = {f"{name}_macro": (values * is_seen).sum(axis=1) / is_seen.sum(axis=1) for name, values in known.items()}
    weighted = {f"{name}_weighted": (values * support).sum(axis=1) / support.sum(axis=1) for name, values in known.items()}
    return {"balanced_accuracy": known["recall"].sum(axis=1) / (support > 0).sum(axis=1), **macro, **weighted}


def _mean_of_defined(values: Floats) -> Floats:
    """Return the mean of each row, (B,), without NaN; NaN if everything is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0 / 0
        mean: Floats = np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)
    return mean


@dataclass(frozen=True)
class Curve:
    """Metrics of curves over a threshold: they need the images in the order of their scores, one order for each class.

    Attributes
    ----------
    scores : (N, C) float64
        Probabilities: of the positive class of a binary task, or of all K.
    actual : (N, C) bool
        Which images have the class.
    is_binary : bool
        Whether the task is binary.
    """

    scores: Floats
    actual: Flags
    is_binary: bool

    def stacked(self, other: "Curve") -> "Curve":
        """Return the curve over the images of both, (2 N,)."""
        return Curve(
            np.concatenate([self.scores, other.scores]), np.concatenate([self.actual, other.actual]), is_binary=self.is_binary
        )

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Return the metrics for weights (B, N), (B,): the mean over classes with images, as in scikit-learn."""
        precisions, areas = [], []
        for order, actual, ends in self._ordered:
            sorted_weights = weights[:, order]
            positives = np.cumsum(sorted_weights * actual, axis=1)[:, ends]
            everything = np.cumsum(sorted_weights, axis=1)[:, ends]
            precisions.append(_average_precision(positives, everything))
            areas += [_area(positives, everything - positives)] if self.is_binary else []
        if not precisions:
            return {}
        if self.is_binary:
            return {"auroc": areas[0], "average_precision": precisions[0]}
        return {"mean_average_precision": _mean_of_defined(np.stack(precisions, axis=1))}

    @cached_property
    def _ordered(self) -> list[tuple[Rows, Flags, Rows]]:
        """For each class with images: the images by descending score, whether they have it, and where each score ends."""
        found = []
        for place in np.flatnonzero(self.actual.any(axis=0)).tolist():
            order = np.argsort(-self.scores[:, place], kind="stable")
            ends = np.flatnonzero(np.append(np.diff(self.scores[order, place]) != 0, True))
            found.append((order, self.actual[order, place], ends))
        return found


def _average_precision(positives: Floats, everything: Floats) -> Floats:
    """Return the average precision, (B,), from sums down to each threshold, (B, T); NaN without positives."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(everything > 0, positives / everything, 0)
        gained = np.diff(positives, axis=1, prepend=0)
        found: Floats = (precision * gained).sum(axis=1) / positives[:, -1]
    return found


def _area(positives: Floats, negatives: Floats) -> Floats:
    """Return the area under the ROC curve, (B,), by trapezoids; NaN without positives or negatives."""
    height = (positives + np.concatenate([np.zeros((len(positives), 1)), positives[:, :-1]], axis=1)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (height * np.diff(negatives, axis=1, prepend=0)).sum(axis=1) / (positives[:, -1] * negatives[:, -1])
    return found
