"""Calibration: a temperature for probabilities, thresholds, and when to abstain; fitted on validation. N images, K classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.metrics.decision import THRESHOLD, Decision, Labels, Probabilities
from darkroom.metrics.per_image import Floats
from darkroom.uncertainty.abstention import Abstention
from darkroom.uncertainty.conformal import ConformalSets
from darkroom.uncertainty.foreign import ForeignDetector

FILE = "calibration.json"
COLDEST, HOTTEST = 0.05, 20.0
# Numbers that a temperature is fitted on: more images would not change its second digit.
MOST_FITTED = 20_000_000
# A threshold is fitted for a class with so many positive images.
FEWEST_POSITIVE = 5
# The smallest positive float32, below which a probability is 0; and numbers that are in double precision at once.
SMALLEST, AT_ONCE = 1e-45, 1_000_000


@dataclass(frozen=True)
class Calibration:
    """What turns the probabilities of one model into calibrated ones, and these into decisions.

    Attributes
    ----------
    weights_sha256 : str
        Hash of the model's weights.
    temperature : float
        The logits are divided by it; above 1 the model was too confident.
    thresholds : (K,) or (1,), or None
        Of calibrated probabilities of several labels, or of the positive class: those with the greatest F1 on validation.
    abstain : float or None
        Calibrated probability of the predicted class below which the model abstains.
    conformal : ConformalSets or None
        Which classes are in the set of an image.
    foreign : ForeignDetector or None
        Which images are of no class that was trained.
    """

    weights_sha256: str
    temperature: float
    thresholds: tuple[float, ...] | None = None
    abstain: float | None = None
    conformal: ConformalSets | None = None
    foreign: ForeignDetector | None = None

    def calibrated(self, probabilities: Probabilities, *, multilabel: bool) -> Probabilities:
        """Return the probabilities (N, K) of logits divided by the temperature."""
        if self.temperature == 1:
            return probabilities
        return at_temperature(probabilities, self.temperature, multilabel=multilabel)

    def decision(self, positive: int | None, *, raw: bool = False) -> Decision:
        """Return the decision by the fitted thresholds.

        `positive` is the label of the positive class; `raw`: of probabilities that are not calibrated.
        """
        assert self.thresholds is not None
        thresholds = self.thresholds
        if raw:
            thresholds = tuple(_sigmoid(_logits(np.array(thresholds)) * self.temperature).tolist())
        return Decision(thresholds[0] if positive is not None else thresholds, positive)

    def threshold(self, raw: float) -> float:
        """Return the threshold of calibrated probabilities that decides as one of probabilities before calibration."""
        return float(_sigmoid(_logits(np.array([raw])) / self.temperature)[0])

    @classmethod
    def parsed(cls, content: bytes, name: str) -> Self:
        """Read the bytes of calibration.json; `name` is its path in messages.

        Raises
        ------
        InputError
            If it is damaged.
        """
        try:
            found = files.parse_sealed_json(content)
            thresholds, abstain = found["thresholds"], found["abstain"]
            values = tuple(float(each) for each in thresholds.values()) if thresholds is not None else None
            made = cls(
                str(found["weights_sha256"]),
                float(found["temperature"]),
                values,
                None if abstain is None else float(abstain["confidence"]),
                None if found.get("conformal") is None else ConformalSets.of_json(found["conformal"]),
                None if found.get("foreign") is None else ForeignDetector.of_json(found["foreign"]),
            )
            if not COLDEST <= made.temperature <= HOTTEST:
                raise ValueError(f"its temperature is {made.temperature}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{name}: is damaged ({error}); run 'dvc checkout', or 'dvc repro --force evaluate'") from None
        return made


def at_temperature(probabilities: Probabilities, temperature: float, *, multilabel: bool) -> Probabilities:
    """Return the probabilities (N, K) of logits divided by a temperature."""
    if multilabel:
        logits = _logits(probabilities)
        return _sigmoid(logits / temperature)
    powers: Floats = np.log(probabilities.clip(SMALLEST)) / temperature
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _sigmoid(logits: Floats) -> Floats:
    each: Floats = np.exp(-np.logaddexp(0, -logits))
    return each


def _logits(probabilities: Probabilities) -> Floats:
    kept = probabilities.clip(SMALLEST, 1 - 2.0**-25)  # float32 knows nothing between 1 - 6e-8 and 1
    logits: Floats = np.log(kept) - np.log1p(-kept)
    return logits


def fit_temperature(probabilities: NDArray[np.floating[Any]], labels: Labels) -> float:
    """Return the temperature with the least cross entropy [1]_, by Newton's method with bisection.

    Labels count as certain as Platt has it [2]_, not as 1 and 0: of a model that makes no mistake on validation the cross entropy
    alone would be least at temperature 0.

    Parameters
    ----------
    probabilities : (N, K)
        Of at least one image.
    labels : (N,) int64, or (N, K) uint8
        The correct classes.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    .. [2] J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    every = evenly(len(labels), max(1, MOST_FITTED // probabilities.shape[1]))
    chosen, labels = probabilities[every], labels[every]
    if labels.ndim == 2:
        logits: NDArray[Any] = _logits(chosen.astype(np.float64))
        targets = (labels.astype(np.float64) * labels.size + 1) / (labels.size + 2)
        slope = (logits * targets).mean()
    else:
        logits, doubt = np.log(chosen.clip(SMALLEST)), 1 / (len(labels) + 2)
        own = logits[np.arange(len(labels)), labels]
        slope = ((1 - doubt) * own + doubt * logits.mean(axis=1, dtype=np.float64)).mean()
    moments = _moments_of_several if labels.ndim == 2 else _moments_of_one
    low, high, inverse = 1 / HOTTEST, 1 / COLDEST, 1.0
    for _ in range(60):  # the derivative by the inverse temperature rises, so that the root is always between low and high
        mean, variance = moments(logits, inverse)
        gradient = mean - slope
        low, high = (inverse, high) if gradient < 0 else (low, inverse)
        following = inverse - gradient / variance if variance > 0 else low
        following = following if low < following < high else (low + high) / 2
        if abs(following - inverse) < 1e-9 * inverse:
            break
        inverse = following
    return float(f"{1 / inverse:.6g}")


def _moments_of_one(logits: NDArray[Any], inverse: float) -> tuple[float, float]:
    """Return mean and variance of the logits under the probabilities at an inverse temperature, over images."""
    mean = variance = 0.0
    for part in np.array_split(logits, 1 + logits.size // AT_ONCE):
        values = part.astype(np.float64)
        powers = np.exp(inverse * (values - values.max(axis=1, keepdims=True)))
        powers /= powers.sum(axis=1, keepdims=True)
        each = np.einsum("nk,nk->n", powers, values)
        mean += float(each.sum())
        variance += float((np.einsum("nk,nk,nk->n", powers, values, values) - each**2).sum())
    return mean / len(logits), variance / len(logits)


def _moments_of_several(logits: Floats, inverse: float) -> tuple[float, float]:
    chance = _sigmoid(inverse * logits)
    return float((chance * logits).mean()), float((chance * (1 - chance) * logits**2).mean())


def evenly(number: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` of a number of rows, at equal distances."""
    return np.arange(number) if number <= most else np.arange(most) * number // most


def fit_threshold(probabilities: Floats, actual: NDArray[np.bool_]) -> float:
    """Return the threshold with the greatest F1, in the middle between two of N images.

    It is 0.5 for a class with fewer than five positive images, or without others; `actual` (N,) says which are positive.
    """
    positive = int(actual.sum())
    if positive < FEWEST_POSITIVE or positive == len(actual):
        return THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    f1 = 2 * np.cumsum(actual[order]) / (np.arange(1, len(ranked) + 1) + positive)
    f1[:-1][ranked[:-1] == ranked[1:]] = 0  # no threshold divides images that are as probable
    place = int(f1.argmax())
    below = ranked[place + 1] if place + 1 < len(ranked) else 0.0
    return float(f"{(ranked[place] + below) / 2:.9g}")


def calibration_json(
    calibration: Calibration, names: Sequence[str], abstention: Abstention | None, wanted: float | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of calibration.json; `names` are the classes that the thresholds belong to."""
    thresholds = calibration.thresholds
    return {
        "format": 1,
        "weights_sha256": calibration.weights_sha256,
        "temperature": calibration.temperature,
        "thresholds": None if thresholds is None else dict(zip(names, thresholds, strict=True)),
        "abstain": None
        if abstention is None
        else {
            "wanted_precision": wanted,
            "confidence": abstention.confidence,
            "precision": abstention.precision,
            "coverage": abstention.coverage,
        },
        # Only where they were asked for, so that the file of a model without them stays the same.
        **({"conformal": calibration.conformal.as_json()} if calibration.conformal else {}),
        **about,
        **({"foreign": calibration.foreign.as_json()} if calibration.foreign else {}),
    }
