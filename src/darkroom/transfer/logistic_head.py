"""The last layer of a network as a logistic regression on features. N images, D features, K classes; no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Strengths that are tried: inverse of the penalty on the squared weights, for features of length 1.
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
FOLDS = 5
# Images on which the strength is chosen: with more of them it hardly changes, and solving takes minutes.
MOST = 5000
MAX_STEPS = 300


@dataclass(frozen=True)
class LogisticHead:
    """A linear layer.

    Attributes
    ----------
    weight : (K, D) float32
    bias : (K,) float32
    strength : float
        Inverse of the penalty with which it was fitted.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, K) of features (N, D)."""
        logits: NDArray[np.float32] = features @ self.weight.T + self.bias
        return logits

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probabilities (N, K) of features (N, D); each row sums to 1."""
        logits = self.logits(features).astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
        return probabilities


def fit_logistic(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    num_classes: int,
    groups: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
    strength: float | None = None,
) -> LogisticHead:
    """Fit a multinomial logistic regression, on one thread, so that it is the same on any number of cores.

    Parameters
    ----------
    features
        (N, D), of about length 1.
    labels
        (N,), from 0 to K - 1; a class without an image is given a probability close to 0.
    num_classes
        K.
    groups
        (N,), images that are never divided when the strength is chosen.
    weights
        (N,), what each image counts; None: each as much.
    seed
        Of the folds.
    strength
        Inverse of the penalty; None: the one with the least cross-validated log loss.
    """
    from threadpoolctl import threadpool_limits

    present = np.unique(labels)
    if len(present) == 1:
        return _spread(np.zeros((1, features.shape[1])), np.zeros(1), present, num_classes, strength or STRENGTHS[0])
    with threadpool_limits(1, user_api="blas"):
        # The solution lies in the span of the features: of fewer images than features it is found there, in a fifth of the time.
        basis = np.linalg.qr(features.T.astype(np.float64))[0] if len(features) < features.shape[1] else None
        inner = features if basis is None else (features @ basis).astype(np.float32)
        chosen = strength or choose_strength(inner, labels, groups=groups, weights=weights, seed=seed)
        weight, bias = _solve(inner, labels, chosen, weights)
        weight = weight if basis is None else weight @ basis.T
    return _spread(weight, bias, present, num_classes, chosen)


def choose_strength(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """Return the strength with the least log loss in cross-validation; the middle one where a class has one image alone."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    features, labels = features[rows], np.unique(labels[rows], return_inverse=True)[1]
    groups = np.arange(len(rows)) if groups is None else groups[rows]
    weights = np.ones(len(rows)) if weights is None else weights[rows]
    folds = min(FOLDS, int(np.bincount(labels).min()), len(np.unique(groups)))
    if folds < 2:
        return strengths[len(strengths) // 2]
    losses = np.zeros(len(strengths))
    for kept, left_out in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(features, labels, groups):
        present = np.unique(labels[kept])
        known = np.isin(labels[left_out], present)
        for place, strength in enumerate(strengths):
            if len(present) < 2 or not known.any():
                continue
            solved = _solve(features[kept], labels[kept], strength, weights[kept])
            head = _spread(*solved, present, int(labels.max()) + 1, strength)
            probabilities = head.probabilities(features[left_out][known])
            own = probabilities[np.arange(known.sum()), labels[left_out][known]]
            losses[place] -= np.log(np.maximum(own, 1e-12)) @ weights[left_out][known]
    return strengths[int(losses.argmin())]


def _solve(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    strength: float,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and bias, of two classes as of more."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A solution a little beside the optimum is as good a classifier.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=strength, max_iter=MAX_STEPS).fit(features, labels, weights)
    weight, bias = found.coef_, found.intercept_
    if len(bias) == 1:  # of two classes scikit-learn returns the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _spread(
    weight: NDArray[np.float64], bias: NDArray[np.float64], present: NDArray[np.int64], num_classes: int, strength: float
) -> LogisticHead:
    """Return the head for all classes; those without an image have the lowest logit everywhere."""
    all_weight = np.zeros((num_classes, weight.shape[1]), np.float32)
    all_bias = np.full(num_classes, float(bias.min()) - 20, np.float32)
    all_weight[present], all_bias[present] = weight, bias
    return LogisticHead(all_weight, all_bias, strength)
