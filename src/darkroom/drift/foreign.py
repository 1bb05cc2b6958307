"""How foreign photos are to labelled images, which of them are, and how many. R reference images, N photos, D features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.bootstrap import wilson
from darkroom.uncertainty.foreign import fit_directions

FOLDS = 5
# Of the photos that are called foreign at most this share is not, on average.
FALSE_DISCOVERIES = 0.2
# Share of ordinary photos that count as far when the number of foreign ones is estimated.
FAR = 0.05

Features = NDArray[np.float32]
Floats = NDArray[np.float64]


def distances_out_of_fold(
    reference: Features, labels: NDArray[np.int64], units: NDArray[np.int64], photos: Features
) -> tuple[Floats, Floats]:
    """Return the distances of reference images (R,), each from classes that it had no part in, and of photos (N,).

    A photo has the mean over the folds, so that both come from equally many images.

    Parameters
    ----------
    reference, photos : (R, D), (N, D)
        Features by a network that was trained on neither.
    labels, units : (R,)
        Classes, and what is never divided.
    """
    folds = np.unique(units, return_inverse=True)[1] % FOLDS
    own, new = np.zeros(len(reference)), np.zeros((FOLDS, len(photos)))
    for fold in range(FOLDS):
        detector = fit_directions(reference[folds != fold], labels[folds != fold])
        own[folds == fold], new[fold] = detector.raw(reference[folds == fold]), detector.raw(photos)
    return own, new.mean(axis=0)


@dataclass(frozen=True, eq=False)
class ForeignPhotos:
    """Which photos are foreign.

    Attributes
    ----------
    p_values : (N,)
        Probability that a known image is as far away.
    is_foreign : (N,) bool
        Which are called foreign.
    share, low, high : float
        The estimated share of foreign photos, and the ends of its 95 % interval.
    """

    p_values: Floats
    is_foreign: NDArray[np.bool_]
    share: float
    low: float
    high: float


def find_foreign(reference: Floats, photos: Floats) -> ForeignPhotos:
    """Return the foreign ones of photos from distances (R,) of known images that the classes were not fitted to, and (N,).

    The conformal p-value of a photo is the share of known images that are as far; which photos are called foreign is decided by
    Benjamini and Hochberg's rule, under which at most `FALSE_DISCOVERIES` of them are not [1]_. The share of foreign photos comes
    from those beyond the distance that `FAR` of the known images exceed; only the others can be called so by mistake [2]_.

    References
    ----------
    .. [1] S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with conformal p-values", 2023.
    .. [2] J. D. Storey, "A direct approach to false discovery rates", 2002.
    """
    ordered = np.sort(reference)
    farther = len(ordered) - np.searchsorted(ordered, photos, side="left")
    p_values = (1 + farther) / (1 + len(ordered))
    far = float((p_values <= FAR).mean())
    share, low, high = (max(0.0, (each - FAR) / (1 - FAR)) for each in (far, *wilson(far, len(photos))))
    ranked = np.sort(p_values)
    mistakes = (1 - share) * ranked * len(ranked)
    fits = np.flatnonzero(mistakes <= FALSE_DISCOVERIES * np.arange(1, len(ranked) + 1))
    limit = ranked[fits[-1]] if len(fits) else -1.0
    return ForeignPhotos(p_values, p_values <= limit, share, low, high)
