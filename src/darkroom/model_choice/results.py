"""What was measured of each recipe, which of them are level, and which one is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darkroom.comparison.resampling import mcnemar
from darkroom.metrics.bootstrap import wilson
from darkroom.model_choice.recipes import Recipe

if TYPE_CHECKING:
    from darkroom.model_choice.trial import Measured

# A difference that chance alone would make at least so often is none.
CHANCE = 0.05
NO_TIME = "no time was left"


@dataclass(frozen=True, eq=False)
class Row:
    """A recipe with its results on one fold or several.

    Attributes
    ----------
    recipe : Recipe
    measured : tuple of Measured
        The first on the split of the pipeline.
    """

    recipe: Recipe
    measured: "tuple[Measured, ...]"

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows (N,) of the images that it was judged on."""
        return np.concatenate([each.rows for each in self.measured])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which of these (N,) were predicted correctly."""
        return np.concatenate([each.right for each in self.measured])

    @property
    def accuracy(self) -> float:
        """Of all images that it was judged on."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.accuracy, len(self.right))

    @property
    def published(self) -> float:
        """What the line to run gives: `published.accuracy` of metrics/train.json."""
        return self.measured[0].published

    @property
    def seconds(self) -> float:
        """That the training of the line takes."""
        return self.measured[0].seconds

    @property
    def images_per_second(self) -> float:
        """Speed of the network."""
        return self.measured[0].images_per_second


@dataclass(frozen=True)
class LeftOut:
    """A recipe that was not tried, or not to its end, and why."""

    recipe: Recipe
    why: str


def beats(one: Row, other: Row) -> bool:
    """Return whether a row is better than another beyond chance: by McNemar's exact test, on images that both were judged on."""
    _, first, second = np.intersect1d(one.rows, other.rows, assume_unique=True, return_indices=True)
    right, others = one.right[first], other.right[second]
    won, lost = int((right & ~others).sum()), int((~right & others).sum())
    return won > lost and mcnemar(won, lost) < CHANCE


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the highest accuracy first, of equals the faster."""
    return sorted(rows, key=lambda row: (-row.accuracy, -row.images_per_second))


def level(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other one beats, the fastest first: the first is proposed."""
    unbeaten = [row for row in rows if not any(beats(other, row) for other in rows)]
    return sorted(unbeaten, key=lambda row: -row.images_per_second)
