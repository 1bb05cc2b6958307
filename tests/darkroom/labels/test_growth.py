"""Accuracy by number of training images: which images heads are fitted to, and which ones judge them."""

import numpy as np
import pytest

from darkroom.labels import growth
from darkroom.labels.growth import Images, growing_order, joined, measure_growth, rotated
from darkroom.transfer.logistic_head import fit_logistic

NONE = np.zeros(0, np.int64)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FOLDS", 4)
    monkeypatch.setattr(growth, "PART", 0.5)


def clusters(count: int, *, num_classes: int = 4, dimensions: int = 12, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    values = np.random.default_rng(99).normal(size=(num_classes, dimensions))[labels] + random.normal(size=(count, dimensions))
    features = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return Images(features, labels, np.arange(count))


def test_classes_grow_alike_and_units_enter_whole() -> None:
    labels, units = np.repeat([0, 1], [40, 20]), np.arange(60) // 4
    ranks = growing_order(labels, units, np.random.default_rng(0))
    assert sorted(ranks[:40].tolist()) == list(range(40))
    first = set(np.flatnonzero(ranks < 8).tolist())
    assert len(first) == 16
    assert len({units[row] for row in first}) == 4


def test_fewer_features_describe_few_images_as_well() -> None:
    images = clusters(24, dimensions=60)
    fewer = rotated(images)
    assert fewer.features.shape == (24, 24)
    np.testing.assert_allclose(fewer.features @ fewer.features.T, images.features @ images.features.T, atol=1e-5)
    heads = [fit_logistic(each.features, each.labels, num_classes=4, strength=10.0) for each in (images, fewer)]
    found = [head.probabilities(each.features) for head, each in zip(heads, (images, fewer), strict=True)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


def test_no_unit_is_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    images = clusters(80)
    images = Images(images.features, images.labels, np.arange(80) // 2 * 2)
    seen: list[set[int]] = []
    take = Images.take

    def watched(self: Images, rows: np.ndarray) -> Images:
        part = take(self, rows)
        seen.append(set(part.units.tolist()))
        return part

    monkeypatch.setattr(Images, "take", watched)
    found = measure_growth(images, take(images, NONE), 4)
    assert found.is_cross_validated
    assert found.wrong.shape[2] == 80
    # What the largest part of a fold leaves out is a whole number of units, and every unit is left out once a draw.
    largest = [each for each in seen if len(each) >= 28]
    assert all(len(each) in (29, 30, 31) for each in largest)
    assert len(largest) == growth.FOLDS * growth.DRAWS


def test_a_pair_in_two_folds_would_be_recognised() -> None:
    """The twin of the test above: with numbers of their own, copies are in other folds, and every image is known."""
    half = Images(np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32), np.arange(60) % 2, np.arange(60))
    copied = joined(half, half)
    apart = Images(copied.features, copied.labels, np.arange(120))
    nothing = copied.take(NONE)
    assert measure_growth(apart, nothing, 2).errors[-1] < 0.2
    assert measure_growth(copied, nothing, 2).errors[-1] > 0.35


def test_a_large_validation_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FEWEST_JUDGED", 50)
    monkeypatch.setattr(growth, "PART", 0.05)
    found = measure_growth(clusters(64), clusters(60, seed=1), 4)
    assert not found.is_cross_validated
    assert found.wrong.shape == (growth.DRAWS, len(found.sizes), 60)
    assert found.sizes[-1] == 64
    assert (np.diff(found.sizes) > 0).all()
    # All training images are the same set in each draw.
    assert np.array_equal(found.wrong[0, -1], found.wrong[1, -1])
    assert found.errors[0] > found.errors[-1]


def test_a_class_of_one_image_and_unequal_classes_are_no_fault() -> None:
    images = clusters(61)
    labels = np.where(np.arange(61) == 60, 4, np.where(np.arange(61) % 3 == 0, 1, 0))
    found = measure_growth(Images(images.features, labels, images.units), images.take(NONE), 5)
    assert found.errors[-1] < 1
    assert found.wrong[:, -1, 60].all()


def test_images_of_one_unit_count_as_one() -> None:
    wrong = np.random.default_rng(0).random((1, 5, 200)) < 0.3
    alone = growth.Growth(np.arange(1.0, 6.0), wrong, np.arange(200), is_cross_validated=True)
    fours = growth.Growth(
        np.arange(1.0, 6.0), np.repeat(wrong[:, :, :50], 4, axis=2), np.arange(200) // 4, is_cross_validated=True
    )
    assert np.median(np.diag(fours.covariance()) / np.diag(alone.covariance())) > 3
