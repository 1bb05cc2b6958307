"""What an export in int8 loses on labelled images, and what it gains in speed. N images, K classes."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.data.images import ImageArray
from darkroom.data.labels import Labels
from darkroom.export.formats import Run
from darkroom.export.int8 import has_instructions
from darkroom.export.parity import Parity
from darkroom.metrics.bootstrap import middle_of, wilson
from darkroom.metrics.decision import Decision

# Points of accuracy that may be lost without being asked for.
ALLOWED = 0.3
# Images of validation that are measured at most.
MEASURED = 10_000
DRAWS, SEED = 2000, 0
# So many times as fast as float32 it should be.
FASTER, BATCH, SECONDS, FEWEST = 1.8, 8, 2.0, 5


@dataclass(frozen=True)
class Loss:
    """What int8 loses on images with labels.

    Attributes
    ----------
    accuracy, float32_accuracy : float
        Share of the images whose class, or all of whose classes, are predicted.
    lost_points : float
        Their difference in points, positive where int8 is worse.
    lost_points_low, lost_points_high : float
        Between which 95 % of bootstrap draws of the images are.
    changed : float
        Share of the images with another decision.
    changed_low, changed_high : float
        Wilson's interval of it with 95 %.
    """

    accuracy: float
    float32_accuracy: float
    lost_points: float
    lost_points_low: float
    lost_points_high: float
    changed: float
    changed_low: float
    changed_high: float

    def record(self) -> dict[str, Any]:
        """Return the numbers as metrics."""
        return {name: round(value, 6) for name, value in vars(self).items()}


def loss_of(right: NDArray[np.bool_], float32_right: NDArray[np.bool_], parity: Parity) -> Loss:
    """Return what is lost, given which images (N,) each predicts correctly.

    Parameters
    ----------
    right, float32_right
        Of int8 and of the model.
    parity
        How their decisions compare, on the same images.
    """
    lost = float32_right.astype(np.float64) - right
    draws = np.random.default_rng(SEED).multinomial(len(lost), np.full(len(lost), 1 / len(lost)), size=DRAWS) @ lost / len(lost)
    (low, high), changed = middle_of(draws), (parity.other_decisions + parity.ties) / parity.images
    changed_low, changed_high = wilson(changed, parity.images)
    return Loss(
        accuracy=float(right.mean()),
        float32_accuracy=float(float32_right.mean()),
        lost_points=100 * float(lost.mean()),
        lost_points_low=100 * low,
        lost_points_high=100 * high,
        changed=changed,
        changed_low=changed_low,
        changed_high=changed_high,
    )


def is_right(probabilities: NDArray[np.float64], labels: Labels, decision: Decision, *, multilabel: bool) -> NDArray[np.bool_]:
    """Return for which images (N,) the class is predicted, or of several labels all of them and no other."""
    if multilabel:
        every: NDArray[np.bool_] = (decision.chosen(probabilities) == labels.astype(bool)).all(axis=1)
        return every
    same: NDArray[np.bool_] = decision.label(probabilities) == labels
    return same


def refuse_loss(name: str, loss: Loss, images: int, allowed: float, option: str) -> None:
    """Refuse an export that loses more points than are allowed; `option` says by what."""
    if loss.lost_points > allowed + 1e-9:
        raise InputError(
            f"{name}: loses {loss.lost_points:.2g} points of accuracy on {images} images of validation "
            f"({loss.float32_accuracy:.4f} to {loss.accuracy:.4f}), more than the {allowed:g} that {option} allows; "
            f"it is not written; export openvino, or set {option} to {np.ceil(10 * loss.lost_points) / 10:g}"
        )


class Speed(NamedTuple):
    """Images/s of a batch in float32 and in int8."""

    float32: float
    int8: float

    def line(self, name: str) -> str:
        """Say how much faster int8 is here, and why where it is not."""
        times = self.int8 / self.float32
        text = f"export: {name}: {self.int8:,.0f} images/s, {times:.1f} times those of float32 ({self.float32:,.0f})"
        if times >= FASTER:
            return text
        return f"{text}, not {FASTER:g}: {WHY[has_instructions()]}"


WHY = {
    True: "this CPU has instructions for bytes, but the layers of this network gain little, or another program takes its time",
    False: "this CPU has no instructions for products of bytes (VNNI)",
    None: "whether this CPU has instructions for products of bytes is not known",
}


def compare_speed(float32: Run, int8: Run, image: ImageArray) -> Speed:
    """Measure both on a batch of an image, in turns, so that what else the machine does slows both."""
    batch = np.ascontiguousarray(np.stack([image] * BATCH))
    taken: dict[Run, list[float]] = {float32: [], int8: []}
    end = time.perf_counter() + SECONDS
    for run in taken:
        run(batch)
    while time.perf_counter() < end or len(taken[int8]) < FEWEST:
        for run, times in taken.items():
            begun = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - begun)
    return Speed(*(BATCH / median(taken[run]) for run in (float32, int8)))
