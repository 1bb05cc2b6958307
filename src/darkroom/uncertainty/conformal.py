"""Sets of classes that hold the correct one as often as stated, fitted on validation. NumPy only. N images, K classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError

KEY = "params.yaml: evaluate.conformal"
ROUNDING = 1e-9


@dataclass(frozen=True)
class ConformalSets:
    """Which classes are in the set of an image: those of at least a probability.

    Attributes
    ----------
    coverage : float
        Share of images whose set holds the correct class.
    probability : float
        The least calibrated probability of a class in the set; 0: every class is.
    """

    coverage: float
    probability: float

    def members(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return which classes are in the set of each image, (N, K), from calibrated probabilities (N, K)."""
        inside: NDArray[np.bool_] = probabilities >= self.probability
        return inside

    def measured(self, probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return for each image whether its set holds the correct class, and the number of classes in it, (2, N)."""
        inside = self.members(probabilities)
        return np.stack([inside[np.arange(len(labels)), labels], inside.sum(axis=1)]).astype(np.float64)

    def as_json(self) -> dict[str, Any]:
        """Return what calibration.json says of it."""
        return {"coverage": self.coverage, "probability": self.probability}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what calibration.json says of it; errors are those of a damaged file."""
        return cls(float(content["coverage"]), float(content["probability"]))


def fit_conformal(own: NDArray[np.float64], coverage: float) -> ConformalSets:
    """Return the smallest sets that hold the correct class of a new image with at least this probability.

    It is split conformal prediction with the score 1 - p of the correct class [1]_, [2]_: of N images the one with the
    floor((1 - coverage) (N + 1))-th smallest probability of its correct class decides. That holds for images drawn like
    those of validation, on average over such draws. Sets may be empty.

    Parameters
    ----------
    own : (N,)
        Calibrated probability of the correct class of each image of validation.
    coverage
        Above 0 and below 1.

    Raises
    ------
    InputError
        If there are so few images that only the set of all classes would do.

    References
    ----------
    .. [1] M. Sadinle, J. Lei, L. Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels", JASA 2019.
    .. [2] A. N. Angelopoulos, S. Bates, "A Gentle Introduction to Conformal Prediction", 2021, section 1.
    """
    # In floating point 1 - 0.9 is a little less than 0.1, and 9 images would be one too few.
    place = math.floor((1 - coverage) * (len(own) + 1) + ROUNDING)
    if place < 1:
        needed = math.ceil(1 / (1 - coverage) - ROUNDING) - 1
        raise InputError(
            f"{KEY}: is {coverage}, for which val needs {needed} images, but it has {len(own)}: each set would hold all classes; "
            "lower it, or raise split.val_fraction"
        )
    return ConformalSets(coverage, float(np.partition(own, place - 1)[place - 1]))
