"""Epoch metrics from counts equal scikit-learn's on all predictions at once."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

from darkroom.metrics.epoch import EpochMetrics, MultilabelEpochMetrics


def test_metrics_equal_those_of_all_images_at_once() -> None:
    numbers = np.random.default_rng(0)
    logits = torch.from_numpy(numbers.normal(size=(103, 7)))
    labels = torch.from_numpy(numbers.integers(0, 6, 103))  # class 6 has no image
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    epoch_metrics = EpochMetrics(7)
    for start in (0, 10, 60):  # batches of different sizes: averaging their means would be wrong
        part = slice(start, {0: 10, 10: 60, 60: 103}[start])
        epoch_metrics.add(logits[part], labels[part], losses[part].mean())
    metrics = epoch_metrics.metrics()
    predicted = logits.argmax(1)
    assert metrics["loss"].item() == pytest.approx(losses.mean().item())
    assert metrics["accuracy"].item() == pytest.approx(accuracy_score(labels, predicted))
    present = predicted.numpy() < 6
    assert present.sum() < 103
    recall = [(predicted[labels == k] == k).double().mean().item() for k in range(6)]
    assert metrics["balanced_accuracy"].item() == pytest.approx(np.mean(recall))
    assert metrics["f1_macro"].item() == pytest.approx(
        f1_score(labels, predicted, labels=range(7), average="macro", zero_division=0)
    )
    only = predicted < 6
    restricted = EpochMetrics(7)
    restricted.add(logits[only], labels[only], losses[only].mean())
    expected = balanced_accuracy_score(labels[only], predicted[only])
    assert restricted.metrics()["balanced_accuracy"].item() == pytest.approx(expected)


def test_reset_forgets() -> None:
    epoch_metrics = EpochMetrics(2)
    epoch_metrics.add(torch.eye(2), torch.tensor([0, 1]), torch.tensor(1.0))
    epoch_metrics.reset()
    assert epoch_metrics.metrics() == {}


def test_several_labels_equal_those_of_all_images_at_once() -> None:
    numbers = np.random.default_rng(0)
    logits = torch.from_numpy(numbers.normal(size=(103, 5)))
    labels = torch.from_numpy(numbers.integers(0, 2, (103, 5)).astype(np.float32))
    labels[:, 4] = 0  # class 4 has no image
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").mean(1)
    epoch_metrics = MultilabelEpochMetrics(5)
    for part in (slice(0, 10), slice(10, 60), slice(60, 103)):
        epoch_metrics.add(logits[part], labels[part], losses[part].mean())
        resumed = MultilabelEpochMetrics(5)
        resumed.restore(epoch_metrics.state(lambda value: value))
        epoch_metrics = resumed
    metrics = epoch_metrics.metrics()
    predicted, actual = (logits > 0).numpy(), labels.numpy() > 0
    assert metrics["loss"].item() == pytest.approx(losses.mean().item())
    assert metrics["accuracy"].item() == pytest.approx(accuracy_score(actual, predicted))
    assert metrics["f1_macro"].item() == pytest.approx(f1_score(actual, predicted, average="macro", zero_division=0))
    recall = recall_score(actual[:, :4], predicted[:, :4], average="macro")
    assert metrics["balanced_accuracy"].item() == pytest.approx(recall)
