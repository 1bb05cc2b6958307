"""The proportions of classes among new photos: predicted ones, corrected for the mistakes of the model. K classes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
DRAWS, INTERVAL = 200, (0.025, 0.975)
# Of more classes, intervals would take minutes.
MOST_CLASSES = 100


class ClassShare(NamedTuple):
    """The share of a class: of validation images, of photos as predicted, corrected, and the ends of a 95 % interval or None."""

    name: str
    known: float
    predicted: float
    corrected: float
    low: float | None
    high: float | None


def estimate_shares(classes: list[str], labels: Classes, predicted: Classes, of_photos: Classes, seed: int) -> list[ClassShare]:
    """Return the shares of the classes among photos by black-box shift estimation.

    If photos of one class look like the training images of this class, the predicted counts are the confusion matrix times the
    counts of the classes [1]_; it is solved by least squares for shares that are not negative.

    Parameters
    ----------
    classes
        K names.
    labels, predicted : (V,)
        Of validation images.
    of_photos : (N,)
        Predicted classes of the photos.
    seed
        Of the bootstrap.

    References
    ----------
    .. [1] Z. C. Lipton, Y.-X. Wang, A. Smola, "Detecting and Correcting for Label Shift with Black Box Predictors", ICML 2018.
    """
    count = len(classes)
    random = np.random.default_rng(seed)
    corrected = _corrected(labels, predicted, of_photos, count)
    ends: list[tuple[float | None, float | None]] = [(None, None)] * count
    if count <= MOST_CLASSES:
        draws = []
        for _ in range(DRAWS):
            rows, photos = random.integers(len(labels), size=len(labels)), random.integers(len(of_photos), size=len(of_photos))
            draws.append(_corrected(labels[rows], predicted[rows], of_photos[photos], count))
        ends = [(float(low), float(high)) for low, high in np.quantile(draws, INTERVAL, axis=0).T]
    known, shown = (np.bincount(each, minlength=count) / len(each) for each in (labels, of_photos))
    return [
        ClassShare(name, float(known[label]), float(shown[label]), float(corrected[label]), *ends[label])
        for label, name in enumerate(classes)
    ]


def _corrected(labels: Classes, predicted: Classes, of_photos: Classes, count: int) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    confusion = np.zeros((count, count))
    np.add.at(confusion, (predicted, labels), 1.0)
    own = confusion.sum(axis=0)
    # A class without images of validation is taken to be predicted correctly.
    confusion[:, own == 0] = np.eye(count)[:, own == 0]
    shares, _ = nnls(confusion / confusion.sum(axis=0), np.bincount(of_photos, minlength=count) / len(of_photos))
    return np.asarray(shares) / max(float(shares.sum()), np.finfo(np.float64).tiny)
