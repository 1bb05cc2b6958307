"""The search for neighbours finds what a comparison of all pairs finds, in blocks of any size."""

import numpy as np
import pytest

from darkroom.features import neighbours
from darkroom.features.neighbours import nearest, unit


def test_the_nearest_come_first() -> None:
    among = unit(np.array([[1, 0], [0, 1], [1, 1], [2, 2]], np.float32))
    similarity, row = nearest(np.array([[5, 5], [3, 0]], np.float32), among, 2)
    assert row.tolist() == [[2, 3], [0, 2]]  # of equals the first
    np.testing.assert_allclose(similarity, [[1, 1], [1, 0.7071]], atol=1e-4)


def test_blocks_find_what_all_pairs_give(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0)
    for _ in range(200):
        num_queries, num_known, size, count = (int(numbers.integers(1, most)) for most in (20, 60, 5, 12))
        monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", int(numbers.integers(1, 8)))
        monkeypatch.setattr(neighbours, "NUMBERS_AT_ONCE", int(numbers.integers(1, 200)))
        # Whole numbers, so that many are equally near.
        queries = numbers.integers(-2, 3, (num_queries, size)).astype(np.float32)
        among = unit(numbers.integers(-2, 3, (num_known, size)).astype(np.float32))
        similarity, row = nearest(queries, among, count)
        every = unit(queries) @ among.T
        wanted = np.argsort(-every, axis=1, kind="stable")[:, :count]
        assert row.shape == wanted.shape
        np.testing.assert_allclose(similarity, np.take_along_axis(every, wanted, axis=1).clip(max=1), atol=1e-6)
        assert all(len(set(each)) == len(each) for each in row.tolist())
        # Rounding may exchange equals.
        np.testing.assert_allclose(np.take_along_axis(every, row, axis=1), np.take_along_axis(every, wanted, axis=1), atol=1e-6)


def test_of_few_images_all_are_near_and_of_none_none() -> None:
    among = np.eye(3, dtype=np.float32)
    assert nearest(among[:2], among, 9)[1].shape == (2, 3)
    assert nearest(among[:0], among, 9)[1].shape == (0, 3)
    assert nearest(among, among[:0], 2)[0].shape == (3, 0)


def test_features_of_no_length_stay_zero() -> None:
    assert unit(np.zeros((1, 4), np.float32)).tolist() == [[0, 0, 0, 0]]
