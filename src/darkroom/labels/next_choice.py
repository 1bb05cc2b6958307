"""Which photos to label next: those that stand for many others whose class is uncertain. N photos, L labelled, D features.

Facility location (Mirzasoleiman et al. 2016, https://jmlr.org/papers/v17/mirzasoleiman16a.html): each photo counts as covered by
how similar the most similar labelled one is, and each choice is the photo that adds the most. Photos weigh by how uncertain their
class is, so that with few labels what is typical is chosen, and with many what lies between classes
(docs/decisions/0041-what-to-label-next.md).
"""

import numpy as np
from numpy.typing import NDArray

from darkroom.data.pack import Rows

Features = NDArray[np.float32]
# Up to this many photos, every pair is compared; of more, one photo for each cluster stands for those in it.
MOST = 4000
CLUSTERS = 2000
# Photos whose distances give the scale of the similarity.
SAMPLE = 1000
AT_ONCE = 1024
PASSES = 3  # over all photos, of the clustering


def choose(features: Features, labelled: Features, uncertainty: NDArray[np.floating], count: int, *, seed: int = 0) -> Rows:
    """Return the photos to label, the most useful first.

    Parameters
    ----------
    features
        (N, D), of length 1: the photos without a label.
    labelled
        (L, D), of length 1: the images with one; L may be 0.
    uncertainty
        (N,), from 0 to 1: how much the class of each photo is in doubt; 1 where nothing is known.
    count
        At most N, and at most `CLUSTERS`.
    seed
        Of the clustering.

    Returns
    -------
    rows : (count,) int64
        Of `features`.
    """
    scale = typical_distance(features, seed)
    rows, weights = np.arange(len(features)), np.maximum(uncertainty, 1e-6).astype(np.float32)
    if len(features) > MOST:
        rows, weights = representatives(features, weights, seed)
    shown = features[rows]
    return rows[_cover(_similarity(shown, shown, scale), _nearest(shown, labelled, scale), weights, count)]


def uncertainties(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return for each photo (N,) 1 minus the difference of the two largest of its probabilities (N, K)."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return (1 - (best[:, 1] - best[:, 0])).astype(np.float32)


def typical_distance(features: Features, seed: int = 0) -> float:
    """Return the median of the squared distances between photos, by which similarity does not depend on the network."""
    few = np.random.default_rng(seed).permutation(len(features))[:SAMPLE]
    distances = squared_distances(features[few], features[few])[np.triu_indices(len(few), 1)]
    return max(float(np.median(distances)), 1e-6) if len(distances) else 1.0


def representatives(features: Features, weights: NDArray[np.float32], seed: int) -> tuple[Rows, NDArray[np.float32]]:
    """Return a photo for each cluster (M,), the nearest to its centre, and the sum of the weights in it (M,)."""
    from sklearn.cluster import MiniBatchKMeans

    clustering = MiniBatchKMeans(
        CLUSTERS, init="random", n_init=1, batch_size=4 * AT_ONCE, max_iter=PASSES, random_state=seed, reassignment_ratio=0
    )
    clustering.fit(features)
    centres = clustering.cluster_centers_.astype(np.float32)
    clusters, distances = np.empty(len(features), np.int64), np.empty(len(features), np.float32)
    for start in range(0, len(features), AT_ONCE):
        part = squared_distances(features[start : start + AT_ONCE], centres)
        clusters[start : start + AT_ONCE], distances[start : start + AT_ONCE] = part.argmin(axis=1), part.min(axis=1)
    order = np.lexsort((distances, clusters))
    present, firsts = np.unique(clusters[order], return_index=True)
    sums = np.bincount(clusters, weights, CLUSTERS)[present].astype(np.float32)
    return order[firsts], sums


def _cover(similarity: NDArray[np.float32], covered: NDArray[np.float32], weights: NDArray[np.float32], count: int) -> list[int]:
    """Return `count` of M photos by their similarity (M, M); `covered` (M,) is that of each with the labelled images.

    What a choice adds never grows by other choices: so what it added before bounds it, and most need not be computed again.
    """
    bounds = np.array([float(weights @ np.maximum(row - covered, 0)) for row in similarity])
    chosen: list[int] = []
    while len(chosen) < count:
        place = int(bounds.argmax())
        bounds[place] = float(weights @ np.maximum(similarity[place] - covered, 0))
        if bounds[place] >= bounds.max():
            chosen.append(place)
            covered = np.maximum(covered, similarity[place])
            bounds[place] = -np.inf
    return chosen


def _nearest(features: Features, labelled: Features, scale: float) -> NDArray[np.float32]:
    """Return the similarity (N,) of each photo with the most similar labelled image, 0 without one."""
    found = np.zeros(len(features), np.float32)
    for start in range(0, len(labelled), AT_ONCE):
        found = np.maximum(found, _similarity(features, labelled[start : start + AT_ONCE], scale).max(axis=1))
    return found


def _similarity(some: Features, others: Features, scale: float) -> NDArray[np.float32]:
    similarity: NDArray[np.float32] = np.exp(-squared_distances(some, others) / np.float32(scale))
    return similarity


def squared_distances(some: Features, others: Features) -> NDArray[np.float32]:
    """Return the squared distances (N, M)."""
    lengths = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    squared: NDArray[np.float32] = np.maximum(lengths - 2 * some @ others.T, 0, dtype=np.float32)
    return squared
