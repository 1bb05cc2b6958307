"""What is known of labelled images: whether they show the same things, and what a head on them says."""

import numpy as np
from numpy.typing import NDArray

from darkroom.labels.next_labelled import Labelled, is_related


def features(count: int, towards: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    values[:, towards] += 12
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_images_of_other_things_are_not_related() -> None:
    photos = features(200, 0, 0)
    assert is_related(photos, features(100, 0, 1), seed=0)
    assert is_related(photos, features(1, 0, 2), seed=0)
    assert not is_related(photos, features(2000, 1, 3), seed=0)
    assert is_related(photos[:1], features(5, 1, 3), seed=0)  # nothing to compare with


def test_one_class_proposes_nothing_two_do() -> None:
    values = np.concatenate([features(4, 0, 0), features(4, 1, 1)])
    assert Labelled(values[:4], ["a"] * 4).predict(values, 0) is None
    assert Labelled(values, [None] * 8).predict(values, 0) is None
    found = Labelled(values, ["b"] * 4 + ["a"] * 3 + [None]).predict(features(10, 0, 2), 0)
    assert found is not None
    assert found.classes == ["a", "b"]
    assert (found.probabilities.argmax(axis=1) == 1).all()
