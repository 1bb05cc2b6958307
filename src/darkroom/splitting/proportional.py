"""Drawing rows at random with the share of every class kept: the draws of scikit-learn without its import. N rows, K classes.

scikit-learn and scipy take a second of a core to import, more than all the rest of a small split. The random numbers are taken
in the order of its `StratifiedShuffleSplit` (https://scikit-learn.org), so that a split is the same with either.
"""

import numpy as np
from numpy.typing import NDArray

from darkroom.data.pack import Rows


def draw_proportional(labels: NDArray[np.integer], count: int, seed: int) -> Rows:
    """Return (count,) rows of labels (N,), of every class its share, rounded up for classes with the largest remainders.

    Each class has two rows or more, and `count` and `N - count` are K or more.
    """
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(sizes)[:-1])
    random = np.random.RandomState(seed)
    kept = _shares(sizes, len(labels) - count, random)
    drawn = _shares(sizes - kept, count, random)
    shuffled = [rows[random.permutation(len(rows))] for rows in members]
    return np.concatenate([rows[first : first + size] for rows, first, size in zip(shuffled, kept, drawn, strict=True)])


def _shares(sizes: NDArray[np.integer], count: int, random: np.random.RandomState) -> NDArray[np.int64]:
    """Return how many (K,) of `count` rows fall to classes of these sizes; equal remainders are decided by lot."""
    exact = sizes / sizes.sum() * count
    shares = np.floor(exact)
    missing = int(count - shares.sum())
    remainders = exact - shares
    for value in np.unique(remainders)[::-1]:
        if missing <= 0:
            break
        (equal,) = np.nonzero(remainders == value)
        chosen = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    counts: NDArray[np.int64] = shares.astype(np.int64)
    return counts
