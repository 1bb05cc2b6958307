"""The logistic regression is the one of scikit-learn, for any classes."""

import numpy as np
import pytest

from darkroom.transfer.logistic_head import STRENGTHS, choose_strength, fit_logistic


def clusters(per_class: int, num_classes: int = 3, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(num_classes, 8))
    labels = np.repeat(np.arange(num_classes), per_class)
    features = centres[labels] + noise * random.normal(size=(len(labels), 8))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("num_classes", [2, 3])
def test_probabilities_are_those_of_the_library(num_classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = clusters(20, num_classes)
    head = fit_logistic(features, labels, num_classes=num_classes, strength=10)
    wanted = LogisticRegression(C=10, max_iter=1000).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(head.probabilities(features), wanted, atol=1e-3)


def test_with_more_features_than_images_it_is_the_same() -> None:
    from sklearn.linear_model import LogisticRegression

    features = (np.random.default_rng(0).normal(size=(30, 100)) / 10).astype(np.float32)
    labels = np.arange(30) % 3
    head = fit_logistic(features, labels, num_classes=3, strength=10)
    wanted = LogisticRegression(C=10, max_iter=1000, tol=1e-6).fit(features, labels)
    np.testing.assert_allclose(head.weight, wanted.coef_, atol=0.02)  # the solver stops at a gradient of 1e-4
    np.testing.assert_allclose(head.probabilities(features), wanted.predict_proba(features), atol=0.01)


def test_a_class_without_an_image_is_never_predicted() -> None:
    features, labels = clusters(20)
    head = fit_logistic(features, np.where(labels == 1, 3, labels), num_classes=5)
    assert head.weight.shape == (5, 8)
    assert set(head.probabilities(features).argmax(axis=1)) == {0, 2, 3}
    assert fit_logistic(features, np.full(60, 2), num_classes=4).probabilities(features).argmax(axis=1).tolist() == [2] * 60


def test_noisy_labels_get_a_stronger_penalty() -> None:
    features, labels = clusters(40, noise=0.1)
    noisy = np.random.default_rng(1).permutation(labels)
    assert choose_strength(features, labels) > choose_strength(features, noisy)
    assert choose_strength(features[::40], labels[::40]) in STRENGTHS
