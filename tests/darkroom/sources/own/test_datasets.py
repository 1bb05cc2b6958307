"""Images and labels as Python has them, brought to bytes without changing a value."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.sources.own.datasets import examples_of, pixels

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.stack([GREY, GREY.T, 255 - GREY], axis=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY, GREY),
        (RGB, RGB),
        (torch.from_numpy(GREY), GREY),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),  # as ToTensor returns it
        (RGB / 255, RGB),
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(RGB), RGB),
        (GREY.tolist(), None),
    ],
    ids=["grey", "rgb", "grey tensor", "rgb tensor", "ToTensor", "floats", "grey Pillow", "rgb Pillow", "lists"],
)
def test_every_value_of_bytes_survives(given: Any, expected: Any) -> None:
    if expected is None:
        with pytest.raises(InputError, match="int64"):
            pixels(given)
    else:
        assert np.array_equal(pixels(given), expected)
        assert pixels(given).dtype == np.uint8


@pytest.mark.parametrize(
    "given", [GREY / 255 * 2 - 1, GREY / 255 + 0.001, GREY.astype(np.float32)], ids=["normalised", "odd", "0 to 255"]
)
def test_floats_that_bytes_cannot_hold_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"multiples of 1/255 from 0 to 1; give uint8"):
        pixels(given)


def test_labels_are_numbers_names_or_lists() -> None:
    def named(labels: list[Any], classes: list[str] | None = None) -> list[Any]:
        return [example.label for example in examples_of("train", ([GREY] * len(labels), labels), classes)]

    assert named([0, np.int64(2), torch.tensor(1)]) == ["0", "2", "1"]
    assert named([0, 1], ["cat", "dog"]) == ["cat", "dog"]
    assert named(["cat", "dog"]) == ["cat", "dog"]
    assert named([["cat", "dog"], []]) == [["cat", "dog"], []]
    for wrong in (2, -1):
        with pytest.raises(InputError, match=rf"train: the label {wrong} is none of the 2 classes"):
            named([wrong], ["cat", "dog"])
    with pytest.raises(InputError, match="None is no label"):
        named([None])
    with pytest.raises(InputError, match="2 images and 1 labels"):
        list(examples_of("train", ([GREY, GREY], [0]), None))


def test_a_data_set_is_read_by_number() -> None:
    """Images are read when they are packed, one at a time."""
    read = []

    class Numbers:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Any, int]:
            read.append(index)
            return Image.fromarray(GREY + index), index % 2

    examples = list(examples_of("val", Numbers(), None))
    assert [(each.id, each.label, each.split) for each in examples] == [
        ("val/00000000", "0", "val"),
        ("val/00000001", "1", "val"),
        ("val/00000002", "0", "val"),
    ]
    before = len(read)
    assert callable(examples[2].data)
    assert np.array_equal(examples[2].data(), GREY + 2)
    assert len(read) == before + 1
