"""What is known of images on both sides: of reference images, and of new photos. No torch. n images, D features."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of images that it was not trained on.

    Attributes
    ----------
    confidence : (n,) float64
        Probability of the predicted class.
    predicted : (n,) int64
        The class.
    """

    confidence: NDArray[np.float64]
    predicted: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Outputs":
        """Return those of some images."""
        return Outputs(self.confidence[rows], self.predicted[rows])


@dataclass(frozen=True, eq=False)
class Measured:
    """Images as the tests see them.

    Attributes
    ----------
    features : (n, D) float32
        Of length 1.
    distances : (n,) float64
        From the nearest class, to which the image did not contribute.
    numbers : dict of (n,) float
        Properties that are numbers, by name; of both sides the same ones.
    kinds : dict of n str
        Properties that are words.
    """

    features: NDArray[np.float32]
    distances: NDArray[np.float64]
    numbers: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    kinds: dict[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.distances)

    def take(self, rows: NDArray[np.int64]) -> "Measured":
        """Return some of the images."""
        numbers = {name: values[rows] for name, values in self.numbers.items()}
        kinds: dict[str, Sequence[str]] = {name: [values[row] for row in rows.tolist()] for name, values in self.kinds.items()}
        return Measured(self.features[rows], self.distances[rows], numbers, kinds)
