"""Fits the calibration of a model on its predictions for validation, and calibrates those for other splits. No torch.

N images, K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError, warn
from darkroom.metrics.calibration import (
    MOST_FITTED,
    Calibration,
    at_temperature,
    calibration_json,
    evenly,
    fit_temperature,
    fit_threshold,
)
from darkroom.metrics.decision import UNKNOWN, Decision, Labels
from darkroom.metrics.outcomes import Outcomes, OutcomesBuilder, Predicted
from darkroom.metrics.per_image import Floats
from darkroom.uncertainty import conformal
from darkroom.uncertainty.abstention import Abstention, fit_abstention
from darkroom.uncertainty.conformal import fit_conformal
from darkroom.uncertainty.foreign import ForeignDetector

KEY = "params.yaml: evaluate.abstain_precision"
# What is measured of sets of classes: of an image whether its set holds the correct class, and how many classes are in it.
SETS = ("conformal_coverage", "conformal_size")
# Numbers that are calibrated at once.
AT_ONCE = 1_000_000


class Calibrator:
    """Fits on `val` and calibrates every split.

    Of more than a thousand classes it sees the batches on their way: of `val` it keeps some images at equal distances, and the
    other splits it calibrates at once, so that it never holds all probabilities.

    Parameters
    ----------
    classes, decision
        The K class names, and which classes are predicted.
    multilabel
        Whether an image has any number of classes.
    bins
        Number of bins of confidence.
    num_images
        Number of images of `val`.
    weights_sha256
        Hash of the model's weights.
    wanted
        Precision for which the model abstains, or None.
    coverage
        Share of images whose set of classes holds the correct one, or None: there are no sets.

    Attributes
    ----------
    calibration : Calibration
        What was fitted.
    per_image : dict
        By split and name what means of it are metrics, (N,): `conformal_coverage`, `conformal_size`, `false_alarms`.

    Raises
    ------
    InputError
        If a model abstains that cannot, or has sets of classes of several labels.
    """

    calibration: Calibration

    def __init__(
        self,
        classes: list[str],
        decision: Decision,
        *,
        multilabel: bool,
        bins: int,
        num_images: int,
        weights_sha256: str,
        wanted: float | None = None,
        coverage: float | None = None,
    ):
        for key, value in ((KEY, wanted), (conformal.KEY, coverage)):
            if value is not None and multilabel:
                raise InputError(
                    f"{key}: is {value}, but an image has any number of classes, which are decided one by one; set it to null"
                )
        if wanted is not None and UNKNOWN in classes:
            raise InputError(f"{KEY}: predicts '{UNKNOWN}' where the model abstains, but a class is called so; rename the class")
        self.classes, self.decision, self.multilabel, self.bins = classes, decision, multilabel, bins
        self.weights_sha256, self.wanted, self.coverage = weights_sha256, wanted, coverage
        self.per_image: dict[str, dict[str, Floats]] = {}
        self.abstention: Abstention | None = None
        self._rows = evenly(num_images, max(1, MOST_FITTED // len(classes)))
        self._sampled: list[NDArray[np.float32]] = []
        self._labels: list[Labels] = []
        self._others: dict[str, OutcomesBuilder] = {}
        self._about: dict[str, Any] = {}

    def add(self, name: str, start: int, batch: Predicted) -> None:
        """See a batch of a split whose first image has the place `start`; only of more than a thousand classes."""
        if name == "val":
            places = self._rows[(self._rows >= start) & (self._rows < start + len(batch.labels))] - start
            self._sampled.append(batch.probabilities[places])
            self._labels.append(batch.labels[places])
        else:
            builder = self._others.setdefault(name, self._builder())
            probabilities = self._at_temperature(batch.probabilities)
            builder.add(probabilities, batch.labels)
            self._add_sets(name, probabilities, batch.labels)

    def fit(self, outcomes: Outcomes) -> None:
        """Fit on the outcomes of `val`.

        Raises
        ------
        InputError
            If no confidence has the wanted precision, or there are too few images for sets of classes.
        """
        known = outcomes.probabilities is not None
        probabilities = outcomes.probabilities if known else np.concatenate(self._sampled)
        labels: Labels = outcomes.labels if known else np.concatenate(self._labels)  # type: ignore[assignment]
        assert probabilities is not None
        temperature = fit_temperature(probabilities, labels)
        self.calibration = Calibration(self.weights_sha256, temperature)
        thresholds = None
        if self.multilabel:
            each = (self._at_temperature(probabilities[:, [label]])[:, 0] for label in range(len(self.classes)))
            thresholds = tuple(fit_threshold(column, labels[:, label] == 1) for label, column in enumerate(each))
        elif self.decision.positive is not None:
            positive = self.decision.positive
            thresholds = (fit_threshold(self._at_temperature(probabilities)[:, positive], labels == positive),)
        self.calibration = replace(self.calibration, thresholds=thresholds)
        if self.coverage is not None:
            own = np.concatenate([at[np.arange(len(each)), each] for at, each in self._parts(probabilities, labels)])
            self.calibration = replace(self.calibration, conformal=fit_conformal(own, self.coverage))
        after = self._recalibrated(probabilities, labels, name="val")
        self._about = {
            "fitted_on": {"split": "val", "images": len(labels)},
            "loss": {"before": float(outcomes.losses.mean()), "after": float(after.losses.mean())},
        }
        self._sampled, self._labels = [], []
        self._validation = after
        if self.coverage is not None and after.right.mean() > self.coverage:
            how = f"but the model is right on {after.right.mean():.3f} of val, so that some sets are empty"
            warn(f"{conformal.KEY}: is {self.coverage}, {how}; raise it")
        if self.wanted is not None:
            self._fit_abstention(after, self.wanted)

    def _fit_abstention(self, after: Outcomes, wanted: float) -> None:
        self.abstention = fit_abstention(after.confidence, after.right, wanted)
        if self.abstention is None:
            raise InputError(f"{KEY}: a precision of {wanted} is reached at no confidence on val; lower it, or set it to null")
        self.calibration = replace(self.calibration, abstain=self.abstention.confidence)

    def calibrated(self, name: str, outcomes: Outcomes) -> Outcomes:
        """Return the outcomes of a split with calibrated probabilities; of many classes, those of some images of `val`."""
        if name == "val":
            return self._validation
        if outcomes.probabilities is not None:
            return self._recalibrated(outcomes.probabilities, outcomes.labels, name=name)
        return self._others.pop(name).finish()

    def fitted(self, outcomes: Outcomes) -> Outcomes | None:
        """Return the outcomes of a split with calibrated probabilities and fitted thresholds; None if there are none."""
        if self.calibration.thresholds is None or outcomes.probabilities is None:
            return None
        return self._recalibrated(outcomes.probabilities, outcomes.labels, self.calibration.decision(self.decision.positive))

    def add_foreign(self, detector: ForeignDetector, distances: Mapping[str, Floats]) -> None:
        """Keep what tells images of no trained class, and for each split which of its images it calls so."""
        self.calibration = replace(self.calibration, foreign=detector)
        for name, each in distances.items():
            self.per_image.setdefault(name, {})["false_alarms"] = (each > 1).astype(np.float64)

    def as_json(self) -> dict[str, Any]:
        """Return the content of calibration.json."""
        positive = self.decision.positive
        names = self.classes if positive is None else [self.classes[positive]]
        return calibration_json(self.calibration, names, self.abstention, self.wanted, self._about)

    def _at_temperature(self, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        return at_temperature(probabilities.astype(np.float64), self.calibration.temperature, multilabel=self.multilabel)

    def _recalibrated(
        self, probabilities: NDArray[np.float32], labels: Labels, decision: Decision | None = None, name: str = ""
    ) -> Outcomes:
        builder = self._builder(decision)
        for calibrated, each in self._parts(probabilities, labels):
            builder.add(calibrated, each)
            if name:
                self._add_sets(name, calibrated, each)
        return builder.finish()

    def _parts(self, probabilities: NDArray[np.float32], labels: Labels) -> Iterator[tuple[Floats, Labels]]:
        """Yield calibrated probabilities and labels of so many images that they fit into memory."""
        size = max(1, AT_ONCE // probabilities.shape[1])
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            yield self._at_temperature(probabilities[part]), labels[part]

    def _add_sets(self, name: str, probabilities: Floats, labels: Labels) -> None:
        """Measure the sets of images of a split."""
        if self.calibration.conformal is None:
            return
        kept = self.per_image.setdefault(name, {})
        for key, values in zip(SETS, self.calibration.conformal.measured(probabilities, labels), strict=True):
            kept[key] = np.concatenate([kept[key], values]) if key in kept else values

    def _builder(self, decision: Decision | None = None) -> OutcomesBuilder:
        num_classes, chosen = len(self.classes), decision or self.decision
        return OutcomesBuilder(num_classes, chosen, multilabel=self.multilabel, bins=self.bins, keep=False)
