"""Batch augmentations do what they say, to each picture on its own."""

import pytest
import torch

from darkroom.training.augment import RandomFlip, RandomShift


def pictures(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_shift_moves_by_whole_pixels_and_repeats_the_border() -> None:
    images = pictures(1)
    middle, least, most = (RandomShift(1)(images, torch.full((1, 2), value)) for value in (0.5, 0.0, 0.999))
    assert torch.equal(middle, images)
    assert torch.equal(least[:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(least[:, :, 0, 1:], images[:, :, 0, :-1])
    assert torch.equal(most[:, :, :-1, :-1], images[:, :, 1:, 1:])
    assert most.dtype == torch.uint8


def test_flip_depends_on_each_picture_s_number() -> None:
    images = pictures(2)
    flipped = RandomFlip(0.5)(images, torch.tensor([[0.4], [0.6]]))
    assert torch.equal(flipped[0], images[0].flip(-1))
    assert torch.equal(flipped[1], images[1])


def test_a_picture_s_fate_does_not_depend_on_its_batch() -> None:
    images, numbers = pictures(4), torch.rand(4, 2, generator=torch.Generator().manual_seed(1))
    whole = RandomShift(2)(images, numbers)
    assert torch.equal(RandomShift(2)(images[2:3], numbers[2:3]), whole[2:3])


@pytest.mark.parametrize(("make", "value"), [(RandomShift, -1), (RandomFlip, 1.5)])
def test_arguments_are_checked(make: type, value: float) -> None:
    with pytest.raises(ValueError, match="must"):
        make(value)
