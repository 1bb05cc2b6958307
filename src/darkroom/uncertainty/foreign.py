"""Telling images of no trained class by their features before the last layer. NumPy only.

N images, D features, K classes, Q directions.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError

KEY = "params.yaml: evaluate.false_alarms"
Features = NDArray[np.float32]
# Share of the covariance within classes that is replaced by that of equal variance in all directions; weight of the directions
# beside the discriminant ones, and how many there are in all. From benchmarks/unknown_photos.py.
SHRINKAGE, WEIGHT, OTHERS = 0.5, 0.2, 400
# Numbers that are stored at most, 4 bytes each; images that the covariance is estimated from.
MOST_NUMBERS, MOST_IMAGES = 1_000_000, 2000
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ForeignDetector:
    """How far an image is from the classes that were trained: the distance to the nearest mean of a class.

    Attributes
    ----------
    directions : (D, Q) float32
        In which the means of the classes differ, each in units of the standard deviation within classes.
    means : (K, Q) float32
        The means of the classes.
    limit : float
        An image that is farther away is of none of the classes.
    about : dict
        What calibration.json says beside: `false_alarms`, stated and on validation.
    """

    directions: NDArray[np.float32]
    means: NDArray[np.float32]
    limit: float = math.inf
    about: Mapping[str, Any] = field(default_factory=dict)

    def distances(self, features: Features) -> NDArray[np.float64]:
        """Return the distance of each image in units of the limit, (N,), from features (N, D): above 1 it is foreign."""
        return self.raw(features) / self.limit

    def raw(self, features: Features) -> NDArray[np.float64]:
        """Return the distance to the nearest mean, (N,)."""
        places = unit_length(features) @ self.directions.astype(np.float64)
        means = self.means.astype(np.float64)
        squares = (places**2).sum(axis=1)[:, None] - 2 * places @ means.T + (means**2).sum(axis=1)
        nearest: NDArray[np.float64] = np.sqrt(squares.min(axis=1).clip(0))
        return nearest

    def as_json(self) -> dict[str, Any]:
        """Return what calibration.json says of it; numbers are float32, little-endian, in base64."""
        arrays = {name: {"shape": list(each.shape), "float32": _text(each)} for name, each in self._arrays.items()}
        return {**self.about, "limit": self.limit, **arrays}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what calibration.json says of it; raise ValueError, KeyError or TypeError if it is damaged."""
        directions, means = (_array(content[name]) for name in ("directions", "means"))
        limit = float(content["limit"])
        if directions.shape[1] != means.shape[1] or not (
            np.isfinite(directions).all() and np.isfinite(means).all() and limit > 0
        ):
            raise ValueError("what it says of foreign images does not fit together")
        return cls(directions, means, limit, {name: content[name] for name in ABOUT if name in content})

    @property
    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        return {"directions": self.directions, "means": self.means}


ABOUT = ("wanted_false_alarms", "false_alarms")


def fit_directions(features: Features, labels: NDArray[np.integer[Any]]) -> ForeignDetector:
    """Return the detector of training images, without its limit.

    It is the Mahalanobis distance with one covariance for all classes [1]_, in the directions of linear discriminant
    analysis and, with less weight, in those in which images of one class differ most. All others add more noise than knowledge.

    Parameters
    ----------
    features : (N, D)
        Of training images.
    labels : (N,)
        Their classes; a class without images has no mean.

    References
    ----------
    .. [1] K. Lee, K. Lee, H. Lee, J. Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
       Adversarial Attacks", NeurIPS 2018.
    """
    units = unit_length(features)
    present, place = np.unique(labels, return_inverse=True)
    means = np.stack([units[place == label].mean(axis=0) for label in range(len(present))])
    most = max(1, min(units.shape[1], MOST_NUMBERS // (len(present) + units.shape[1])))
    within = Within.of(units - means[place])
    centred = means - means.mean(axis=0)
    # Of the means in a space where images of a class are alike in all directions; orthogonal there.
    whitened = within.whiten(centred)
    values, vectors = np.linalg.eigh(whitened @ whitened.T)
    order = np.argsort(-values, kind="stable")[: min(len(present) - 1, most)]
    order = order[values[order] > ROUNDING * values.max()]
    discriminant = whitened.T @ (vectors[:, order] / np.sqrt(values[order]))  # D Q
    directions = [within.whiten(discriminant.T).T]
    num_others = min(OTHERS, most, len(within.vectors)) - len(order)
    if num_others > 0:
        first = within.vectors[: len(order) + num_others]
        along = np.linalg.qr(first @ discriminant, mode="complete")[0][:, len(order) :]
        directions.append(math.sqrt(WEIGHT) * within.whiten(along.T @ first).T)
    every = np.ascontiguousarray(np.concatenate(directions, axis=1), np.float32)
    return ForeignDetector(every, (means @ every.astype(np.float64)).astype(np.float32))


@dataclass(frozen=True)
class Within:
    """The shrunk covariance within classes.

    Attributes
    ----------
    vectors, values : (R, D) and (R,) float64
        Its eigenvectors, the greatest first, and their eigenvalues.
    rest : float
        The eigenvalue of all other directions.
    """

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]
    rest: float

    @classmethod
    def of(cls, deviations: NDArray[np.float64]) -> Self:
        """Return that of the deviations (N, D) of images from the means of their classes."""
        number, size = deviations.shape
        if size <= number:
            values, columns = np.linalg.eigh(deviations.T @ deviations)
            vectors = columns.T
        else:
            values, columns = np.linalg.eigh(deviations @ deviations.T)
            vectors = (deviations.T @ (columns / np.sqrt(values.clip(np.finfo(np.float64).tiny)))).T
        kept = np.flatnonzero(values > ROUNDING * values.max(initial=0))[::-1]
        shared = SHRINKAGE * float(values[kept].sum()) / number / size or 1.0  # one image of each class: all directions are equal
        return cls(vectors[kept], (1 - SHRINKAGE) * values[kept] / number + shared, shared)

    def whiten(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows (M, D) in a space where the covariance is the same in all directions."""
        factors = 1 / np.sqrt(self.values) - 1 / math.sqrt(self.rest)
        whitened: NDArray[np.float64] = rows / math.sqrt(self.rest) + (rows @ self.vectors.T * factors) @ self.vectors
        return whitened


def with_limit(detector: ForeignDetector, raw: NDArray[np.float64], false_alarms: float) -> ForeignDetector:
    """Return a detector whose limit at most this share of known images exceeds, on average, from distances (N,) of validation.

    Raises
    ------
    InputError
        If there are too few images for such a limit.
    """
    number = len(raw)
    place = math.floor(false_alarms * (number + 1) + ROUNDING)
    if place < 1:
        needed = math.ceil(1 / false_alarms - ROUNDING) - 1
        raise InputError(
            f"{KEY}: is {false_alarms}, for which val needs {needed} images, but it has {number}; raise it, or split.val_fraction"
        )
    ranked = -np.sort(-raw)
    # A new image is as likely to be farther away than the place-th as to have any other of the N + 1 places.
    above = ranked[place - 2] if place > 1 else ranked[0] * (1 + 1e-6)
    limit = float(f"{(ranked[place - 1] + above) / 2:.9g}")
    about = {"wanted_false_alarms": false_alarms, "false_alarms": float((raw > limit).mean())}
    return ForeignDetector(detector.directions, detector.means, max(limit, float(np.finfo(np.float32).tiny)), about)


def training_sample(labels: NDArray[np.integer[Any]], num_classes: int) -> NDArray[np.intp]:
    """Return places of training images to fit on, at most `MOST_IMAGES` but one of each class, at equal distances."""
    most = max(2, MOST_IMAGES // num_classes)
    places = [np.flatnonzero(labels == label) for label in range(num_classes)]
    if len(labels) <= MOST_IMAGES:
        return np.arange(len(labels))
    return np.sort(
        np.concatenate([each[np.arange(min(most, len(each))) * len(each) // min(most, len(each) or 1)] for each in places])
    )


def unit_length(features: Features) -> NDArray[np.float64]:
    """Return features (N, D) scaled to length 1."""
    exact = features.astype(np.float64)
    lengths = np.sqrt((exact**2).sum(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = exact / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def _text(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _array(content: Mapping[str, Any]) -> NDArray[np.float32]:
    rows, columns = content["shape"]
    found = np.frombuffer(base64.b64decode(content["float32"], validate=True), "<f4").reshape(rows, columns)
    return found.astype(np.float32)
