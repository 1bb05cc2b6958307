"""Confident learning by hand and on planted errors: the number of wrong labels is estimated, the wrong ones come first."""

import numpy as np
import pytest

from darkroom.labels.confident import confident_joint, estimate_errors, own_probabilities, thresholds

# Four images of class 0, of which the last is confidently of class 1; two of class 1; none of class 2.
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.5, 0.5, 0], [0.2, 0.8, 0], [0.1, 0.9, 0], [0.3, 0.7, 0]])
LABELS = np.array([0, 0, 0, 0, 1, 1])


def test_by_hand() -> None:
    np.testing.assert_allclose(own_probabilities(PROBABILITIES, LABELS), [0.9, 0.8, 0.5, 0.2, 0.9, 0.7])
    np.testing.assert_allclose(thresholds(PROBABILITIES, LABELS), [0.6, 0.8, np.inf])
    # The third image is below both thresholds, the last below that of its own class.
    assert confident_joint(PROBABILITIES, LABELS).tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert estimate_errors(PROBABILITIES, LABELS) == pytest.approx(4 / 3)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_the_estimate_is_near_the_number_of_errors(share: float) -> None:
    numbers = np.random.default_rng(0)
    truth = numbers.integers(0, 4, 2000)
    logits = numbers.normal(size=(2000, 4)) + 5 * np.eye(4)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = numbers.random(2000) < share
    labels = np.where(wrong, (truth + numbers.integers(1, 4, 2000)) % 4, truth)
    assert estimate_errors(probabilities, labels) == pytest.approx(wrong.sum(), abs=25)
    if share:
        first = np.argsort(own_probabilities(probabilities, labels))[: wrong.sum()]
        assert wrong[first].mean() > 0.9


def test_labels_that_are_all_of_one_class_are_none_of_them_wrong() -> None:
    assert estimate_errors(PROBABILITIES[:2], LABELS[:2]) == 0
