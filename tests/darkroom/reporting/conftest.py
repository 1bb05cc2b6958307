"""Fixtures: made-up contents of a data set."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from darkroom.reporting.contents import Contents

SPLIT = {
    "files": {"manifest.csv": "f" * 64, "duplicates.csv": "e" * 64},
    "images": {"train": 8, "val": 2, "test": 2, "left_out": 0},
    "duplicates": {"equal": 0, "near": 0, "across_splits": 0, "conflicts": 0},
    "seed": 3,
    "params": {"val_fraction": 0.1, "folds": None, "group_pattern": "^(`|<b>)_"},
}
DATASET = {
    "source": "test",
    "name": "A set",
    "licence": "CC BY 4.0",
    "citation": None,
    "height": None,
    "width": None,
    "converted": {},
    "skipped": [],
    "ignored": [],
    "files": {"images.npy": "0" * 64},
}


@pytest.fixture
def make_contents() -> Callable[..., Contents]:
    """Return 12 images of two classes, 8 to train, and 2 each to validate and test, with some of it changed."""

    def make(
        *, classes: Sequence[str] = ("a", "b"), channels: int = 1, pairs: Sequence[tuple[int, int, int]] = (), **changes: Any
    ) -> Contents:
        count = len(changes.get("labels", range(12)))
        given: dict[str, Any] = {
            "classes": list(classes),
            "labels": np.arange(count) % len(classes),
            "splits": np.array(["train"] * (count - 4) + ["val"] * 2 + ["test"] * 2),
            "sizes": np.full((count, 2), 8, np.int32),
            "ids": [f"image {row}" for row in range(count)],
            "pairs": np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2),
            "distances": np.array([pair[2] for pair in pairs], np.int64),
            "mean": np.full(channels, 0.25),
            "std": np.full(channels, 0.125),
            "num_measured": 8,
            "read_image": lambda row: np.full((8, 8, channels), row % 256, np.uint8),
        }
        return Contents(**given | changes)

    return make


@pytest.fixture
def split() -> dict[str, Any]:
    """The content of split.json."""
    return dict(SPLIT)


@pytest.fixture
def dataset() -> dict[str, Any]:
    """The content of dataset.json."""
    return dict(DATASET)
