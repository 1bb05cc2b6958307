"""A place for every class on both sides of a split, where drawing in proportion gives a rare one none. N units, K classes."""

import numpy as np
from numpy.typing import NDArray


def with_every_class(sampled: NDArray[np.bool_], labels: NDArray[np.bool_], *, keep: int, seed: int) -> NDArray[np.bool_]:
    """Return a draw in which every class of at least `keep + 1` units has one, and `keep` units among the others.

    A draw that has them already is returned as it is. Else units change sides one for one where that is possible, so that the
    draw keeps its size.

    Parameters
    ----------
    sampled : (N,) bool
        Units that were drawn.
    labels : (N, K) bool
        Classes of each unit.
    keep
        Units of each class that the others need.
    seed
        Of the choice among equals.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    sampled = sampled.copy()
    for label in np.argsort(labels.sum(axis=0), kind="stable"):
        if labels[:, label].sum() <= keep:
            continue
        if not sampled[labels[:, label]].any():
            _swap(sampled, labels, order, int(label), into=True, here=1, there=keep)
        for _ in range(keep - int((~sampled[labels[:, label]]).sum())):
            _swap(sampled, labels, order, int(label), into=False, here=keep, there=1)
    return sampled


def _swap(
    sampled: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    order: NDArray[np.int64],
    label: int,
    *,
    into: bool,
    here: int,
    there: int,
) -> None:
    """Move a unit of a class into the draw or out of it, and another one back, if there are such."""
    moved = _spare(sampled != into, labels, order, there, labels[:, label])
    if moved is None:
        return
    sampled[moved] = into
    # Of the largest class that can spare one.
    largest = np.argsort(-labels[sampled == into].sum(axis=0), kind="stable")[0]
    back = _spare(sampled == into, labels, order, here, labels[:, largest] & ~labels[:, label])
    if back is not None:
        sampled[back] = not into


def _spare(
    side: NDArray[np.bool_], labels: NDArray[np.bool_], order: NDArray[np.int64], least: int, among: NDArray[np.bool_]
) -> int | None:
    """Return a unit of one side that each of its classes can spare there, since `least` others remain."""
    spared = labels[side].sum(axis=0) > least
    fitting = side & among & (spared | ~labels).all(axis=1)
    return next((int(unit) for unit in order if fitting[unit]), None)
