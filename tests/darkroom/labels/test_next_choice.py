"""The choice covers what is not covered, weighs what is in doubt, and stays small with many photos."""

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.labels import next_choice
from darkroom.labels.next_choice import choose, typical_distance, uncertainties

NONE = np.zeros((0, 16), np.float32)


def clusters(sizes: list[int], spread: float = 0.05) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    numbers = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    values = np.eye(16)[labels] + numbers.normal(0, spread, (len(labels), 16))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), labels


def test_without_labels_each_cluster_gets_one_the_largest_first() -> None:
    features, labels = clusters([5, 40, 10, 20])
    rows = choose(features, NONE, np.ones(len(features)), 4)
    assert labels[rows].tolist() == [1, 3, 2, 0]


def test_what_is_like_a_labelled_image_comes_last() -> None:
    features, labels = clusters([30, 10, 10])
    rows = choose(features, features[:1], np.ones(len(features)), 3)
    assert labels[rows].tolist() == [1, 2, 0] or labels[rows].tolist() == [2, 1, 0]


def test_what_is_uncertain_comes_first() -> None:
    features, labels = clusters([30, 10, 20])
    doubts = np.where(labels == 1, 1.0, 0.1)
    assert labels[choose(features, NONE, doubts, 1)].tolist() == [1]


def test_every_photo_is_chosen_once_also_those_that_add_nothing() -> None:
    features = np.repeat(clusters([3])[0][:1], 6, axis=0)
    assert sorted(choose(features, features, np.zeros(6), 6).tolist()) == list(range(6))
    assert choose(features[:1], NONE, np.ones(1), 1).tolist() == [0]


def test_gains_that_are_bounded_give_the_greedy_choice() -> None:
    """Without the bounds, every gain is computed in every step."""
    numbers = np.random.default_rng(1)
    features = numbers.normal(size=(60, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weights = numbers.uniform(size=60).astype(np.float32)
    similarity = np.exp(-next_choice.squared_distances(features, features) / typical_distance(features))
    covered, greedy = np.zeros(60), list[int]()
    for _ in range(20):
        gains = (np.maximum(similarity - covered, 0) * weights).sum(axis=1)
        gains[greedy] = -1
        greedy.append(int(gains.argmax()))
        covered = np.maximum(covered, similarity[greedy[-1]])
    assert choose(features, NONE, weights, 20).tolist() == greedy


def test_of_many_photos_clusters_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_choice, "MOST", 100)
    monkeypatch.setattr(next_choice, "CLUSTERS", 40)
    compared = []
    similarity = next_choice._similarity
    monkeypatch.setattr(next_choice, "_similarity", lambda a, b, scale: compared.append(len(a)) or similarity(a, b, scale))
    features, labels = clusters([100, 400, 200, 150])
    rows = choose(features, NONE, np.ones(len(features)), 4)
    assert sorted(labels[rows]) == [0, 1, 2, 3]
    assert labels[rows[0]] == 1
    assert max(compared) <= 40
    again = choose(features, NONE, np.ones(len(features)), 4)
    assert rows.tolist() == again.tolist()


def test_uncertainty_is_large_between_two_classes() -> None:
    assert uncertainties(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.6, 0.3, 0.1]])).tolist() == pytest.approx([1, 0, 0.7])
    assert uncertainties(np.ones((2, 1))).tolist() == [1, 1]
