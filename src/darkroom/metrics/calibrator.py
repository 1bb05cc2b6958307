"""Fits the calibration of a model on its predictions for validation, and calibrates those for other splits. No torch.

N images, K classes.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.metrics.calibration import (
    MOST_FITTED,
    Abstention,
    Calibration,
    at_temperature,
    calibration_json,
    evenly,
    fit_abstention,
    fit_temperature,
    fit_threshold,
)
from darkroom.metrics.decision import UNKNOWN, Decision, Labels
from darkroom.metrics.outcomes import Outcomes, OutcomesBuilder, Predicted

KEY = "params.yaml: evaluate.abstain_precision"
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

    Attributes
    ----------
    calibration : Calibration
        What was fitted.

    Raises
    ------
    InputError
        If a model abstains that cannot.
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
    ):
        if wanted is not None and multilabel:
            raise InputError(
                f"{KEY}: is {wanted}, but an image has any number of classes, which are decided one by one; set it to null"
            )
        if wanted is not None and UNKNOWN in classes:
            raise InputError(f"{KEY}: predicts '{UNKNOWN}' where the model abstains, but a class is called so; rename the class")
        self.classes, self.decision, self.multilabel, self.bins = classes, decision, multilabel, bins
        self.weights_sha256, self.wanted = weights_sha256, wanted
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
            builder.add(self._at_temperature(batch.probabilities), batch.labels)

    def fit(self, outcomes: Outcomes) -> None:
        """Fit on the outcomes of `val`.

        Raises
        ------
        InputError
            If no confidence has the wanted precision.
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
        after = self._recalibrated(probabilities, labels)
        self._about = {
            "fitted_on": {"split": "val", "images": len(labels)},
            "loss": {"before": float(outcomes.losses.mean()), "after": float(after.losses.mean())},
        }
        self._sampled, self._labels = [], []
        self._validation = after
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
            return self._recalibrated(outcomes.probabilities, outcomes.labels)
        return self._others.pop(name).finish()

    def fitted(self, outcomes: Outcomes) -> Outcomes | None:
        """Return the outcomes of a split with calibrated probabilities and fitted thresholds; None if there are none."""
        if self.calibration.thresholds is None or outcomes.probabilities is None:
            return None
        return self._recalibrated(outcomes.probabilities, outcomes.labels, self.calibration.decision(self.decision.positive))

    def as_json(self) -> dict[str, Any]:
        """Return the content of calibration.json."""
        positive = self.decision.positive
        names = self.classes if positive is None else [self.classes[positive]]
        return calibration_json(self.calibration, names, self.abstention, self.wanted, self._about)

    def _at_temperature(self, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        return at_temperature(probabilities.astype(np.float64), self.calibration.temperature, multilabel=self.multilabel)

    def _recalibrated(self, probabilities: NDArray[np.float32], labels: Labels, decision: Decision | None = None) -> Outcomes:
        builder = self._builder(decision)
        size = max(1, AT_ONCE // probabilities.shape[1])
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            builder.add(self._at_temperature(probabilities[part]), labels[part])
        return builder.finish()

    def _builder(self, decision: Decision | None = None) -> OutcomesBuilder:
        num_classes, chosen = len(self.classes), decision or self.decision
        return OutcomesBuilder(num_classes, chosen, multilabel=self.multilabel, bins=self.bins, keep=False)
