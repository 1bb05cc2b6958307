"""What predict makes of the probabilities of a network: calibrated ones, classes, or no class. No torch. N images, K classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError, warn
from darkroom.base.params import PredictParams
from darkroom.metrics.calibration import FILE, Calibration
from darkroom.metrics.decision import THRESHOLD, Decision, Rounded

MAX_BYTES = 64_000_000
KEY = "params.yaml: predict.threshold"


@dataclass(frozen=True)
class Rule:
    """From probabilities of a network to predictions.

    Attributes
    ----------
    decision
        Which classes are predicted.
    calibration
        What was fitted for this model; None: probabilities stay as they are.
    multilabel
        Whether an image has any number of classes.
    is_calibrated
        Whether calibrated probabilities are written; whether the model abstains, and sets, go by these in any case.
    """

    decision: Decision
    calibration: Calibration | None
    multilabel: bool
    is_calibrated: bool

    @property
    def needs_features(self) -> bool:
        """Whether it needs the features of images, to tell those of no trained class."""
        return self.calibration is not None and self.calibration.foreign is not None

    def predicted(self, probabilities: Rounded, features: NDArray[np.float32] | None = None) -> dict[str, Any]:
        """Return `probabilities` (N, K), `abstained`, `foreign` and `sets`, as `Predictions` has them.

        Probabilities are rounded first to float32, as evaluate keeps them; without `features` (N, D) there is no `foreign`.
        """
        kept = probabilities.astype(np.float32).astype(np.float64)
        calibrated = kept if self.calibration is None else self.calibration.calibrated(kept, multilabel=self.multilabel)
        abstained: NDArray[np.bool_] | None = None
        if self.calibration is not None and self.calibration.abstain is not None and not self.multilabel:
            abstained = self.decision.confidence(calibrated) < self.calibration.abstain
        foreign = sets = None
        if self.calibration is not None and self.calibration.foreign is not None and features is not None:
            foreign = self.calibration.foreign.distances(features) if len(features) else np.zeros(0)
        if self.calibration is not None and self.calibration.conformal is not None:
            sets = self.calibration.conformal.members(calibrated)
        shown = calibrated if self.is_calibrated else kept
        return {"probabilities": shown, "abstained": abstained, "foreign": foreign, "sets": sets}

    @property
    def record(self) -> dict[str, Any]:
        """What backend.json says of it; empty if probabilities stay as they are."""
        return {"temperature": self.calibration.temperature} if self.calibration and self.is_calibrated else {}


def make_rule(
    predict: PredictParams, content: bytes | None, *, name: str, weights_sha256: str, task: str, positive: int | None
) -> Rule:
    """Return the rule of section `predict` for a model.

    Parameters
    ----------
    predict
        The section.
    content
        The bytes of calibration.json; None: the model has none.
    name, weights_sha256, task, positive
        The model's name for messages, the hash of its weights, its task, and of a binary one the label of the positive class.

    Raises
    ------
    InputError
        If calibration.json is damaged, or `predict.threshold` does not fit the model.
    """
    if predict.threshold is not None and task == "multiclass":
        raise InputError(
            f"{KEY}: is {predict.threshold}, but the model predicts the most probable of several classes; set it to null"
        )
    calibration = _calibration(content, name, weights_sha256, wanted=predict.calibrated or predict.threshold == "fitted")
    is_calibrated = predict.calibrated and calibration is not None
    if predict.threshold != "fitted":
        threshold = THRESHOLD if predict.threshold is None else predict.threshold
        if is_calibrated and calibration is not None and threshold != THRESHOLD:
            threshold = calibration.threshold(threshold)  # decides as evaluate does
        decision = Decision(threshold, positive)
    elif calibration is None or calibration.thresholds is None:
        raise InputError(f"{KEY}: is fitted, but {name} has no thresholds; run 'dvc repro evaluate', or set a number")
    else:
        decision = calibration.decision(positive, raw=not predict.calibrated)
    return Rule(decision, calibration, task == "multilabel", is_calibrated)


def _calibration(content: bytes | None, name: str, weights_sha256: str, *, wanted: bool) -> Calibration | None:
    if not content:  # an empty file stands for it where a trial of a search was applied, which evaluate has not measured
        if wanted:
            warn(f"{name}: has no {FILE}, so its probabilities are not calibrated; 'dvc repro evaluate' makes it for models")
        return None
    found = Calibration.parsed(content, f"{name}/{FILE}")
    if found.weights_sha256 != weights_sha256:
        if wanted:
            warn(f"{name}/{FILE}: belongs to another model, so probabilities are not calibrated; run 'dvc repro evaluate'")
        return None
    return found


def read_calibration(folder: Path, name: str) -> bytes | None:
    """Return the content of calibration.json beside a model; None if there is none."""
    try:
        return files.read_regular(folder / FILE, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{name}/{FILE}: {error.strerror}; run 'dvc checkout', or 'dvc repro evaluate'") from None
