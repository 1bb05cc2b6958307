"""Augmentations do what they say, to each picture on its own."""

from typing import Any

import albumentations
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from darkroom.build import Builder
from darkroom.params import Target
from darkroom.training.augment import ArrayTransform, BatchAugmentation, RandomFlip, RandomShift, transform_array


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


class Noise:
    """A transform of one's own with a generator of its own, which draws on from picture to picture."""

    def __init__(self) -> None:
        self.numbers = np.random.default_rng()

    def set_random_seed(self, seed: int) -> None:
        self.numbers = np.random.default_rng(seed)

    def __call__(self, image: Any) -> dict[str, Any]:
        assert image.dtype == np.uint8
        return {"image": (image + self.numbers.integers(0, 9, image.shape)).astype(np.uint8)}


class AnyName:
    def __call__(self, **data: Any) -> Any:
        return data


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((kind, True) for kind in (Noise, AnyName, albumentations.HorizontalFlip, albumentations.Compose, albumentations.OneOf)),
        *(
            (kind, False)
            for kind in (RandomShift, nn.Linear, v2.RandomErasing, transforms.ToTensor, dict, type(lambda image: image))
        ),
    ],
)
def test_transforms_of_arrays_are_known_by_their_call(kind: type, expected: bool) -> None:
    assert issubclass(kind, ArrayTransform) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_transform_sees_and_returns_what_it_should(channels: int) -> None:
    picture = pictures()[0, :channels]
    numbers = np.random.default_rng(7).integers(0, 9, (6, 5, channels))
    expected = (picture.permute(1, 2, 0).numpy() + numbers).astype(np.uint8)
    noise: Any = Noise()
    for _ in range(2):  # it depends on nothing that was drawn before
        assert np.array_equal(transform_array(noise, picture, 7).permute(1, 2, 0).numpy(), expected)


def test_an_array_without_channels_is_grey() -> None:
    class Flat:
        def __call__(self, image: Any) -> dict[str, Any]:
            return {"image": image[::-1, :, 0]}

    flat: Any = Flat()
    assert torch.equal(transform_array(flat, pictures()[0, :1], 0), pictures()[0, :1].flip(1))


def test_transforms_in_a_compose_draw_numbers_of_their_own() -> None:
    flips = [{"_target_": f"albumentations.{name}Flip", "p": 0.5} for name in ("Horizontal", "Vertical")]
    builder = Builder("train.augment", (BatchAugmentation, nn.Module, ArrayTransform), ["albumentations"])
    both = builder.build(Target.model_validate({"_target_": "albumentations.Compose", "transforms": flips}))
    picture = pictures()[0]
    outcomes = [picture, picture.flip(-1), picture.flip(-2), picture.flip(-1, -2)]
    found = [transform_array(both, picture, seed) for seed in range(200)]
    counts = [sum(torch.equal(one, outcome) for one in found) for outcome in outcomes]
    assert sum(counts) == 200
    assert min(counts) > 30
