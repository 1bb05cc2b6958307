"""The nearest of many images by the cosine between features: an exact search, block by block.

M images are looked for among N, D features; no index is built, since a search among 100 000 takes less than a network does.
"""

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
# Similarities that are in memory at once: 256 images and 16 MB.
QUERIES_AT_ONCE, NUMBERS_AT_ONCE = 256, 4_000_000


def unit(features: Features) -> Features:
    """Return features (N, D) divided by their lengths; those of length 0 stay 0."""
    lengths: Features = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32, copy=False)


def nearest(queries: Features, among: Features, count: int) -> tuple[Features, NDArray[np.int64]]:
    """Return the most similar of `among` for each of `queries`, the most similar first; of equals the first row.

    Memory does not grow with N: `among` may be a file that is mapped into memory (`numpy.load(…, mmap_mode="r")`).

    Parameters
    ----------
    queries : (M, D) float32
        Of any length.
    among : (N, D) float32
        Of length 1, as `unit` returns them.
    count
        How many; of fewer all.

    Returns
    -------
    similarity : (M, count) float32
        Cosine, at most 1.
    row : (M, count) int64
        Rows of `among`.
    """
    count = min(count, len(among))
    similarity = np.full((len(queries), count), -np.inf, np.float32)
    row = np.zeros((len(queries), count), np.int64)
    if not count:
        return similarity, row
    size = max(count, NUMBERS_AT_ONCE // max(QUERIES_AT_ONCE, among.shape[1]))
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        asked = unit(queries[part])
        for start in range(0, len(among), size):
            found = asked @ np.asarray(among[start : start + size]).T
            values, places = _largest(found, count)
            values = np.concatenate([similarity[part], values], axis=1)
            places = np.concatenate([row[part], places + start], axis=1)
            # Stable: earlier rows stand first.
            order = np.argsort(-values, axis=1, kind="stable")[:, :count]
            similarity[part] = np.take_along_axis(values, order, axis=1)
            row[part] = np.take_along_axis(places, order, axis=1)
    return np.minimum(similarity, np.float32(1)), row


def _largest(values: Features, count: int) -> tuple[Features, NDArray[np.int64]]:
    """Return the largest values of each row and their columns, in the order of columns; of equal ones the first."""
    if values.shape[1] <= count:
        return values, np.broadcast_to(np.arange(values.shape[1]), values.shape)
    least = np.partition(values, -count, axis=1)[:, -count, None]
    above = values > least
    # As many of those that are equal to the least as there is room for, from the left.
    equal = values == least
    equal &= np.cumsum(equal, axis=1) <= count - above.sum(axis=1, keepdims=True)
    _, columns = np.nonzero(above | equal)
    places = columns.reshape(len(values), count)
    return np.take_along_axis(values, places, axis=1), places
