"""Proportions of classes, corrected for the mistakes of a model."""

import numpy as np

from darkroom.drift.class_mix import estimate_shares


def test_mistakes_of_the_model_are_corrected() -> None:
    """Three in ten of class a are taken for b: of photos of a alone, the model predicts 30 % b."""
    labels = np.repeat([0, 1], 100)
    predicted = np.concatenate([np.repeat([0, 1], [70, 30]), np.ones(100, int)])
    of_photos = np.repeat([0, 1], [140, 60])
    first, second = estimate_shares(["a", "b"], labels, predicted, of_photos, 0)
    assert (first.known, first.predicted) == (0.5, 0.7)
    assert first.corrected > 0.99
    assert second.corrected < 0.01
    assert first.low is not None
    assert first.low <= first.corrected
    assert second.high is not None
    assert 0.02 < second.high < 0.4


def test_a_class_without_validation_images_is_taken_as_predicted() -> None:
    shares = estimate_shares(["a", "b", "c"], np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), 0)
    np.testing.assert_allclose([each.corrected for each in shares], [0.25, 0.25, 0.5])
