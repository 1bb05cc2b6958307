"""Augmentations do what they say, to each image on its own."""

from typing import Any

import albumentations
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from darkroom.base.instantiate import Builder
from darkroom.base.params import Target
from darkroom.input.albumentations import ArrayTransform, transform_array
from darkroom.input.augment import (
    AlternatingFlip,
    BatchAugmentation,
    ImageAugmentation,
    RandomColor,
    RandomCropResize,
    RandomFlip,
    RandomShift,
)
from darkroom.input.pixel_moves import mirror_by_choice, mirror_in_numpy, repeat_border, shift_by_index, shift_in_numpy


def make_images(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_shift_moves_by_whole_pixels_and_repeats_the_border() -> None:
    images = make_images(1)
    middle, least, most = (RandomShift(1)(images, torch.full((1, 2), value)) for value in (0.5, 0.0, 0.999))
    assert torch.equal(middle, images)
    assert torch.equal(least[:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(least[:, :, 0, 1:], images[:, :, 0, :-1])
    assert torch.equal(most[:, :, :-1, :-1], images[:, :, 1:, 1:])
    assert most.dtype == torch.uint8


@pytest.mark.parametrize("pixels", [0, 1, 9])
def test_a_border_is_numpy_s(pixels: int) -> None:
    images = make_images().permute(0, 2, 3, 1).numpy()
    around = (pixels, pixels)
    assert np.array_equal(repeat_border(images, pixels), np.pad(images, ((0, 0), around, around, (0, 0)), mode="edge"))


def test_flip_depends_on_each_image_s_number() -> None:
    images = make_images(2)
    flipped = RandomFlip(0.5)(images, torch.tensor([[0.4], [0.6]]))
    assert torch.equal(flipped[0], images[0].flip(-1))
    assert torch.equal(flipped[1], images[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_large_images_are_mirrored_alike(channels: int) -> None:
    images = torch.randint(0, 256, (8, 90, 110, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
    before, is_kept = images.clone(), torch.tensor([True, False, False, True] * 2)
    mirrored = mirror_in_numpy(images, is_kept)
    assert torch.equal(mirrored, mirror_by_choice(images, is_kept))
    assert mirrored.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(mirror_in_numpy(grey, is_kept), mirror_by_choice(grey, is_kept))


def test_what_is_made_has_its_channels_last() -> None:
    """As it comes from the pack and goes to the network: turning it around costs more than the augmentation."""
    photo = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8).permute(2, 0, 1)
    crop = RandomCropResize()
    assert crop(photo, np.random.default_rng(0).random(crop.num_random, np.float32), 24).permute(1, 2, 0).is_contiguous()
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for augmentation in (RandomFlip(), RandomShift(1), RandomColor()):
        made = augmentation(images, torch.rand(4, augmentation.num_random))
        assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_shown_in_colour_are_augmented_too(channels: int) -> None:
    images = make_images(3)[:, :1].expand(-1, channels, -1, -1)
    before = images.clone()
    flipped = RandomFlip(0.5)(images, torch.tensor([[0.4], [0.6], [0.4]]))
    assert torch.equal(flipped, torch.stack([before[0].flip(-1), before[1], before[2].flip(-1)]))
    assert torch.equal(RandomShift(1)(images, torch.full((3, 2), 0.5)), before)
    assert torch.equal(images, before)


def test_an_image_s_fate_does_not_depend_on_its_batch() -> None:
    images, numbers = make_images(4), torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    for augmentation in (RandomShift(2), RandomFlip(), RandomColor()):
        whole = augmentation(images, numbers)
        assert torch.equal(augmentation(images[2:3], numbers[2:3]), whole[2:3])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_makes_the_same_bits(channels: int) -> None:
    """Its ways, on the CPU: they pick and compare, and nothing is rounded."""
    images = make_images(50)[:, :channels].contiguous(memory_format=torch.channels_last)
    start = torch.randint(0, 5, (50, 2))
    is_kept = torch.rand(50) < 0.5
    for one, other in (
        (shift_in_numpy(images, start, 2), shift_by_index(images, start, 2)),
        (mirror_in_numpy(images, is_kept), mirror_by_choice(images, is_kept)),
    ):
        assert torch.equal(one, other)
        assert other.is_contiguous(memory_format=torch.channels_last)
        assert not torch.equal(one, images)


def test_alternating_flips_show_both_sides_in_two_epochs() -> None:
    flip = AlternatingFlip()
    generator_of = lambda epoch: np.random.default_rng((7, epoch))  # noqa: E731
    first, second, third = (flip.random_numbers(generator_of, epoch, 1000)[:, 0] < 0.5 for epoch in range(3))
    assert np.array_equal(first, ~second)
    assert np.array_equal(first, third)
    assert 400 < first.sum() < 600
    always = make_images(1000)
    numbers = torch.from_numpy(flip.random_numbers(generator_of, 0, 1000))
    assert torch.equal(flip(always, numbers), RandomFlip()(always, numbers))


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_torchvision(channels: int) -> None:
    """Where nothing is cut off, which it does after each of the three."""
    images = (64 + make_images(20)[:, :channels] // 2).float()
    numbers = torch.rand(20, 3, generator=torch.Generator().manual_seed(1))
    made = RandomColor(0.1, 0.2, 0.3)(images.to(torch.uint8), numbers)
    images = images.to(torch.uint8).float()
    for image, number, found in zip(images, numbers.tolist(), made, strict=True):
        factors = [1 + strength * (2 * value - 1) for strength, value in zip((0.1, 0.2, 0.3), number, strict=True)]
        expected = v2.functional.adjust_brightness(image / 255, factors[0])
        expected = v2.functional.adjust_contrast(expected, factors[1])
        expected = v2.functional.adjust_saturation(expected, factors[2])
        assert (found.float() - 255 * expected).abs().max() < 0.6  # torchvision's weights of the colours have four digits
    assert made.dtype == torch.uint8
    assert not torch.equal(made.float(), images)


def test_colours_end_at_black_and_white() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(2, 3, 1, 3)
    made = RandomColor(1, 0, 0)(images, torch.tensor([[0.999999, 0, 0], [0, 0, 0]]))
    assert made[:, 0, 0].tolist() == [[0, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize(("make", "value"), [(RandomShift, -1), (RandomFlip, 1.5), (RandomColor, 1.5)])
def test_arguments_are_checked(make: type, value: float) -> None:
    with pytest.raises(ValueError, match="must"):
        make(value)


class Noise:
    """A transform of one's own with a generator of its own, which draws on from image to image."""

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
    image = make_images()[0, :channels]
    numbers = np.random.default_rng(7).integers(0, 9, (6, 5, channels))
    expected = (image.permute(1, 2, 0).numpy() + numbers).astype(np.uint8)
    noise: Any = Noise()
    for _ in range(2):  # it depends on nothing that was drawn before
        assert np.array_equal(transform_array(noise, image, 7).permute(1, 2, 0).numpy(), expected)


def test_an_array_without_channels_is_grey() -> None:
    class Flat:
        def __call__(self, image: Any) -> dict[str, Any]:
            return {"image": image[::-1, :, 0]}

    flat: Any = Flat()
    assert torch.equal(transform_array(flat, make_images()[0, :1], 0), make_images()[0, :1].flip(1))


def test_transforms_in_a_compose_draw_numbers_of_their_own() -> None:
    flips = [{"_target_": f"albumentations.{name}Flip", "p": 0.5} for name in ("Horizontal", "Vertical")]
    builder = Builder("train.augment", (BatchAugmentation, ImageAugmentation, nn.Module, ArrayTransform), ["albumentations"])
    both = builder.build(Target.model_validate({"_target_": "albumentations.Compose", "transforms": flips}))
    image = make_images()[0]
    outcomes = [image, image.flip(-1), image.flip(-2), image.flip(-1, -2)]
    found = [transform_array(both, image, seed) for seed in range(200)]
    counts = [sum(torch.equal(one, outcome) for one in found) for outcome in outcomes]
    assert sum(counts) == 200
    assert min(counts) > 30


def test_a_crop_is_torchvision_s() -> None:
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crop = RandomCropResize(scale=(0.2, 0.5))
    for seed in range(20):
        random = np.random.default_rng(seed).random(crop.num_random, np.float32)
        top, left, height, width = crop.rectangle((40, 60), random.tolist())
        expected = v2.functional.resized_crop(image, top, left, height, width, [16, 16], antialias=True)
        assert torch.equal(crop(image, random, 16), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_of_a_batch_are_those_of_its_images(channels: int) -> None:
    crop, numbers = RandomCropResize(), np.random.default_rng(0)
    shapes = [(40, 60), (25, 9), (300, 200)]
    photos = [torch.from_numpy(numbers.integers(0, 256, (*shape, channels), np.uint8)).permute(2, 0, 1) for shape in shapes]
    random = numbers.random((3, crop.num_random), np.float32)
    batch = crop.batch(iter(photos), random, 20)
    assert torch.equal(batch, torch.stack([crop(*both, 20) for both in zip(photos, random, strict=True)]))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_crops_are_as_large_and_as_wide_as_torchvision_s() -> None:
    scale, ratio = (0.1, 0.6), (0.5, 2.0)
    crop, other = RandomCropResize(scale, ratio), transforms.RandomResizedCrop(8, scale, ratio)
    numbers = np.random.default_rng(0).random((4000, crop.num_random), np.float32)
    torch.manual_seed(0)
    whole = torch.zeros(3, 300, 400)
    found = np.array([crop.rectangle((300, 400), random.tolist()) for random in numbers]).T
    expected = np.array([other.get_params(whole, list(scale), list(ratio)) for _ in numbers]).T
    for of in (lambda each: each[2] * each[3], lambda each: each[3] / each[2], lambda each: each[0], lambda each: each[1]):
        steps = np.linspace(0.05, 0.95, 10)
        spread = np.ptp(of(expected))
        assert np.allclose(np.quantile(of(found), steps), np.quantile(of(expected), steps), atol=0.04 * spread)
    top, left, height, width = found
    assert min(top.min(), left.min()) == 0
    assert ((top + height).max(), (left + width).max()) == (300, 400)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_a_crop_of_what_hardly_is_an_image(shape: tuple[int, int]) -> None:
    image = torch.full((1, *shape), 7, dtype=torch.uint8)
    crop = RandomCropResize()
    for random in np.random.default_rng(0).random((50, crop.num_random), np.float32):
        assert torch.equal(crop(image, random, 5), torch.full((1, 5, 5), 7, dtype=torch.uint8))


def test_a_crop_needs_no_more_than_its_smallest_rectangle() -> None:
    assert RandomCropResize(scale=(0.25, 1)).needed_side(100) == 200


@pytest.mark.parametrize("arguments", [{"scale": (0, 1)}, {"scale": (0.5, 0.2)}, {"scale": (0.5, 1.5)}, {"ratio": (-1, 2)}])
def test_crops_that_cannot_be(arguments: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"scale|ratio"):
        RandomCropResize(**arguments)
