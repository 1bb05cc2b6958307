"""A rare class beside large ones has a place on both sides of a draw; other draws stay as they are."""

import numpy as np
import pytest

from darkroom.splitting.rare import with_every_class


def classes_of(*counts: int) -> np.ndarray:
    return np.repeat(np.eye(len(counts), dtype=np.bool_), counts, axis=0)


def test_a_draw_that_has_every_class_stays() -> None:
    labels = classes_of(20, 5)
    drawn = np.arange(25) % 5 == 0
    np.testing.assert_array_equal(with_every_class(drawn, labels, keep=2, seed=0), drawn)


@pytest.mark.parametrize("counts", [(400, 5), (400, 3), (30, 3, 4)])
@pytest.mark.parametrize("rare_drawn", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_gets_its_places_and_the_draw_keeps_its_size(counts: tuple[int, ...], rare_drawn: bool, seed: int) -> None:
    labels = classes_of(*counts)
    drawn = np.arange(len(labels)) % 10 == 0
    drawn[counts[0] :] = rare_drawn
    found = with_every_class(drawn, labels, keep=2, seed=seed)
    assert labels[found].any(axis=0).all()
    assert (labels[~found].sum(axis=0) >= 2).all()
    assert found.sum() == drawn.sum()
    np.testing.assert_array_equal(found, with_every_class(drawn, labels, keep=2, seed=seed))


def test_a_class_that_is_too_small_changes_nothing() -> None:
    labels = classes_of(20, 2)
    drawn = np.arange(22) < 4
    np.testing.assert_array_equal(with_every_class(drawn, labels, keep=2, seed=0), drawn)


def test_units_of_several_classes() -> None:
    labels = np.zeros((40, 3), np.bool_)
    labels[:, 0] = True
    labels[30:, 1] = True
    labels[36:, 2] = True
    found = with_every_class(np.arange(40) < 8, labels, keep=2, seed=0)
    assert labels[found].any(axis=0).all()
    assert (labels[~found].sum(axis=0) >= 2).all()
