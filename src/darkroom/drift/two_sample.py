"""Statistics that tell new photos from reference images. R reference images, N new photos, D features, P permutations.

They were chosen by measurement: docs/decisions/0050-drift.md, benchmarks/drift.py.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.drift.permutation import Assignments, Floats

# Ridge penalty of the classifier, in units of the mean variance along an image's features.
PENALTY = 1.0
# How far the weight of an image grows towards the farthest one: by 1 / (share of images that are farther + this).
TAIL = 0.01


def ranks(values: Floats) -> NDArray[np.float64]:
    """Return the share of values (M,) that each of them exceeds, between 0 and 1; equal ones share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shares: NDArray[np.float64] = (ends - counts / 2)[places] / len(values)
    return shares


def tail_weights(distances: Floats) -> NDArray[np.float64]:
    """Return weights (M,) that grow towards the largest distances, so that a few of these are seen among many photos."""
    weights: NDArray[np.float64] = 1 / (1 - ranks(distances) + TAIL)
    return weights


def auc_of_classifier(features: NDArray[np.float32], assignments: Assignments) -> NDArray[np.float64]:
    """Return how well a classifier tells the two samples apart (P + 1,): its area under the ROC curve on images it did not see.

    It is a ridge regression on which is which. What it predicts for an image without this image has a closed form that is linear
    in the assignment, so that thousands of permutations cost one product of matrices. See D. Lopez-Paz, M. Oquab, "Revisiting
    Classifier Two-Sample Tests", ICLR 2017; G. H. Golub, M. Heath, G. Wahba, "Generalized Cross-Validation", 1979.

    Parameters
    ----------
    features : (R + N, D)
        Of length 1.
    assignments
        Which of them count as new.
    """
    count = len(features)
    centred = features.astype(np.float64) - features.mean(axis=0)
    kernel = centred @ centred.T
    inverse = np.linalg.inv(kernel / (np.trace(kernel) / count) + PENALTY * np.eye(count))
    chosen = assignments.chosen
    targets = chosen - chosen.mean(axis=1, keepdims=True)
    residuals = targets @ (inverse / np.diag(inverse)).astype(np.float32)
    return _areas(targets - residuals, chosen)


def _areas(scores: NDArray[np.float32], chosen: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each row of scores; ties, of which there are hardly any, count as they stand."""
    num_new = chosen[0].sum(dtype=np.float64)
    num_reference = chosen.shape[1] - num_new
    places = np.empty(scores.shape, np.float32)
    order = np.argsort(scores, axis=1)
    np.put_along_axis(places, order, np.arange(1, scores.shape[1] + 1, dtype=np.float32)[None], axis=1)
    sums = (places * chosen).sum(axis=1, dtype=np.float64)
    areas: NDArray[np.float64] = (sums - num_new * (num_new + 1) / 2) / (num_new * num_reference)
    return areas


def shift(values: Floats, assignments: Assignments) -> NDArray[np.float64]:
    """Return how far the ranks of the new photos lie from those of all, in either direction (P + 1,); values are (R + N,)."""
    return np.abs(assignments.sums(ranks(values) - 0.5))


def chi_squared(codes: NDArray[np.integer[Any]], assignments: Assignments) -> NDArray[np.float64]:
    """Return how far the counts of categories (R + N,) among new photos are from those expected, Pearson's statistic (P + 1,)."""
    _, places = np.unique(codes, return_inverse=True)
    members = np.eye(places.max() + 1, dtype=np.float32)[places]
    expected = members.mean(axis=0) * assignments.num_new
    found: NDArray[np.float64] = ((assignments.sums(members) - expected) ** 2 / expected).sum(axis=1)
    return found
