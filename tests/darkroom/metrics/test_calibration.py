"""Temperature and thresholds: what is fitted, how it is kept, and what a model without it does."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn import metrics as sklearn

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.metrics import calibrator as calibrators
from darkroom.metrics import outcomes as kept
from darkroom.metrics.calibration import (
    COLDEST,
    Calibration,
    at_temperature,
    fit_temperature,
    fit_threshold,
)
from darkroom.metrics.calibrator import Calibrator
from darkroom.metrics.decision import USUAL, Decision
from darkroom.metrics.outcomes import Outcomes, OutcomesBuilder
from darkroom.metrics.per_image import cross_entropy
from darkroom.metrics.scores import score_of

SHA = "a" * 64


def too_confident(num: int = 4000, num_classes: int = 5, factor: float = 3.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities whose logits are `factor` times too large, and labels."""
    rng = np.random.default_rng(num)
    logits = rng.normal(size=(num, num_classes)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((num, 1))).argmax(axis=1)
    powers = np.exp(factor * (logits - logits.max(axis=1, keepdims=True)))
    return powers / powers.sum(axis=1, keepdims=True), labels


def independent(num: int = 2000, factor: float = 2.5) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    rng = np.random.default_rng(num)
    logits = rng.normal(size=(num, 6)) - 1
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    return 1 / (1 + np.exp(-factor * logits)), labels


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0, 12.0])
def test_the_temperature_is_that_of_the_least_cross_entropy(factor: float) -> None:
    probabilities, labels = too_confident(factor=factor)

    def loss(log: float) -> float:
        return float(cross_entropy(at_temperature(probabilities, np.exp(log), multilabel=False), labels).mean())

    found = fit_temperature(probabilities.astype(np.float32), labels)
    assert found == pytest.approx(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x), rel=0.01)
    assert found == pytest.approx(factor, rel=0.1)


def test_of_independent_labels_too() -> None:
    probabilities, labels = independent()
    assert fit_temperature(probabilities, labels) == pytest.approx(2.5, rel=0.1)
    changed = at_temperature(probabilities, 2.5, multilabel=True)
    assert (np.argsort(changed, axis=0) == np.argsort(probabilities, axis=0)).all()


def test_a_model_without_mistakes_does_not_become_certain() -> None:
    """The cross entropy alone would be least at temperature 0."""
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]] * 25)
    temperature = fit_temperature(probabilities, np.array([0, 1] * 25))
    assert COLDEST < temperature < 1
    assert at_temperature(probabilities, temperature, multilabel=False).max() < 0.995


def test_certain_and_impossible_classes_stay_numbers() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for temperature in (0.05, 0.5, 2.0, 20.0):
        changed = at_temperature(probabilities, temperature, multilabel=False)
        assert np.isfinite(changed).all()
        assert changed.argmax(axis=1).tolist() == [0, 1]
        assert np.isfinite(at_temperature(probabilities, temperature, multilabel=True)).all()
    assert np.isfinite(fit_temperature(probabilities, np.array([1, 1])))


def test_a_threshold_has_the_greatest_f1() -> None:
    probabilities, labels = independent()
    for column, actual in zip(probabilities.T, labels.T == 1, strict=True):
        threshold = fit_threshold(column, actual)
        others = column > np.quantile(column, np.linspace(0, 1, 400))[:, None]
        f1 = 2 * (others & actual).sum(axis=1) / (others.sum(axis=1) + actual.sum())
        assert sklearn.f1_score(actual, column > threshold) >= f1.max()
    assert fit_threshold(np.array([0.9, 0.8, 0.1, 0.1]), np.array([True, True, False, False])) == 0.5  # too few
    tied = np.array([0.7] * 10 + [0.2] * 10)
    assert fit_threshold(tied, np.arange(20) < 8) == pytest.approx(0.45)
    assert fit_threshold(tied, np.ones(20, bool)) == 0.5


def fitted(
    probabilities: NDArray[np.float64], labels: NDArray[np.generic], decision: Decision = USUAL, wanted: float | None = None
) -> tuple[Calibrator, Outcomes]:
    classes = [f"<{label}>" for label in range(probabilities.shape[1])]
    several = labels.ndim == 2
    made = Calibrator(classes, decision, multilabel=several, bins=15, num_images=len(labels), weights_sha256=SHA, wanted=wanted)
    outcomes = Outcomes.of(probabilities, labels, decision)
    made.fit(outcomes)
    return made, outcomes


def test_calibrated_probabilities_are_calibrated() -> None:
    made, outcomes = fitted(*too_confident())
    after = made.calibrated("val", outcomes)
    assert score_of(after)["ece"] < 0.03 < 0.1 < score_of(outcomes)["ece"]
    assert score_of(after)["loss"] < score_of(outcomes)["loss"]
    np.testing.assert_array_equal(after.predicted, outcomes.predicted)
    test = Outcomes.of(*too_confident(1000))
    assert score_of(made.calibrated("test", test))["ece"] < score_of(test)["ece"]
    assert made.fitted(outcomes) is None


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_what_is_written_is_read_again(tmp_path: Path, kind: str) -> None:
    data = independent() if kind == "multilabel" else too_confident(num_classes=2 if kind == "binary" else 5)
    made, outcomes = fitted(*data, Decision(0.5, 1) if kind == "binary" else Decision())
    files.write_sealed_json(tmp_path / "calibration.json", made.as_json())
    content = (tmp_path / "calibration.json").read_bytes()
    found = Calibration.parsed(content, "models/calibration.json")
    assert found == made.calibration
    assert len(found.thresholds or ()) == {"multiclass": 0, "binary": 1, "multilabel": 6}[kind]
    with pytest.raises(InputError, match=r"^models/calibration\.json: is damaged \(.*SHA-256.*\); run 'dvc checkout', or"):
        Calibration.parsed(content.replace(b'"format": 1', b'"format": 2'), "models/calibration.json")
    if kind != "multiclass":
        after = made.fitted(outcomes)
        assert after is not None
        name = "f1" if kind == "binary" else "f1_macro"
        assert score_of(after)[name] >= score_of(outcomes)[name]
        # The same decisions from probabilities that are not calibrated.
        raw = found.decision(1 if kind == "binary" else None, raw=True)
        again = Outcomes.of(data[0], data[1], raw)
        assert (np.asarray(again.predicted) == np.asarray(after.predicted)).mean() > 0.999
        changed = found.calibrated(data[0], multilabel=kind == "multilabel")
        np.testing.assert_array_equal(changed > found.threshold(0.8), data[0] > 0.8)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), 21.0])
def test_another_temperature_is_refused(tmp_path: Path, temperature: float) -> None:
    content = {"format": 1, "weights_sha256": SHA, "temperature": min(temperature, 1e9), "thresholds": None, "abstain": None}
    files.write_sealed_json(tmp_path / "c.json", content)
    with pytest.raises(InputError, match="its temperature is"):
        Calibration.parsed((tmp_path / "c.json").read_bytes(), "c.json")


def test_abstention_is_fitted_on_calibrated_confidence() -> None:
    made, outcomes = fitted(*too_confident(), wanted=0.9)
    assert made.calibration.abstain is not None
    after = made.calibrated("val", outcomes)
    decided = after.confidence >= made.calibration.abstain
    assert after.right[decided].mean() >= 0.9
    assert made.as_json()["abstain"]["wanted_precision"] == 0.9
    with pytest.raises(InputError, match=r"evaluate\.abstain_precision: a precision of 0\.99999 is reached at no confidence"):
        fitted(np.array([[0.6, 0.4]] * 20), np.array([0] * 19 + [1]), wanted=0.99999)
    with pytest.raises(InputError, match=r"evaluate\.abstain_precision: is 0\.9, but an image has any number of classes"):
        fitted(*independent(), wanted=0.9)
    with pytest.raises(InputError, match="a class is called so; rename the class"):
        Calibrator(["unknown"], Decision(), multilabel=False, bins=5, num_images=1, weights_sha256=SHA, wanted=0.9)


def test_of_very_many_classes_some_images_are_fitted_and_the_others_calibrated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels = too_confident()
    expected = fitted(probabilities, labels)[0].calibration.temperature
    monkeypatch.setattr(kept, "MOST_CLASSES", 3)
    monkeypatch.setattr(calibrators, "MOST_FITTED", 5 * 1000)
    made = Calibrator(list("abcde"), Decision(), multilabel=False, bins=15, num_images=len(labels), weights_sha256=SHA)
    found = {}
    for name in ("val", "test"):
        builder = OutcomesBuilder(5, multilabel=False, bins=15)
        for start in range(0, len(labels), 300):
            part = slice(start, start + 300)
            made.add(name, start, builder.add(probabilities[part], labels[part]))
        found[name] = builder.finish()
        assert found[name].probabilities is None
        if name == "val":
            made.fit(found[name])
    assert made.calibration.temperature == pytest.approx(expected, rel=0.1)
    assert len(made.calibrated("val", found["val"])) == 1000
    assert made.as_json()["fitted_on"] == {"split": "val", "images": 1000}
    after = made.calibrated("test", found["test"])
    assert len(after) == len(labels)
    assert score_of(after)["ece"] < score_of(found["test"])["ece"]
