"""Scores against scikit-learn and against calibration errors computed by hand."""

import numpy as np
import pytest
import torch
from evaluated import confusion_matrix
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from darkroom.metrics import scores
from darkroom.metrics.epoch import EpochMetrics
from darkroom.metrics.outcomes import Outcomes


def random_answers(num_classes: int, missing: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 300)
    if missing is not None:
        labels = labels[labels != missing]
    logits = rng.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += 1
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_scores_equal_those_of_scikit_learn(num_classes: int) -> None:
    probabilities, labels = random_answers(num_classes)
    predicted = probabilities.argmax(axis=1)

    score = scores.score_of(Outcomes.of(probabilities, labels, bins=15))

    assert score["loss"] == pytest.approx(sklearn.log_loss(labels, probabilities))
    assert score["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted))
    assert score["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))
    assert score["f1_macro"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    assert all(type(value) is float for value in score.values())


def test_top5_accuracy_is_there_for_more_than_five_classes() -> None:
    probabilities, labels = random_answers(10)
    score = scores.score_of(Outcomes.of(probabilities, labels, bins=15))
    assert score["top5_accuracy"] == pytest.approx(sklearn.top_k_accuracy_score(labels, probabilities, k=5))
    assert "top5_accuracy" not in scores.score_of(Outcomes.of(*random_answers(5), bins=15))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
def test_a_class_without_images_counts_as_in_scikit_learn() -> None:
    probabilities, labels = random_answers(4, missing=2)
    predicted = probabilities.argmax(axis=1)
    assert 2 in predicted

    score = scores.score_of(Outcomes.of(probabilities, labels, bins=15))
    classes = scores.per_class_scores(Outcomes.of(probabilities, labels))

    assert score["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))
    assert score["f1_macro"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    expected = sklearn.precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=np.nan)
    for ours, theirs in zip(classes, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_what_is_undefined_is_left_out() -> None:
    probabilities, labels = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]), np.array([0, 1])
    classes = scores.per_class_scores(Outcomes.of(probabilities, labels))
    np.testing.assert_array_equal(classes.precision, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(classes.recall, [1, 0, np.nan])
    np.testing.assert_allclose(classes.f1, [2 / 3, 0, np.nan])
    assert classes.support.tolist() == [1, 1, 0]
    assert scores.score_of(Outcomes.of(probabilities, labels, bins=15))["f1_macro"] == pytest.approx(1 / 3)
    metrics = EpochMetrics(3)
    metrics.add(torch.from_numpy(probabilities).log(), torch.from_numpy(labels), torch.tensor(0.0))
    assert float(metrics.metrics()["f1_macro"]) == pytest.approx(1 / 3)
    assert np.isnan(scores.score_of(Outcomes.of(probabilities, np.zeros((2, 3), np.uint8), bins=15))["mean_average_precision"])


def test_confusion_matrix_equals_that_of_scikit_learn() -> None:
    probabilities, labels = random_answers(4, missing=2)
    expected = sklearn.confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(4))
    np.testing.assert_array_equal(confusion_matrix(Outcomes.of(probabilities, labels)), expected)


def test_calibration_error_computed_by_hand() -> None:
    # Confidence 0.6 (right), 0.8 (right), 0.7 (wrong), 1.0 (right), in bins (0.5, 0.75] and (0.75, 1].
    probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])

    diagram = scores.diagram(Outcomes.of(probabilities, labels, bins=4))

    assert diagram.num_images.tolist() == [0, 0, 2, 2]
    assert np.isnan(diagram.accuracy[:2]).all()
    assert diagram.confidence[2:] == pytest.approx([0.65, 0.9])
    assert diagram.accuracy[2:] == pytest.approx([0.5, 1.0])
    # 2/4 · |0.5 - 0.65| + 2/4 · |1 - 0.9|
    assert scores.score_of(Outcomes.of(probabilities, labels, bins=4))["ece"] == pytest.approx(0.125)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probabilities = np.array([[0.7, 0.3], [0.5, 0.5], [1.0, 0.0]])
    assert scores.diagram(Outcomes.of(probabilities, np.zeros(3, np.int64), bins=10)).num_images.nonzero()[0].tolist() == [
        4,
        6,
        9,
    ]


def test_one_bin_measures_overconfidence() -> None:
    probabilities, labels = random_answers(3)
    score = scores.score_of(Outcomes.of(probabilities, labels, bins=1))
    assert score["ece"] == pytest.approx(abs(score["accuracy"] - probabilities.max(axis=1).mean()))


def test_loss_stays_finite_where_a_probability_is_0() -> None:
    assert scores.score_of(Outcomes.of(np.array([[0.0, 1.0]]), np.array([0]), bins=2))["loss"] == pytest.approx(708.4, abs=0.1)


def several_labels() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 6)) < 0.3).astype(np.uint8)
    labels[:, 5] = 0  # a class without images
    return 1 / (1 + np.exp(-rng.normal(size=labels.shape) - labels)), labels


def test_scores_of_several_labels_equal_those_of_scikit_learn() -> None:
    probabilities, labels = several_labels()
    predicted = probabilities > 0.5
    score = scores.score_of(Outcomes.of(probabilities, labels, bins=15))
    losses = [sklearn.log_loss(labels[:, label], probabilities[:, label], labels=[0, 1]) for label in range(6)]
    assert score["loss"] == pytest.approx(np.mean(losses))
    assert score["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted))
    assert score["balanced_accuracy"] == pytest.approx(sklearn.recall_score(labels[:, :5], predicted[:, :5], average="macro"))
    assert score["f1_macro"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro", zero_division=0))
    expected = sklearn.average_precision_score(labels[:, :5], probabilities[:, :5])
    assert score["mean_average_precision"] == pytest.approx(expected)
    assert "top5_accuracy" not in score
    flat = np.stack([1 - probabilities.ravel(), probabilities.ravel()], axis=1)
    assert score["ece"] == pytest.approx(scores.score_of(Outcomes.of(flat, labels.ravel().astype(np.int64), bins=15))["ece"])


def test_several_labels_per_class_and_confused() -> None:
    probabilities = np.array([[0.9, 0.1, 0.6], [0.2, 0.8, 0.1], [0.3, 0.2, 0.4]])
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    found = scores.per_class_scores(Outcomes.of(probabilities, labels))
    assert found.support.tolist() == [1, 2, 0]
    np.testing.assert_array_equal(found.precision, [1, 1, 0])
    np.testing.assert_array_equal(found.recall, [1, 0.5, np.nan])
    # In the first image class 1 was missed and class 2 seen instead.
    assert confusion_matrix(Outcomes.of(probabilities, labels)).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert Outcomes.of(probabilities, labels).right.tolist() == [False, True, True]
