"""Metrics of weighted images: as evaluate measures them where each weighs 1, as of repeated images where it weighs more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import split_of
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_score, recall_score

from darkroom.comparison import weighted
from darkroom.comparison.matching import whole
from darkroom.comparison.weighted import HIGHER_IS_BETTER, LOWER_IS_BETTER, summed
from darkroom.metrics.decision import Decision
from darkroom.metrics.scores import score


def random_case(task: str, num_classes: int, num_images: int = 200) -> tuple[NDArray[Any], NDArray[Any], Decision]:
    numbers = np.random.default_rng(num_classes)
    if task == "multilabel":
        labels = (numbers.random((num_images, num_classes)) < 0.3).astype(np.uint8)
        return np.clip(0.5 * labels + 0.6 * numbers.random(labels.shape), 0, 1), labels, Decision(0.6)
    labels = numbers.integers(0, num_classes, num_images)
    # With equal ones, but where only some of them are kept.
    logits = numbers.normal(size=(num_images, num_classes)).round(1 if num_classes <= 1000 else 9)
    logits[np.arange(num_images), labels] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels, Decision(0.4, positive=1) if task == "binary" else Decision()


CASES = [("multiclass", 3), ("multiclass", 12), ("multiclass", 150), ("binary", 2), ("multilabel", 4)]


@pytest.mark.parametrize(("task", "num_classes"), CASES)
def test_weights_of_one_give_what_evaluate_measures(task: str, num_classes: int, tmp_path: Path) -> None:
    probabilities, labels, decision = random_case(task, num_classes)
    rounded = probabilities.astype(np.float32).astype(np.float64)
    split = split_of(tmp_path, rounded, labels, decision=decision)
    found = {name: float(value[0]) for name, value in summed(whole(split), bins=15).metrics(np.ones((1, 200))).items()}
    expected = score(rounded, labels, decision, bins=15)
    assert found.keys() >= expected.keys()
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert found.keys() <= LOWER_IS_BETTER | HIGHER_IS_BETTER


@pytest.mark.parametrize(("task", "num_classes"), CASES)
def test_a_weight_counts_an_image_so_often(task: str, num_classes: int, tmp_path: Path) -> None:
    probabilities, labels, decision = random_case(task, num_classes)
    weights = np.random.default_rng(5).integers(0, 4, 200)
    rows = np.repeat(np.arange(200), weights)
    split = split_of(tmp_path, probabilities, labels, decision=decision)
    repeated = split_of(tmp_path, probabilities[rows], labels[rows], decision=decision)
    found = summed(whole(split), bins=7).metrics(weights[None].astype(np.float64))
    expected = summed(whole(repeated), bins=7).metrics(np.ones((1, len(rows))))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_averages_are_those_of_scikit_learn(tmp_path: Path) -> None:
    probabilities, labels, _ = random_case("multiclass", 12)
    split = split_of(tmp_path, probabilities, labels)
    found = summed(whole(split), bins=15).metrics(np.ones((1, 200)))
    for average in ("macro", "weighted"):
        for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            expected = function(labels, split.predicted, average=average, zero_division=0)
            assert found[f"{name}_{average}"][0] == pytest.approx(expected)


def test_sparse_sums_are_the_dense_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels, _ = random_case("multiclass", 12)
    side = whole(split_of(tmp_path, probabilities, labels))
    weights = np.random.default_rng(5).integers(0, 4, (6, 200)).astype(np.float64)
    dense = summed(side, bins=15).metrics(weights)
    monkeypatch.setattr(weighted, "DENSE_CLASSES", 3)
    sparse = summed(side, bins=15).metrics(weights)
    for name, values in dense.items():
        assert sparse[name] == pytest.approx(values), name


def test_of_very_many_classes_the_kept_probabilities_are_enough(tmp_path: Path) -> None:
    probabilities, labels, _ = random_case("multiclass", 1100)
    side = whole(split_of(tmp_path, probabilities, labels))
    rounded = probabilities.astype(np.float32)
    order = np.argsort(-rounded, axis=1, kind="stable")
    expected = (order == labels[:, None]).argmax(axis=1)
    # Beyond the kept ones the rank is only known to be lower.
    assert (side.ranks[expected < 20] == expected[expected < 20]).all()
    assert (side.ranks[expected >= 20] >= 20).all()
    found = summed(side, bins=15).metrics(np.ones((1, 200)))
    assert found["top5_accuracy"][0] == (expected < 5).mean()
    assert "brier" not in found
