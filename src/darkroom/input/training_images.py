"""The images that a network is trained on, with the augmentations of train.augment."""

from torch import nn

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Params
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack
from darkroom.input.albumentations import ArrayTransform
from darkroom.input.augment import BatchAugmentation, ImageAugmentation
from darkroom.input.dataset import ImageDataset
from darkroom.input.preprocess import Preprocess
from darkroom.input.transform_checks import check_suitable
from darkroom.models.preprocessing import Preprocessing

KINDS = (BatchAugmentation, ImageAugmentation, nn.Module, ArrayTransform)


def build_training_images(params: Params, pack: Pack, seen: Preprocessing, preprocess: Preprocess | None) -> ImageDataset:
    """Return the images of a pack as the network sees them in training; `preprocess` are the steps of its preprocessing.

    Raises
    ------
    InputError
        If a transform cannot be built, or `train.sampler` does not suit the labels.
    """
    train = params.train
    if train.sampler == "balanced" and is_multilabel(pack.labels):
        raise InputError(
            "params.yaml: train.sampler: balanced needs one class per image, but these have any number; set shuffled"
        )
    builder = Builder("train.augment", KINDS, params.base.allow_targets)
    transforms = [builder.build(target) for target in train.augment]
    check_suitable(transforms, "train.augment", channels=seen.channels, dtype=seen.dtype)
    return ImageDataset.for_network(pack, seen, preprocess).augmented(transforms, params.base.seed)
