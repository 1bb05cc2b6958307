"""Abstaining from predictions that are too uncertain. NumPy only. N images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Abstention:
    """Below which confidence to abstain; on validation the precision of the other images, and their share of all."""

    confidence: float
    precision: float
    coverage: float


def fit_abstention(confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> Abstention | None:
    """Return the confidence from which on predictions are right as often as wanted, for as many images as possible.

    None: at no confidence.

    See Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(ranked) + 1)
    fits = precision >= wanted
    fits[:-1] &= ranked[:-1] != ranked[1:]
    if not fits.any():
        return None
    place = int(np.flatnonzero(fits)[-1])
    if place + 1 == len(ranked):
        return Abstention(0.0, float(precision[-1]), 1.0)
    middle = (ranked[place] + ranked[place + 1]) / 2
    return Abstention(float(f"{middle:.9g}"), float(precision[place]), (place + 1) / len(ranked))
