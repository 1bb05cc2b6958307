"""Nearest neighbours by features. M and N images, D features."""

import numpy as np
from numpy.typing import NDArray

# Queries that are compared with all others at once.
AT_ONCE = 64


def nearest(
    queries: NDArray[np.float32], among: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the nearest of `among` for each query, the nearest first.

    Parameters
    ----------
    queries
        (M, D), of length 1.
    among
        (N, D), of length 1.
    count
        How many.

    Returns
    -------
    similarities : (M, count) float32
        Cosine of the angle between features; 1: equal.
    rows : (M, count) int64
        Of `among`.
    """
    count = min(count, len(among))
    similarities, rows = np.zeros((len(queries), count), np.float32), np.zeros((len(queries), count), np.int64)
    for start in range(0, len(queries), AT_ONCE):
        found = queries[start : start + AT_ONCE] @ among.T
        # Stable, so that equal images come in one order everywhere.
        places = np.argsort(-found, axis=1, kind="stable")[:, :count]
        rows[start : start + AT_ONCE] = places
        similarities[start : start + AT_ONCE] = np.minimum(1, np.take_along_axis(found, places, axis=1))
    return similarities, rows
