"""Every metric against scikit-learn, of all images and of a drawn part of them, for each kind of labels."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from darkroom.metrics.decision import Decision
from darkroom.metrics.measures import areas, measure, rankings
from darkroom.metrics.outcomes import MOST_CLASSES, Outcomes, OutcomesBuilder


def several_classes(num_classes: int = 7, ties: bool = False) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 400)
    labels = labels[labels != 3]  # a class without images
    logits = rng.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        probabilities = np.round(probabilities, 1) + 1e-3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, labels


def several_labels() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 6)) < 0.3).astype(np.uint8)
    return 1 / (1 + np.exp(1 - rng.normal(size=labels.shape) - 2 * labels)), labels


def test_averages_are_those_of_scikit_learn() -> None:
    probabilities, labels = several_classes()
    outcomes = Outcomes.of(probabilities, labels)
    found = {name: float(value[0]) for name, value in measure(outcomes).overall.items()}
    for average in ("macro", "weighted"):
        expected = sklearn.precision_recall_fscore_support(
            labels, probabilities.argmax(axis=1), average=average, zero_division=0
        )[:3]
        assert [found[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected)
    assert found["brier"] == pytest.approx(((probabilities - np.eye(7)[labels]) ** 2).sum(axis=1).mean(), rel=1e-6)
    assert found["loss"] == pytest.approx(sklearn.log_loss(labels, probabilities, labels=range(7)))


@pytest.mark.parametrize("ties", [False, True])
def test_areas_under_curves_are_those_of_scikit_learn(ties: bool) -> None:
    probabilities, labels = several_classes(ties=ties)
    outcomes = Outcomes.of(probabilities, labels)
    found = areas(rankings(outcomes), np.ones((1, len(labels))), binary=False)
    assert outcomes.probabilities is not None
    kept = [label for label in range(7) if label != 3]
    auroc = [sklearn.roc_auc_score(labels == label, outcomes.probabilities[:, label]) for label in kept]
    precision = [sklearn.average_precision_score(labels == label, outcomes.probabilities[:, label]) for label in kept]
    assert found.per_class["auroc"][0, kept] == pytest.approx(auroc)
    assert found.per_class["average_precision"][0, kept] == pytest.approx(precision)
    assert np.isnan(found.per_class["auroc"][0, 3])
    assert found.overall["auroc"][0] == pytest.approx(np.mean(auroc))
    assert found.overall["mean_average_precision"][0] == pytest.approx(np.mean(precision))


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "binary"])
def test_a_weight_counts_an_image_as_often_as_it_says(kind: str) -> None:
    """So that a draw of the bootstrap is measured as those images would be."""
    probabilities, labels = several_labels() if kind == "multilabel" else several_classes(2 if kind == "binary" else 7)
    decision = Decision(0.4, 1) if kind == "binary" else Decision()
    outcomes = Outcomes.of(probabilities, labels, decision)
    weights = np.random.default_rng(1).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=3).astype(float)
    overall = measure(outcomes, weights).overall | areas(list(rankings(outcomes)), weights, binary=kind == "binary").overall
    for draw, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(len(labels)), counts)
        drawn = Outcomes.of(probabilities[rows], labels[rows], decision)
        once = np.ones((1, len(rows)))
        expected = measure(drawn).overall | areas(rankings(drawn), once, binary=kind == "binary").overall
        assert {name: float(value[draw]) for name, value in overall.items()} == pytest.approx(
            {name: float(value[0]) for name, value in expected.items()}, abs=1e-6
        )


def test_of_a_binary_task_the_brier_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.random(100), rng.integers(0, 2, 100)
    found = measure(Outcomes.of(np.stack([1 - p, p], axis=1), labels, Decision(0.5, 1))).overall
    assert found["brier"][0] == pytest.approx(sklearn.brier_score_loss(labels, p), rel=1e-5)
    assert found["f1"][0] == pytest.approx(sklearn.f1_score(labels, p > 0.5))


def test_of_several_labels_all_decisions_count() -> None:
    probabilities, labels = several_labels()
    found = measure(Outcomes.of(probabilities, labels)).overall
    assert found["f1_micro"][0] == pytest.approx(sklearn.f1_score(labels, probabilities > 0.5, average="micro"))
    assert found["precision_weighted"][0] == pytest.approx(
        sklearn.precision_score(labels, probabilities > 0.5, average="weighted")
    )
    assert found["brier"][0] == pytest.approx(((probabilities - labels) ** 2).mean(), rel=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_batches_of_any_size_have_the_same_outcomes(several: bool) -> None:
    probabilities, labels = several_labels() if several else several_classes()
    whole = Outcomes.of(probabilities, labels)
    builder = OutcomesBuilder(probabilities.shape[1], multilabel=several, bins=15)
    for begin, end in pairwise((0, 1, 50, 199, len(labels))):
        builder.add(probabilities[begin:end], labels[begin:end])
    parts = builder.finish()
    for name in ("predicted", "right", "confidence", "worst", "losses", "squares", "probabilities", "counts"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_allclose(np.asarray(parts.binned), np.asarray(whole.binned))
    assert {name: value[0] for name, value in measure(parts).overall.items()} == {
        name: value[0] for name, value in measure(whole).overall.items()
    }


def test_of_equal_probabilities_the_first_class_is_before_the_label() -> None:
    outcomes = Outcomes.of(np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]), np.array([0, 1, 0]))
    assert outcomes.ranks is not None
    assert outcomes.ranks.tolist() == [0, 1, 2]


def test_the_confusion_of_very_many_classes_is_a_list() -> None:
    size = MOST_CLASSES * 30
    builder = OutcomesBuilder(size, multilabel=False, bins=15)
    labels = np.array([5, 5, 5, size - 1])
    for label, predicted in zip(labels, (5, 7, 7, 0), strict=True):
        builder.add(np.eye(1, size, predicted), np.array([label]))
    outcomes = builder.finish()
    assert outcomes.probabilities is None
    assert [each.tolist() for each in outcomes.cells()] == [[5, size - 1], [7, 0], [2, 1]]
    assert outcomes.counts[:, 5].tolist() == [1, 1, 3]
    assert measure(outcomes).overall["accuracy"][0] == 0.25


def test_some_of_the_images_are_measured_as_if_they_were_all() -> None:
    probabilities, labels = several_classes()
    rows = np.arange(0, len(labels), 3)
    part, alone = Outcomes.of(probabilities, labels).take(rows), Outcomes.of(probabilities[rows], labels[rows])
    assert {name: value[0] for name, value in measure(part).overall.items()} == pytest.approx(
        {name: value[0] for name, value in measure(alone).overall.items()}
    )
    np.testing.assert_array_equal(part.counts, alone.counts)
