"""Images of no trained class are told by their features; the limit keeps the stated share of false alarms."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.uncertainty import foreign
from darkroom.uncertainty.foreign import ForeignDetector, fit_directions, training_sample, with_limit


def features(rng: np.random.Generator, classes: list[int], num: int, size: int = 60) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features around the mean of each class, with more noise in some directions than between the means."""
    means = np.random.default_rng(9).normal(size=(10, size))
    scale = np.where(np.arange(size) < 20, 4.0, 0.7)
    labels = np.repeat(classes, num)
    return (means[labels] + rng.normal(size=(len(labels), size)) * scale + 5).astype(np.float32), labels


@pytest.mark.parametrize(("num", "auroc"), [(8, 0.7), (60, 0.95)])  # fewer images than features, and more
def test_known_and_foreign_images_are_told_apart(num: int, auroc: float) -> None:
    rng = np.random.default_rng(0)
    detector = fit_directions(*features(rng, list(range(7)), num))
    known, other = (detector.raw(features(rng, classes, 100)[0]) for classes in ([*range(7)], [7, 8, 9]))
    assert (known[:, None] < other[None]).mean() > auroc


def test_both_ways_to_the_eigenvectors_agree() -> None:
    deviations = np.random.default_rng(0).normal(size=(40, 40)) * np.linspace(0.5, 2, 40)
    first = foreign.Within.of(deviations)
    padded = foreign.Within.of(np.concatenate([deviations, np.zeros((40, 1))], axis=1))
    rows = np.random.default_rng(1).normal(size=(3, 40))
    expected = rows @ np.linalg.inv(np.linalg.cholesky(covariance(deviations, 40))).T
    found = first.whiten(rows)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-6)
    wider = padded.whiten(np.concatenate([rows, np.zeros((3, 1))], axis=1))
    assert wider.shape == (3, 41)
    expected = rows @ np.linalg.inv(np.linalg.cholesky(covariance(deviations, 41))).T
    np.testing.assert_allclose(wider @ wider.T, expected @ expected.T, rtol=1e-6)


def covariance(deviations: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    kept = (1 - foreign.SHRINKAGE) * deviations.T @ deviations / len(deviations)
    return kept + np.eye(deviations.shape[1]) * foreign.SHRINKAGE * (deviations**2).sum() / len(deviations) / size


@pytest.mark.parametrize(("rate", "num"), [(0.05, 200), (0.05, 19), (0.1, 95), (0.2, 1000)])
def test_the_share_of_false_alarms_is_as_stated(rate: float, num: int) -> None:
    rng = np.random.default_rng(0)
    detector = fit_directions(*features(rng, [0, 1, 2], 40))
    found = []
    for _ in range(200):
        raw = rng.gamma(4, size=num)
        fitted = with_limit(detector, raw, rate)
        share = (raw > fitted.limit).mean()
        assert rate - 2 / num <= share <= rate
        assert fitted.about == {"wanted_false_alarms": rate, "false_alarms": share}
        found.append((rng.gamma(4, size=200) > fitted.limit).mean())
    assert rate - 2 / num - 0.01 < np.mean(found) < rate + 0.01


def test_too_few_images_are_refused() -> None:
    detector = fit_directions(*features(np.random.default_rng(0), [0, 1], 20))
    with pytest.raises(InputError, match=r"evaluate\.false_alarms: is 0\.05, for which val needs 19 images, but it has 18"):
        with_limit(detector, np.ones(18), 0.05)


def test_what_is_written_is_read_again_and_damage_is_seen() -> None:
    rng = np.random.default_rng(0)
    made = fit_directions(*features(rng, [0, 1, 2], 40))
    some = features(rng, [0, 5], 30)[0]
    made = with_limit(made, made.raw(some), 0.1)
    content = json.loads(json.dumps(made.as_json()))
    again = ForeignDetector.of_json(content)
    np.testing.assert_array_equal(again.distances(some), made.distances(some))
    assert again.as_json() == made.as_json()
    for name, value in (
        ("limit", 0),
        ("means", {"shape": [2, 2], "float32": "AAAA"}),
        ("directions", {"shape": [1], "float32": ""}),
    ):
        with pytest.raises((ValueError, KeyError, TypeError)):
            ForeignDetector.of_json({**content, name: value})


def test_the_file_stays_small_and_every_class_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_NUMBERS", 700)
    rng = np.random.default_rng(0)
    made = fit_directions(*features(rng, list(range(10)), 10))
    assert made.directions.size + made.means.size <= 700
    assert made.means.shape[0] == 10
    monkeypatch.setattr(foreign, "MOST_IMAGES", 50)
    labels = np.repeat(np.arange(4), [300, 5, 40, 1])
    chosen = training_sample(labels, 4)
    assert np.bincount(labels[chosen]).tolist() == [12, 5, 12, 1]
    assert training_sample(labels[:40], 4).tolist() == list(range(40))


@pytest.mark.parametrize("num", [1, 2])
def test_a_single_image_of_each_class_is_enough(num: int) -> None:
    rng = np.random.default_rng(0)
    made = fit_directions(*features(rng, [0, 1, 2], num))
    assert np.isfinite(made.raw(features(rng, [0, 5], 30)[0])).all()
