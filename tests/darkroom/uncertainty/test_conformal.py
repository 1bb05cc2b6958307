"""Conformal sets hold the correct class as often as stated, on average over draws, and say so where they cannot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.metrics.calibration import Calibration
from darkroom.metrics.calibrator import Calibrator
from darkroom.metrics.decision import USUAL
from darkroom.metrics.outcomes import Outcomes
from darkroom.uncertainty.conformal import ConformalSets, fit_conformal

SHA = "a" * 64


def draw(rng: np.random.Generator, num: int, num_classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities of a model that is too sure, and labels."""
    logits = rng.normal(size=(num, num_classes)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((num, 1))).argmax(axis=1)
    powers = np.exp(2 * logits)
    return powers / powers.sum(axis=1, keepdims=True), labels


def own(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return probabilities[np.arange(len(labels)), labels]


@pytest.mark.parametrize(("coverage", "num"), [(0.9, 9), (0.9, 60), (0.8, 37), (0.95, 200)])
def test_coverage_is_as_stated_on_average(coverage: float, num: int) -> None:
    """Between the stated coverage and that with one image more, also for few images."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(800):
        sets = fit_conformal(own(*draw(rng, num)), coverage)
        found.append(sets.measured(*draw(rng, 100))[0].mean())
    assert coverage - 0.01 < np.mean(found) < coverage + 1 / (num + 1) + 0.01


def test_sets_are_the_classes_from_the_least_probability_on() -> None:
    sets = ConformalSets(0.9, 0.3)
    probabilities = np.array([[0.7, 0.3, 0.0], [0.29, 0.29, 0.42], [0.25, 0.25, 0.25]])
    assert sets.members(probabilities).tolist() == [[True, True, False], [False, False, True], [False, False, False]]
    assert sets.measured(probabilities, np.array([1, 0, 2])).tolist() == [[1, 0, 0], [2, 1, 0]]


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_too_few_images_are_refused(coverage: float, needed: int) -> None:
    fit_conformal(np.full(needed, 0.5), coverage)
    with pytest.raises(InputError, match=rf"evaluate\.conformal: is {coverage}, for which val needs {needed} images, but it has"):
        fit_conformal(np.full(needed - 1, 0.5), coverage)


def calibrator(num: int, coverage: float, *, multilabel: bool = False) -> Calibrator:
    classes = [f"<{label}>" for label in range(5)]
    return Calibrator(classes, USUAL, multilabel=multilabel, bins=15, num_images=num, weights_sha256=SHA, coverage=coverage)


def test_they_are_fitted_on_calibrated_probabilities_and_measured_on_both_splits(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    val, test = draw(rng, 2000), draw(rng, 3000)
    made = calibrator(2000, 0.9)
    made.fit(Outcomes.of(*val))
    made.calibrated("test", Outcomes.of(*test))
    assert capsys.readouterr().err == ""
    calibration = made.calibration
    assert calibration.temperature > 1.5
    assert calibration.conformal is not None
    kept = test[0].astype(np.float32).astype(np.float64)
    inside = calibration.conformal.members(calibration.calibrated(kept, multilabel=False))
    measured = made.per_image["test"]
    np.testing.assert_array_equal(measured["conformal_size"], inside.sum(axis=1))
    np.testing.assert_array_equal(measured["conformal_coverage"], inside[np.arange(3000), test[1]])
    assert measured["conformal_coverage"].mean() == pytest.approx(0.9, abs=0.02)
    assert made.per_image["val"]["conformal_coverage"].mean() == pytest.approx(0.9, abs=1 / 2000)
    content = made.as_json()
    assert content["conformal"] == {"coverage": 0.9, "probability": calibration.conformal.probability}


def test_of_many_classes_they_are_measured_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.metrics.outcomes.MOST_CLASSES", 3)
    rng = np.random.default_rng(2)
    from darkroom.metrics.outcomes import OutcomesBuilder

    made = calibrator(500, 0.9)
    builders = {name: OutcomesBuilder(5, multilabel=False, bins=15) for name in ("val", "test")}
    splits = {name: draw(rng, 500) for name in builders}
    for name, (probabilities, labels) in splits.items():
        for start in range(0, 500, 100):
            part = slice(start, start + 100)
            made.add(name, start, builders[name].add(probabilities[part], labels[part]))
        outcomes = builders[name].finish()
        assert outcomes.probabilities is None
        if name == "val":
            made.fit(outcomes)
    whole = calibrator(500, 0.9)
    monkeypatch.undo()
    whole.fit(Outcomes.of(*splits["val"]))
    whole.calibrated("test", Outcomes.of(*splits["test"]))
    for name in splits:
        for key, values in whole.per_image[name].items():
            np.testing.assert_array_equal(made.per_image[name][key], values)


def test_a_model_that_is_right_more_often_is_told_of_empty_sets(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(100) % 5
    probabilities = np.full((100, 5), 0.01)
    probabilities[np.arange(100), labels] = np.linspace(0.5, 0.96, 100)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    made = calibrator(100, 0.9)
    made.fit(Outcomes.of(probabilities, labels))
    assert "evaluate.conformal: is 0.9, but the model is right on 1.000 of val, so that some sets are empty" in (
        capsys.readouterr().err
    )
    assert (made.per_image["val"]["conformal_size"] == 0).any()


def test_several_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"evaluate\.conformal: is 0\.9, but an image has any number of classes"):
        calibrator(100, 0.9, multilabel=True)


def test_without_them_the_file_stays_as_it_was() -> None:
    made = Calibrator(["a", "b", "c", "d", "e"], USUAL, multilabel=False, bins=15, num_images=50, weights_sha256=SHA)
    made.fit(Outcomes.of(*draw(np.random.default_rng(0), 50)))
    assert set(made.as_json()) == {"format", "weights_sha256", "temperature", "thresholds", "abstain", "fitted_on", "loss"}
    assert made.per_image == {}
    assert isinstance(made.calibration, Calibration)
