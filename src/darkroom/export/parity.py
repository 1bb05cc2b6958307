"""Whether an export answers as the model does: on real images, in numbers and in decisions. N images, K classes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.images import ImageArray
from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import with_channels
from darkroom.export.formats import Run
from darkroom.metrics.decision import Decision

# Probabilities, or distances from the limit, that differ by less are a tie, which rounding decides.
TIE = 1e-4
Outputs = tuple[NDArray[np.float64], ...]
FEATURES, DISTANCES = 1, 2
"""Their places among the outputs."""
TINY = 1e-30


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
    embedding_difference : float or None
        The largest difference of a feature, as a fraction of the largest feature; None: it has none.
    """

    images: int
    largest_difference: float
    ties: int
    other_decisions: int
    embedding_difference: float | None = None

    def record(self) -> dict[str, Any]:
        """Return the numbers as a metric."""
        return dict(vars(self))


def stored_images(pack: Pack, rows: Rows) -> Iterator[ImageArray]:
    """Yield images of the pack as an export is given them, (H, W, 3) uint8."""
    for row in rows:
        image = pack.read(int(row))
        yield with_channels(image if image.ndim == 3 else image[..., None], 3)


def run_each(run: Run, images: Iterable[ImageArray]) -> Outputs:
    """Return what an export gives for images of any sizes, one at a time."""
    each = zip(*(run(np.ascontiguousarray(image)[None]) for image in images), strict=True)
    return tuple(np.concatenate(parts).astype(np.float64) for parts in each)


def compare(wanted: Outputs, found: Outputs, decision: Decision, *, multilabel: bool) -> Parity:
    """Compare what a model and its export give: probabilities (N, K), features (N, D), and distances (N,) of the foreign.

    Parameters
    ----------
    wanted, found
        Of the model and of the export; the last one or two may be missing.
    decision
        Which classes are predicted.
    multilabel
        Whether an image has any number of classes.
    """
    differ, tied = _decisions(wanted[0], found[0], decision, multilabel=multilabel)
    if len(wanted) > DISTANCES:
        other = (wanted[DISTANCES] > 1) != (found[DISTANCES] > 1)
        tied = np.where(other, (np.abs(wanted[DISTANCES] - 1) < TIE) & (tied | ~differ), tied)
        differ |= other
    largest = float(np.abs(wanted[0] - found[0]).max()) if wanted[0].size else 0.0
    embedding = None
    if len(wanted) > FEATURES and wanted[FEATURES].size:
        embedding = float(np.abs(wanted[FEATURES] - found[FEATURES]).max() / max(np.abs(wanted[FEATURES]).max(), TINY))
    return Parity(len(wanted[0]), largest, int((differ & tied).sum()), int((differ & ~tied).sum()), embedding)


def _decisions(
    wanted: NDArray[np.float64], found: NDArray[np.float64], decision: Decision, *, multilabel: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for which images probabilities (N, K) give another decision, and which of these are ties."""
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
    return differ, tied
