"""Places of images on a plane."""

import numpy as np
import pytest

from darkroom.pages.sections.embedding import plane


def test_classes_that_differ_lie_apart_and_always_at_the_same_place() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (5 * random.normal(0, 1, (3, 20))[labels] + random.normal(0, 1, (60, 20))).astype(np.float32)
    places = plane(features)
    assert np.array_equal(places, plane(features))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    same = labels[:, None] == labels[None]
    np.fill_diagonal(distances, np.inf)
    assert (same[np.arange(60), distances.argmin(axis=1)]).mean() == 1


@pytest.mark.parametrize("features", [np.zeros((20, 4)), np.outer(np.arange(20), np.ones(4)), np.eye(20)[:, :1]])
def test_images_that_are_alike_or_on_a_line_have_places(features: np.ndarray) -> None:
    assert np.isfinite(plane(features.astype(np.float32))).all()
