"""How probabilities become predicted classes, with NumPy only. N images, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]  # N K
Rounded = NDArray[np.float64] | NDArray[np.float32]  # N K
Labels = NDArray[np.int64] | NDArray[np.uint8]  # N, or in a multilabel set N K

THRESHOLD = 0.5
# The class of an image for which a model abstains.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """The rule that predicts classes.

    Attributes
    ----------
    threshold : float, or tuple of K
        Of several labels per image, those with a greater probability are predicted, or greater than each its own; of a binary
        task, the positive class where its probability is greater. Of other tasks the most probable class is predicted.
    positive : int or None
        Label of the positive class of a binary task; None: another task.
    """

    threshold: float | tuple[float, ...] = THRESHOLD
    positive: int | None = None

    def chosen(self, probabilities: Rounded) -> NDArray[np.bool_]:
        """Return which of several labels are predicted, (N, K)."""
        above: NDArray[np.bool_] = probabilities > np.asarray(self.threshold)
        return above

    def label(self, probabilities: Rounded) -> NDArray[np.int64]:
        """Return the one class that is predicted for each image, (N,); among equal probabilities the first."""
        labels: NDArray[np.int64] = probabilities.argmax(axis=1)
        if self.positive is not None:
            labels = np.where(probabilities[:, self.positive] > self.threshold, self.positive, 1 - self.positive)
        return labels

    def confidence(self, probabilities: Rounded) -> NDArray[np.float64]:
        """Return the probability of the class that is predicted for each image, (N,)."""
        each = np.take_along_axis(probabilities, self.label(probabilities)[:, None], axis=1)[:, 0]
        return each.astype(np.float64, copy=False)


USUAL = Decision()
