"""What comparisons measure of recorded predictions is what evaluate measured, whatever classes they are compared with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import split_of
from numpy.typing import NDArray

from darkroom.comparison.matching import whole
from darkroom.comparison.resampling import metrics_of
from darkroom.metrics.decision import Decision
from darkroom.metrics.measures import HIGHER_IS_BETTER, LOWER_IS_BETTER
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.scores import score_of


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


@pytest.mark.parametrize(("task", "num_classes"), [("multiclass", 3), ("multiclass", 12), ("binary", 2), ("multilabel", 4)])
def test_metrics_are_those_of_evaluate(task: str, num_classes: int, tmp_path: Path) -> None:
    probabilities, labels, decision = random_case(task, num_classes)
    rounded = probabilities.astype(np.float32).astype(np.float64)
    side = whole(split_of(tmp_path, rounded, labels, decision=decision))
    found, expected = metrics_of(side.outcomes(bins=15)), score_of(Outcomes.of(rounded, labels, decision, bins=15))
    assert found.keys() >= expected.keys()
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert found.keys() <= LOWER_IS_BETTER | HIGHER_IS_BETTER
    # Of a revision with these classes in another order.
    mirrored = replace(side, classes=side.classes[::-1])
    assert metrics_of(mirrored.outcomes(bins=15)) == pytest.approx(found, rel=1e-12)


def test_of_very_many_classes_the_kept_probabilities_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.comparison.predictions.BATCH", 1100 * 30)
    probabilities, labels, _ = random_case("multiclass", 1100)
    outcomes = whole(split_of(tmp_path, probabilities, labels)).outcomes(bins=15)
    order = np.argsort(-probabilities.astype(np.float32), axis=1, kind="stable")
    expected = (order == labels[:, None]).argmax(axis=1)
    assert outcomes.ranks is not None
    # Beyond the kept ones the rank is only known to be lower.
    assert (outcomes.ranks[expected < 20] == expected[expected < 20]).all()
    assert (outcomes.ranks[expected >= 20] >= 20).all()
    found = metrics_of(outcomes)
    assert found["top5_accuracy"] == (expected < 5).mean()
    assert "brier" not in found
