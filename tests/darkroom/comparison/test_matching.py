"""Which images two revisions have in common, and how their classes are numbered."""

from pathlib import Path

import numpy as np
from compared import split_of, sure

from darkroom.comparison.matching import match
from darkroom.comparison.measured import Measured


def test_images_are_the_same_by_pixels_and_id(tmp_path: Path) -> None:
    labels = np.array([0, 1, 0, 1, 1])
    first = split_of(tmp_path, sure(labels, 2), labels, ids=list("abcde"), hashes=[b"1", b"2", b"3", b"4", b"5"])
    # a is renamed, c has other pixels, d another label, e is gone; f is new.
    labels = np.array([1, 1, 0, 0, 0])
    ids, hashes = ["b", "f", "c", "A", "d"], [b"2", b"6", b"9", b"1", b"4"]
    second = split_of(tmp_path, sure([1, 1, 0, 1, 0], 2), labels, ids=ids, hashes=hashes)
    matched = match(first, second)
    assert matched.ids == ["b", "A"]
    assert (matched.only_first, matched.only_second, matched.relabelled) == (2, 2, 1)
    assert [matched.ids[row] for row in matched.broken] == ["A"]
    assert len(matched.fixed) == 0
    assert matched.pixel_hash(1) == b"1"


def test_of_equal_images_each_is_counted_once(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1])
    first = split_of(tmp_path, sure(labels, 2), labels, ids=["a", "b", "c"], hashes=[b"1", b"1", b"2"])
    second = split_of(tmp_path, sure(labels[:2], 2), labels[:2], ids=["b", "z"], hashes=[b"1", b"3"])
    matched = match(first, second)
    assert (matched.ids, matched.only_first, matched.only_second) == (["b"], 2, 1)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    first = split_of(tmp_path, sure([0, 1, 1], 2), np.array([0, 1, 0]), classes=["cat", "dog"])
    second = split_of(tmp_path, sure([2, 0, 2], 3), np.array([2, 0, 2]), classes=["dog", "bird", "cat"])
    matched = match(first, second)
    assert matched.first.classes == ["cat", "dog", "bird"]
    assert (len(matched), matched.relabelled) == (3, 0)
    assert matched.second.labels.tolist() == matched.first.labels.tolist() == [0, 1, 0]
    assert matched.second.predicted.tolist() == [0, 1, 0]
    assert matched.fixed.tolist() == [2]
    measured = Measured(matched, 15)
    assert {each.name: each.difference for each in measured.metrics}["accuracy"] > 0
    assert [(each.name, each.fixed, each.broken) for each in measured.classes] == [("cat", 1, 0), ("dog", 0, 0)]


def test_images_of_several_classes(tmp_path: Path) -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    first = split_of(tmp_path, np.array([[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [0.1, 0.2, 0.3]]), labels, classes=["a", "b", "c"])
    second = split_of(tmp_path, np.array([[0.9, 0.1, 0.1], [0.3, 0.8, 0.1], [0.1, 0.2, 0.3]]), labels, classes=["a", "b", "c"])
    measured = Measured(match(first, second), 15)
    matched = measured.matched
    assert (matched.fixed.tolist(), matched.broken.tolist()) == ([1], [0])
    names = [side.name(side.predicted, row) for side in (matched.first, matched.second) for row in range(3)]
    assert names == ["a, b", "a, b", "none", "a", "b", "none"]
    assert {each.name: each.broken for each in measured.classes} == {"a": 0, "b": 1}
    assert "mean_average_precision" in {each.name for each in measured.metrics}


def test_the_most_confident_mistakes_come_first(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0])
    right = split_of(tmp_path, sure(labels, 2), labels)
    wrong = split_of(tmp_path, np.array([[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]]), labels)
    assert match(right, wrong).broken.tolist() == [1, 2, 0]
    assert match(wrong, right).fixed.tolist() == [1, 2, 0]


def test_no_image_of_both(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    first = split_of(tmp_path, sure(labels, 2), labels, ids=["a", "b"], hashes=[b"1", b"2"])
    second = split_of(tmp_path, sure(labels, 2), labels, ids=["c", "d"], hashes=[b"3", b"4"])
    assert len(match(first, second)) == 0
