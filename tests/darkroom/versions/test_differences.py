"""Matching images and finding changes: small cases, and properties of random ones."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from darkroom.versions.datasets import TEXT, Dataset
from darkroom.versions.differences import KINDS, compare, pair_equal


def dataset(text: str, classes: str = "", why: str | None = None) -> Dataset:
    """Return a set of images written as `id=pixels:class/split`, the last two being `a` and `train` if left out."""
    rows = []
    for word in text.split():
        name, _, rest = word.partition("=")
        pixels, _, rest = rest.partition(":")
        label, _, split = rest.partition("/")
        rows.append((name, label or "a", split or "train", pixels.encode()))
    columns = list(zip(*rows, strict=True)) or [[]] * 4
    kinds = (TEXT, TEXT, TEXT, pa.large_binary())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Dataset(list(classes or "ab"), pa.table(dict(zip(("id", "class", "split", "pixel_hash"), arrays, strict=True))), why)


def found(before: Dataset, after: Dataset) -> dict[str, list[str]]:
    """Return the differences that there are, as ids before and after."""

    def name(side: Dataset, row: int) -> str:
        return "" if row < 0 else side.images["id"][row].as_py()

    rows = compare(before, after).rows
    assert tuple(rows) == KINDS
    return {kind: [f"{name(before, a)}>{name(after, b)}" for a, b in rows[kind].tolist()] for kind in KINDS if len(rows[kind])}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x=1 y=2", "y=2 x=1", {}),
        ("x=1", "x=1 y=2", {"added": [">y"]}),
        ("x=1 y=2", "y=2", {"removed": ["x>"]}),
        ("x=1:a", "x=1:b", {"relabelled": ["x>x"]}),
        ("a/x=1:a", "b/x=1:b", {"relabelled": ["a/x>b/x"]}),
        ("x=1:a/train", "x=1:a/val", {"moved": ["x>x"]}),
        ("x=1:a/train", "x=1:b/val", {"relabelled": ["x>x"], "moved": ["x>x"]}),
        ("x=1", "y=1", {"renamed": ["x>y"]}),
        ("x=1", "x=2", {"replaced": ["x>x"]}),
        ("x=1:a", "x=2:b", {"relabelled": ["x>x"], "replaced": ["x>x"]}),
        # Pixels come before ids: two that have changed names are not two that were replaced.
        ("x=1 y=2", "x=2 y=1", {"renamed": ["x>y", "y>x"]}),
        # The name was given to another image, which is no new one of it.
        ("x=1 y=2", "x=2", {"removed": ["x>"], "renamed": ["y>x"]}),
        ("x=1 y=2", "y=1 x=3", {"removed": ["y>"], "added": [">x"], "renamed": ["x>y"]}),
    ],
)
def test_what_became_of_images(before: str, after: str, expected: dict[str, list[str]]) -> None:
    assert found(dataset(before), dataset(after)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("x=1 y=1", "x=1", {"removed": ["y>"]}),
        ("y=1", "x=1 y=1", {"added": [">x"]}),
        ("x=1 y=1", "p=1 q=1 r=1", {"added": [">r"], "renamed": ["x>p", "y>q"]}),
        # Of copies with two labels each finds the one of its own label.
        ("x=1:a y=1:b", "p=1:b q=1:a", {"renamed": ["x>q", "y>p"]}),
        ("x=1:a/val y=1:a/train", "p=1:a/train q=1:a/val", {"renamed": ["x>q", "y>p"]}),
        ("x=1:a y=1:b", "p=1:b/val q=1:a/val", {"moved": ["x>q", "y>p"]}),
        ("x=1:a y=1:b", "p=1:b", {"removed": ["x>"], "renamed": ["y>p"]}),
        # Even twice the same name is nothing to stumble over.
        ("x=1 x=1", "x=1", {"removed": ["x>"]}),
    ],
)
def test_copies_are_counted(before: str, after: str, expected: dict[str, list[str]]) -> None:
    assert found(dataset(before), dataset(after)) == expected


def test_without_a_split_nothing_has_moved_and_other_changes_are_found() -> None:
    before, after = dataset("x=1:a/train y=2"), dataset("x=1:b/val z=3", why="has no split yet")
    assert found(before, after) == {"added": [">z"], "removed": ["y>"], "relabelled": ["x>x"]}
    assert compare(before, after).without_split == ["has no split yet"]


@pytest.mark.parametrize(
    ("before", "after", "new", "lost", "reordered"),
    [("ab", "ab", "", "", False), ("ac", "abc", "b", "", False), ("abc", "ca", "", "b", True), ("ab", "bc", "c", "a", False)],
)
def test_class_lists(before: str, after: str, new: str, lost: str, reordered: bool) -> None:
    differences = compare(dataset("x=1", before), dataset("x=1", after))
    assert (differences.new_classes, differences.lost_classes) == (list(new), list(lost))
    assert differences.is_reordered == reordered
    assert all(len(rows) == 0 for rows in differences.rows.values())


def test_each_image_is_in_one_pair_or_is_added_or_removed() -> None:
    numbers = np.random.default_rng(0)
    for _ in range(30):
        sides = []
        for _ in range(2):
            drawn = numbers.integers(0, [12, 8, 2, 2], (numbers.integers(1, 15), 4)).tolist()
            sides.append(dataset(" ".join(f"{name}={pixels}:{'ab'[label]}/{split}" for name, pixels, label, split in drawn)))
        before, after = sides
        differences = compare(before, after)
        rows = differences.rows
        assert sorted([*differences.pairs[:, 0], *rows["removed"][:, 0]]) == list(range(len(before)))
        assert sorted([*differences.pairs[:, 1], *rows["added"][:, 1]]) == list(range(len(after)))
        # As many as can be are paired by their pixels.
        counts = [Counter(side.images["pixel_hash"].to_pylist()) for side in sides]
        assert len(differences.pairs) - len(rows["replaced"]) == (counts[0] & counts[1]).total()
        changed = {pair for kind in KINDS[2:] for pair in map(tuple, rows[kind].tolist())}
        assert differences.num_unchanged == len(differences.pairs) - len(changed)


def test_equal_numbers_are_paired_once() -> None:
    first, second = np.array([5, 3, 5, 7, 5]), np.array([5, 7, 7, 5])
    places = pair_equal(first, second)
    assert sorted(zip(*(each.tolist() for each in places), strict=True)) == [(0, 0), (2, 3), (3, 1)]
    assert [len(each) for each in pair_equal(first[:0], second)] == [0, 0]
