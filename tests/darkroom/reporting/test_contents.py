"""Counts, histograms and the order of duplicates, on contents that are made up."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from darkroom.reporting import contents as module
from darkroom.reporting.contents import (
    SHAPES,
    Contents,
    are_across_splits,
    class_names,
    count_classes,
    histogram_of_shapes,
    histogram_of_sizes,
    notable_pairs,
    numbers,
)

MakeContents = Callable[..., Contents]


def sized(make_contents: MakeContents, sizes: list[tuple[int, int]]) -> Contents:
    count = len(sizes)
    splits = np.array(["train"] * (count - 1) + ["left_out"])
    return make_contents(labels=np.zeros(count, np.int64), splits=splits, sizes=np.array(sizes, np.int32))


def test_every_image_is_counted_once(make_contents: MakeContents) -> None:
    labels = np.array([0] * 9 + [1] * 3)
    contents = make_contents(labels=labels, classes=["a", "b", "nothing"])
    assert count_classes(contents).tolist() == [[8, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]


def test_images_of_one_size_make_one_bin(make_contents: MakeContents) -> None:
    histogram = histogram_of_sizes(make_contents())
    assert (list(histogram.bins), histogram.counts.tolist()) == (["8 to 9"], [[8, 2, 2, 0]])


def test_bins_of_sizes_are_the_same_for_every_set(make_contents: MakeContents) -> None:
    small = histogram_of_sizes(sized(make_contents, [(1, 900), (7, 7), (9, 8), (17, 15)]))
    assert list(small.bins) == ["1", "2", "3", "4", "5", "6", "7", "8 to 9", "10 to 11", "12 to 13", "14 to 15"]
    assert small.counts.sum(axis=1).tolist() == [1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1]
    assert small.counts[-1].tolist() == [0, 0, 0, 1]
    photos = histogram_of_sizes(sized(make_contents, [(224, 300), (255, 255), (256, 256), (447, 500)]))
    assert (list(photos.bins), list(photos.places)) == (
        ["224 to 255", "256 to 319", "320 to 383", "384 to 447"],
        [224, 256, 320, 384],
    )
    assert photos.counts.sum(axis=1).tolist() == [2, 1, 0, 1]


def test_every_side_falls_into_its_bin(make_contents: MakeContents) -> None:
    histogram = histogram_of_sizes(sized(make_contents, [(side, 5000) for side in range(1, 4097)]))
    ends = [*histogram.places[1:], 4097 + 1023]
    assert (
        histogram.counts.sum(axis=1)[:-1].tolist()
        == [end - start for start, end in zip(histogram.places, ends, strict=True)][:-1]
    )
    assert histogram.counts.sum() == 4096


@pytest.mark.parametrize(
    ("height", "width", "name"),
    [
        (8, 8, "square"),
        (480, 640, "1:1 to 4:3"),
        (640, 480, "3:4 to 1:1"),
        (1000, 1001, "1:1 to 4:3"),
        (200, 300, "4:3 to 3:2"),
        (1080, 1920, "3:2 to 2:1"),
        (1920, 1080, "1:2 to 2:3"),
        (100, 300, "2:1 to 3:1"),
        (100, 301, "over 3:1"),
        (301, 100, "under 1:3"),
    ],
)
def test_shapes(make_contents: MakeContents, height: int, width: int, name: str) -> None:
    histogram = histogram_of_shapes(sized(make_contents, [(height, width), (8, 8)]))
    assert list(histogram.bins) == list(SHAPES)
    assert [place for place, split in enumerate(histogram.counts[:, 0]) if split] == [SHAPES.index(name)]


def test_conflicts_come_before_leaks_and_these_before_what_is_alike(make_contents: MakeContents) -> None:
    pairs = [(0, 2, -1), (2, 4, 7), (0, 10, 9), (0, 1, 12), (1, 11, 20), (3, 5, 3)]
    contents = make_contents(pairs=pairs)
    assert [pairs[place] for place in notable_pairs(contents)] == [
        (0, 1, 12),
        (0, 10, 9),
        (1, 11, 20),
        (0, 2, -1),
        (3, 5, 3),
        (2, 4, 7),
    ]
    splits = np.where(np.arange(12) == 10, "left_out", contents.splits)
    assert are_across_splits(contents._replace(splits=splits)).tolist() == [False, False, False, False, True, False]


def test_names_of_the_classes_of_an_image(make_contents: MakeContents) -> None:
    assert class_names(make_contents(), 1) == "b"
    several = make_contents(labels=np.array([[1, 1], [0, 1], [0, 0]] * 4, np.uint8))
    assert [class_names(several, row) for row in range(3)] == ["a, b", "b", "none"]


def test_the_numbers_can_be_compared(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    found = numbers(make_contents(channels=3), dataset | {"skipped": [{}]}, split)
    assert found["images"] == {"train": 8, "val": 2, "test": 2, "left_out": 0}
    assert found["mean"] == {"red": 0.25, "green": 0.25, "blue": 0.25}
    assert (found["imbalance"], found["skipped"], found["shorter_side"]["median"]) == (1.0, 1, 8.0)
    assert numbers(make_contents(), dataset, split)["mean"] == {"grey": 0.25}
    assert numbers(make_contents(labels=np.array([0] * 9 + [1] * 3)), dataset, split)["imbalance"] == 8.0
    json.dumps(found, allow_nan=False)


def test_a_million_images_are_counted_in_seconds(
    make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]
) -> None:
    rng, count = np.random.default_rng(0), 1_000_000
    contents = make_contents(
        classes=[str(label) for label in range(1000)],
        labels=rng.integers(0, 1000, count),
        splits=np.array(module.SPLITS)[rng.integers(0, 4, count)],
        sizes=rng.integers(1, 4000, (count, 2), np.int32),
        pairs=[(row, row + 1, row % 25 - 1) for row in range(0, 100_000, 2)],
    )
    started = time.monotonic()
    assert histogram_of_sizes(contents).counts.sum() == histogram_of_shapes(contents).counts.sum() == count
    assert len(notable_pairs(contents)) == 50_000
    numbers(contents, dataset, split)
    assert time.monotonic() - started < 5
