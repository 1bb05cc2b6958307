"""Intervals hold the true value as often as they promise, are the same each time, and say what is left out."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.metrics import bootstrap
from darkroom.metrics.bootstrap import DRAWS, Units, draw_weights, intervals_of, middle_of, selective, wilson
from darkroom.metrics.decision import Decision
from darkroom.metrics.intervals import MOST_COLUMNS, MOST_VALUES, by_column, intervals_json
from darkroom.metrics.measures import measure
from darkroom.metrics.outcomes import Outcomes


def drawn(rng: np.random.Generator, num: int, num_classes: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    logits = rng.normal(size=(num, num_classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > rng.random((num, 1))).argmax(axis=1)
    return probabilities, labels


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return Outcomes.of(*drawn(np.random.default_rng(0), 300))


def test_the_interval_of_an_accuracy_is_about_that_of_the_normal_distribution(outcomes: Outcomes) -> None:
    found = intervals_of(outcomes).overall
    accuracy = found["accuracy"]
    assert accuracy.value is not None
    half = 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / len(outcomes))
    assert accuracy.low == pytest.approx(accuracy.value - half, abs=0.01)
    assert accuracy.high == pytest.approx(accuracy.value + half, abs=0.01)
    for name, each in found.items():
        assert each.value is not None, name
        assert each.low is not None, name
        assert each.high is not None, name
        assert each.low <= each.high
        assert name == "ece" or each.low <= each.value <= each.high  # ece is of absolute values, and noise raises it
    assert {"auroc", "mean_average_precision", "brier", "f1_weighted", "precision_macro"} <= set(found)
    assert intervals_of(outcomes).overall == found


def test_nineteen_of_twenty_intervals_hold_the_true_value() -> None:
    """Over 200 samples of one distribution; by chance alone 10 of them do not, and more than 20 once in 600 times."""
    rng = np.random.default_rng(1)
    truth = measure(Outcomes.of(*drawn(rng, 200_000))).overall
    missed = {"accuracy": 0, "loss": 0}
    for _ in range(200):
        for name, each in intervals_of(Outcomes.of(*drawn(rng, 150)), only=("accuracy", "loss")).overall.items():
            assert each.low is not None
            assert each.high is not None
            missed[name] += not each.low <= truth[name][0] <= each.high
    assert all(number <= 20 for number in missed.values()), missed


def test_draws_are_whole_numbers_of_images_or_groups() -> None:
    weights = np.concatenate(list(draw_weights(Units.of(7), 50)))
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    together = np.concatenate(list(draw_weights(Units.of(6, ["a", "a", "b", "b", "b", None]), 50)))
    assert (together[:, 0] == together[:, 1]).all()
    assert (together[:, 2] == together[:, 4]).all()
    assert (together[:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_units() -> None:
    assert Units.of(3, None) == Units(3)
    assert Units.of(3, ["a", "a", "a"]) == Units(3), "of one group there is nothing to draw"
    assert Units.of(3, [None, None, None]) == Units(3)
    units = Units.of(4, ["a", None, "a", None])
    assert units.count == 3
    assert units.spread(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0, 1.0, 3.0]]


def test_undefined_draws_are_left_out() -> None:
    assert middle_of(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(middle_of(np.full(3, np.nan))).all()


def test_one_metric_alone_has_the_interval_that_it_has_among_all(outcomes: Outcomes) -> None:
    everything = intervals_of(outcomes).overall
    for name in ("accuracy", "auroc"):
        assert intervals_of(outcomes, only=[name]).overall == {name: everything[name]}


def test_of_groups_that_agree_the_interval_is_wider() -> None:
    """A patient whose images are all right or all wrong is one case, not ten."""
    probabilities, labels = drawn(np.random.default_rng(0), 30)
    copied = Outcomes.of(np.repeat(probabilities, 10, axis=0), np.repeat(labels, 10))
    groups = [f"patient {place // 10}" for place in range(300)]
    alone, together = (intervals_of(copied, each, only=["accuracy"]).overall["accuracy"] for each in (None, groups))
    width = [(each.high or 0) - (each.low or 0) for each in (alone, together)]
    assert width[1] > 2.5 * width[0]  # the root of ten is 3.2


def test_a_model_without_mistakes_is_not_certain() -> None:
    found = intervals_of(Outcomes.of(np.eye(3)[[0, 1, 2] * 10], np.array([0, 1, 2] * 10)))
    assert found.overall["accuracy"].as_json() == {"value": 1.0, "low": pytest.approx(0.886, abs=1e-3), "high": 1.0}
    assert found.per_class["recall"][0].low == pytest.approx(0.722, abs=1e-3)
    assert wilson(0.0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))


def test_what_is_undefined_has_no_interval() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), 50)
    found = intervals_of(Outcomes.of(probabilities, np.minimum(labels, 2)))
    assert found.per_class["recall"][3].as_json() == {"value": None, "low": None, "high": None}
    json.dumps([each.as_json() for each in found.overall.values()], allow_nan=False)


def test_with_too_much_to_draw_there_are_values_alone(outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MOST_RANKED", 4 * 300 * 100)
    found = intervals_of(outcomes)
    assert found.num_draws == (DRAWS, 0)
    assert found.overall["auroc"].value is not None
    assert found.overall["auroc"].low is None
    assert found.overall["accuracy"].low is not None
    monkeypatch.setattr(bootstrap, "MOST_WEIGHED", 300 * 250)
    assert intervals_of(outcomes).num_draws == (250, 0)


def test_columns_are_measured_by_their_values(outcomes: Outcomes) -> None:
    columns = {
        "given_site": ["<img src=x onerror=alert(1)>" if place % 3 else "=1+1" for place in range(300)],
        "given_camera": ["one"] * 300,
        "given_name": [f"{place}" for place in range(300)],
        "given_rare": ["few"] * 4 + ["many"] * 200 + [None] * 96,
        "given_code": [str(place % 60) for place in range(300)],
    }
    found, left_out = by_column(outcomes, columns, None)
    assert set(found) == {"given_site", "given_rare", "given_code"}
    assert found["given_site"]["=1+1"]["images"] == 100
    rows = np.arange(0, 300, 3)
    assert found["given_site"]["=1+1"]["accuracy"]["value"] == pytest.approx(outcomes.right[rows].mean())
    assert list(found["given_rare"]) == ["many"]
    assert len(found["given_code"]) == MOST_VALUES
    assert left_out == {
        "given_camera": "has one value",
        "given_name": "no value has 5 images",
        "given_rare": "1 value(s) with fewer than 5 images, or beyond the first 50",
        "given_code": "10 value(s) with fewer than 5 images, or beyond the first 50",
    }
    many = {f"given_{number}": columns["given_site"] for number in range(MOST_COLUMNS + 1)}
    assert by_column(outcomes, many, None)[1] == {f"given_{MOST_COLUMNS}": f"only the first {MOST_COLUMNS} columns are measured"}


def test_the_file_has_every_split_class_and_value(outcomes: Outcomes) -> None:
    content = intervals_json({"val": outcomes, "test": outcomes}, ["a", "=b", "<c>", "d"], {"group": ["x", "y"] * 150}, {})
    assert content["val"] == content["test"]
    assert set(content["per_class"]) == {"a", "=b", "<c>", "d"}
    assert content["per_class"]["a"]["images"] == outcomes.counts[2, 0]
    assert set(content["per_class"]["a"]) == {"images", "precision", "recall", "f1", "auroc", "average_precision"}
    assert set(content["by"]["group"]) == {"x", "y"}
    assert content["about"]["draws"] == {"val": 1000, "test": 1000}
    assert content["about"]["left_out"] == {}


def test_of_a_binary_task_the_positive_class_is_measured() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), 200, 2)
    found = intervals_of(Outcomes.of(probabilities, labels, Decision(0.5, 1)))
    assert {"precision", "recall", "f1", "auroc", "average_precision"} <= set(found.overall)
    assert "mean_average_precision" not in found.overall


def test_a_model_that_abstains_is_measured_by_what_it_decides(outcomes: Outcomes) -> None:
    covered = outcomes.confidence >= 0.8
    found = selective(outcomes, 0.8)
    assert found["coverage"].value == pytest.approx(covered.mean())
    assert found["selective_accuracy"].value == pytest.approx(outcomes.right[covered].mean())
    assert (found["selective_accuracy"].low or 1) < (found["selective_accuracy"].value or 0)
    assert selective(outcomes, 2.0)["selective_accuracy"].value is None
