"""Preprocessing is the same for every image at every time, and what does not suit the images is refused by name before training."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
import torch
from conftest import Data
from torchvision.transforms import v2

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.bands import Bands, to_npy
from darkroom.data.images import ImageError, encode
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.resizing import fit
from darkroom.inference.photos import PhotoReader
from darkroom.input.augment import RandomColor, RandomCropResize, RandomFlip, RandomShift
from darkroom.input.dataset import ImageDataset
from darkroom.input.in_memory import make_repeating_loader
from darkroom.input.preprocess import ImageReader, build_preprocess, published_preprocess
from darkroom.input.samplers import SequentialBatchSampler
from darkroom.input.training_images import build_training_images
from darkroom.input.transform_checks import check_suitable
from darkroom.models.preprocessing import Preprocessing
from darkroom.sources.pack_writer import write_pack
from darkroom.transfer.trainable import build_model

CLAHE = {"_target_": "albumentations.CLAHE", "p": 1.0, "clip_limit": [4.0, 4.0]}
INVERT = {"_target_": "RandomInvert", "p": 1.0}
Make = Callable[..., Params]


def with_steps(make_params: Make, *steps: Any, **more: Any) -> Params:
    return make_params({"base.allow_targets": ["albumentations"], "train.preprocess": list(steps), **more})


def steps_of(make_params: Make, *steps: Any, channels: int = 3, dtype: str = "uint8") -> Any:
    return build_preprocess(with_steps(make_params, *steps), channels=channels, dtype=dtype)


def test_it_comes_before_augmentation_and_without_it(photos: Data, make_params: Make) -> None:
    """Images of training, validation and prediction go through it once, as they are stored."""
    preprocess = steps_of(make_params, CLAHE)
    rows = np.array([3, 8])
    plain = ImageDataset(photos.pack, image_size=32, channels=3, preprocess=preprocess)
    found = plain[0, rows]["images"]
    library = albumentations.CLAHE(p=1.0, clip_limit=(4.0, 4.0))
    for image, row in zip(found, rows, strict=True):
        wanted = fit(library(image=photos.pack[int(row)])["image"], 32, 3)
        assert np.array_equal(image.permute(1, 2, 0), wanted)
    assert not torch.equal(found, ImageDataset(photos.pack, image_size=32, channels=3)[0, rows]["images"])
    flipped = plain.augmented([RandomFlip(1.0)], 0)
    assert torch.equal(flipped[0, rows]["images"].flip(-1), found)
    assert torch.equal(flipped.plain()[0, rows]["images"], found)
    cropped, reader = plain.augmented([RandomCropResize()], 0), ImageReader(photos.pack, preprocess)
    crop = RandomCropResize()
    numbers = cropped.random_numbers(0, 0)[rows]
    whole = torch.from_numpy(reader(3)).permute(2, 0, 1)
    assert torch.equal(cropped[0, rows]["images"][0], crop(whole, numbers[0], 32))


def test_a_photo_is_preprocessed_as_the_pack_is(photos: Data, make_params: Make) -> None:
    preprocess = steps_of(make_params, CLAHE)
    (image,) = ImageDataset(photos.pack, image_size=(20, 30), channels=3, way="letterbox", preprocess=preprocess)[
        0, np.array([5])
    ]["images"]
    reader = PhotoReader((20, 30), 3, way="letterbox", preprocess=preprocess)
    assert np.array_equal(reader(encode(photos.pack[5]), 10**6), image.permute(1, 2, 0))


def test_every_way_of_reading_gives_the_same(digits: Data, make_params: Make) -> None:
    """From memory, in threads and in processes; they need not start with the same object."""
    preprocess = steps_of(make_params, INVERT, channels=1)
    images = ImageDataset(digits.pack, image_size=8, channels=1, preprocess=preprocess)
    rows = np.arange(40)
    wanted = 255 - ImageDataset(digits.pack, image_size=8, channels=1)[0, rows]["images"]
    assert not images.is_sliced
    assert not images.threads_can_share
    assert torch.equal(images[0, rows]["images"], wanted)
    assert torch.equal(pickle.loads(pickle.dumps(images))[0, rows]["images"], wanted)
    assert torch.equal(images.with_cache(10**6)[0, rows]["images"], wanted)
    for cached in (True, False):
        hardware = make_params({"hardware.cache_images": cached, "hardware.num_workers": 0}).hardware
        loader = make_repeating_loader(images, SequentialBatchSampler(rows, batch_size=16), hardware, device=torch.device("cpu"))
        assert torch.equal(torch.cat([batch["images"] for batch in loader]), wanted)


def test_normalisation_and_the_recorded_steps_are_those_of_preprocessed_images(digits: Data, make_params: Make) -> None:
    params = with_steps(make_params, INVERT)
    rows = digits.split.rows["train"]
    preprocess = build_preprocess(params, channels=1, dtype="uint8")
    seen = build_model(params, digits.pack, rows, read=ImageReader(digits.pack, preprocess)).preprocessing
    plain = build_model(make_params({"train.preprocess": []}), digits.pack, rows).preprocessing
    assert seen.mean[0] == pytest.approx(1 - plain.mean[0])
    assert seen.std[0] == pytest.approx(plain.std[0])
    assert [step.target for step in seen.steps] == ["RandomInvert"]
    again = Preprocessing.model_validate_json(seen.model_dump_json(by_alias=True))
    assert again == seen


def test_a_model_takes_its_steps_from_params_yaml_alone(make_params: Make) -> None:
    """Opening somebody's model must run no code that it names."""
    params = with_steps(make_params, INVERT)
    seen = Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.5,), steps=params.train.preprocess)
    made = published_preprocess(params, seen, "models/model.json")
    assert made is not None
    assert made(np.full((2, 2, 1), 5, np.uint8)).tolist() == np.full((2, 2, 1), 250).tolist()
    with pytest.raises(
        InputError, match=r"models/model\.json: was trained with train\.preprocess \[\{_target_: RandomInvert.*has \[\]; set it"
    ):
        published_preprocess(make_params({"train.preprocess": []}), seen, "models/model.json")
    # One without steps is the same network whatever the next training will do.
    none = Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.5,))
    assert published_preprocess(with_steps(make_params, INVERT), none, "models/model.json") is None


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            "RandomHorizontalFlip",
            r"RandomHorizontalFlip: is applied to some images only \(p: 0\.5\); set p: 1, or move it to train\.augment",
        ),
        ({"_target_": "albumentations.CLAHE"}, r"CLAHE: is applied to some images only \(p: 0\.5\)"),
        (
            {"_target_": "albumentations.RandomBrightnessContrast", "p": 1.0},
            "RandomBrightnessContrast: is random; move it to train.augment",
        ),
        ({"_target_": "RandomCrop", "size": 8}, "RandomCrop: is random"),
        ({"_target_": "ColorJitter", "brightness": 0.5}, "ColorJitter: is random"),
        ({"_target_": "darkroom.input.augment.RandomShift", "pixels": 1}, "RandomShift: is random"),
        (
            {
                "_target_": "albumentations.Compose",
                "transforms": [{"_target_": "albumentations.CLAHE", "p": 1.0}, {"_target_": "albumentations.HorizontalFlip"}],
            },
            r"HorizontalFlip: is applied to some images only",
        ),
        (
            {
                "_target_": "albumentations.OneOf",
                "transforms": [
                    {"_target_": "albumentations.InvertImg", "p": 1.0},
                    {"_target_": "albumentations.Blur", "p": 1.0},
                ],
                "p": 1.0,
            },
            "is random|p: 0",
        ),
        ({"_target_": "albumentations.Normalize"}, "Normalize: is what the network does itself, for every image; delete it"),
        ({"_target_": "Normalize", "mean": [0.5], "std": [0.5]}, "Normalize: is what the network does itself"),
        ({"_target_": "ToDtype", "dtype": "float32"}, "ToDtype"),
        ("CLAH", r"train\.preprocess\._target_: there is no CLAH in torchvision\.transforms\.v2"),
    ],
)
def test_what_is_random_or_normalises_is_refused_by_name(make_params: Make, step: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        steps_of(make_params, step)
    assert str(caught.value).startswith("params.yaml: train.preprocess")


def test_a_tensor_at_the_end_is_what_is_needed_anyway(make_params: Make) -> None:
    """ToTensorV2 of a copied pipeline means what happens here."""
    chain = {"_target_": "albumentations.Compose", "transforms": [CLAHE, {"_target_": "albumentations.pytorch.ToTensorV2"}]}
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(steps_of(make_params, chain)(image), steps_of(make_params, CLAHE)(image))


def test_grey_and_rgb_files_are_preprocessed_in_the_network_s_channels(make_params: Make) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8)
    assert steps_of(make_params, CLAHE)(grey).shape == (20, 30, 3)
    assert steps_of(make_params, CLAHE, channels=1)(np.repeat(grey, 3, axis=2)).shape == (20, 30, 1)


# Bands


def four_bands(folder: Path, dtype: str, make_params: Make) -> Pack:
    numbers = np.random.default_rng(0)
    images = [numbers.integers(0, 200, (20, 24, 4)).astype(dtype) * (300 if dtype == "uint16" else 1) for _ in range(12)]
    items = [
        Item(f"{row:02d}", "train", lambda row=row, image=image: (to_npy(image), row % 2)) for row, image in enumerate(images)
    ]
    folder.mkdir()
    write_pack(
        Listing("bands", items, lambda _: ["a", "b"], {"source": "test"}), folder, make_params({"download.channels": 4}).download
    )
    return Pack.open(folder)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_augmentations_move_bands_and_keep_their_values(tmp_path: Path, make_params: Make, dtype: str) -> None:
    pack = four_bands(tmp_path / "raw", dtype, make_params)
    rows = np.array([2, 5])
    plain = ImageDataset(pack, image_size=(20, 24), channels=4)
    images = plain[0, rows]["images"]
    assert images.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    scale = 65535 if dtype == "uint16" else 1
    assert np.allclose(images[0].permute(1, 2, 0) * scale, pack[2].astype(float), rtol=1e-6)
    flipped = plain.augmented([RandomFlip(1.0)], 0)[0, rows]["images"]
    assert torch.equal(flipped.flip(-1), images)
    others = [RandomShift(2), RandomCropResize(), v2.RandomVerticalFlip(1.0), albumentations.HorizontalFlip(p=1.0)]
    check_suitable(others, "train.augment", channels=4, dtype=dtype)
    augmented = plain.augmented(others, 0)
    made = augmented[0, rows]["images"]
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert torch.equal(made[0], augmented[0, rows[:1]]["images"][0])


@pytest.mark.parametrize(
    "transform",
    [
        RandomColor(),
        v2.ColorJitter(0.1),
        v2.RandAugment(),
        v2.TrivialAugmentWide(),
        v2.RandomApply([v2.ColorJitter(0.1)], p=0.01),
        v2.RandomGrayscale(0.01),
        v2.JPEG(50),
        albumentations.HueSaturationValue(p=0.01),
        albumentations.CLAHE(p=0.01),
        albumentations.Compose([albumentations.HorizontalFlip(), albumentations.ToGray(p=0.01)]),
    ],
    ids=lambda transform: type(transform).__name__,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_knows_colours_only_is_refused_by_name_however_rare(transform: Any, dtype: str) -> None:
    with pytest.raises(InputError, match=rf"^params.yaml: train\.augment: \w+: .*4 bands of {dtype}.*; remove it$"):
        check_suitable([transform], "train.augment", channels=4, dtype=dtype)
    check_suitable([transform], "train.augment", channels=3, dtype="uint8")


def test_what_clips_numbers_to_one_is_refused() -> None:
    clipping = v2.GaussianNoise(clip=True)
    with pytest.raises(
        InputError, match=r"GaussianNoise: does not take images of 4 bands of float32 \(it clips values to 0\.\.1\)"
    ):
        check_suitable([clipping], "train.augment", channels=4, dtype="float32")
    check_suitable([clipping], "train.augment", channels=4, dtype="uint16")


def test_a_training_is_refused_before_it_starts(tmp_path: Path, make_params: Make) -> None:
    pack = four_bands(tmp_path / "raw", "uint16", make_params)
    params = make_params({"train.augment": ["RandAugment"]})
    seen = build_model(params, pack, np.arange(12)).preprocessing
    assert (seen.channels, seen.dtype, seen.bands and seen.bands.channels) == (4, "uint16", 4)
    with pytest.raises(
        InputError, match=r"train\.augment: RandAugment: is for 8-bit grey and RGB, but the images have 4 bands of uint16"
    ):
        build_training_images(params, pack, seen, None)


def test_files_of_other_bands_are_not_predicted() -> None:
    reader = PhotoReader(8, 2, dtype="uint16", bands=Bands(channels=4, chosen=[0, 3]))
    image = np.random.default_rng(0).integers(0, 65536, (8, 8, 4)).astype(np.uint16)
    assert np.allclose(reader(to_npy(image), 100) * 65535, image[..., [0, 3]], rtol=1e-6)
    for other, message in (
        (image[..., :3], "has 3 band"),
        (image.astype(np.uint8), "has uint8 values, but the model was trained on uint16"),
    ):
        with pytest.raises(ImageError, match=message):
            reader(to_npy(other), 100)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (v2.RandomErasing(p=0.1, value="random"), "RandomErasing: draws numbers around 0"),
        (v2.RandomApply([v2.RandomErasing(value="random")], p=0.01), "RandomErasing: draws numbers around 0"),
        (v2.RandomErasing(value=0.5), "RandomErasing: value: 0.5 is no value of these images"),
        (v2.Pad(3, fill=0.5), "Pad: fill: 0.5 is no value of these images"),
        (v2.RandomErasing(value=-3.0), "RandomErasing: value: -3 is no value of these images"),
        (v2.ToDtype(torch.float32, scale=True), "ToDtype returns a torch.float32"),
    ],
)
def test_what_is_for_floating_point_images_is_refused(transform: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"^params.yaml: train.augment: {reason}"):
        check_suitable([transform], "train.augment", channels=3, dtype="uint8")


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomErasing(value=7),
        v2.RandomErasing(value=[1, 2, 3]),
        v2.Pad(3, fill=255),
        v2.GaussianNoise(),
        v2.RandomCrop(200),
        v2.RandAugment(),
        v2.RandomInvert(),
        v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.RandomErasing(value="random"), v2.ToDtype(torch.uint8, scale=True)]
        ),
    ],
)
def test_what_is_for_bytes_is_taken_and_draws_nothing(transform: Any) -> None:
    state = torch.get_rng_state()
    check_suitable([transform], "train.augment", channels=3, dtype="uint8")
    assert torch.equal(torch.get_rng_state(), state)
