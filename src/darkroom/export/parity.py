"""Whether an export answers as the model does: on real images, in numbers and in decisions. N images, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images import ImageArray
from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import with_channels
from darkroom.export.formats import Run
from darkroom.metrics.decision import Decision

# Probabilities that differ by less are a tie, which rounding decides.
TIE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How an export compares with the model.

    Attributes
    ----------
    images : int
        Number of images that were compared.
    largest_difference : float
        Of a probability.
    ties : int
        Images with another decision where two were as probable.
    other_decisions : int
        Images with another decision beyond ties; an export with one of them is refused.
    """

    images: int
    largest_difference: float
    ties: int
    other_decisions: int

    def record(self) -> dict[str, Any]:
        """Return the numbers as a metric."""
        return dict(vars(self))


def stored_images(pack: Pack, rows: Rows) -> list[ImageArray]:
    """Return images of the pack as an export is given them, (H, W, 3) uint8."""
    return [with_channels(image if image.ndim == 3 else image[..., None], 3) for row in rows for image in [pack.read(int(row))]]


def run_each(run: Run, images: Sequence[ImageArray]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) of images of any sizes, one at a time."""
    return np.concatenate([run(np.ascontiguousarray(image)[None]) for image in images]).astype(np.float64)


def compare(wanted: NDArray[np.float64], found: NDArray[np.float64], decision: Decision, *, multilabel: bool) -> Parity:
    """Compare the probabilities (N, K) of a model and of its export.

    Parameters
    ----------
    wanted, found
        Of the model and of the export.
    decision
        Which classes are predicted.
    multilabel
        Whether an image has any number of classes.
    """
    if multilabel:
        other = decision.chosen(wanted) != decision.chosen(found)
        near = np.abs(wanted - np.asarray(decision.threshold)) < TIE
        differ, tied = other.any(axis=1), ~(other & ~near).any(axis=1)
    else:
        before, after = decision.label(wanted), decision.label(found)
        differ = before != after
        rows = np.arange(len(wanted))
        if decision.positive is not None:
            tied = np.abs(wanted[:, decision.positive] - np.asarray(decision.threshold)) < TIE
        else:
            tied = np.abs(wanted[rows, before] - wanted[rows, after]) < TIE
    largest = float(np.abs(wanted - found).max()) if wanted.size else 0.0
    return Parity(len(wanted), largest, int((differ & tied).sum()), int((differ & ~tied).sum()))
