"""Probabilities of labelled images by heads that never saw them. N images, D features, K classes."""

import numpy as np
from numpy.typing import NDArray

from darkroom.transfer.logistic_head import fit_logistic


def out_of_fold(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    num_classes: int,
    groups: NDArray[np.int64] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of each image by a logistic regression on the other folds.

    Parameters
    ----------
    features
        (N, D), of length 1.
    labels
        (N,).
    num_classes
        K.
    groups
        (N,), images that are never divided.
    folds
        Number of parts.
    seed
        Of the folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.arange(len(labels)) if groups is None else groups
    # No more than the largest class has images, as the splitter asks.
    folds = max(2, min(folds, len(np.unique(groups)), int(np.bincount(labels).max())))
    found = np.zeros((len(labels), num_classes))
    strength: float | None = None
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for kept, left_out in splitter.split(features, labels, groups):
        # The strength is chosen once: it hardly differs between folds, and choosing it is most of the work.
        head = fit_logistic(
            features[kept], labels[kept], num_classes=num_classes, groups=groups[kept], seed=seed, strength=strength
        )
        strength = head.strength
        found[left_out] = head.probabilities(features[left_out])
    return found
