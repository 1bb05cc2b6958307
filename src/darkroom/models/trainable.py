"""The network that a training starts with: built, normalised, with its first weights, adapters and frozen layers.

N images, C channels, H by W pixels, K classes.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.base.params import ImageSize, Network, Params, TrainParams
from darkroom.data.bands import network_values
from darkroom.data.channel_stats import Read, measure_channels
from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import Way, fit, height_and_width
from darkroom.models import networks
from darkroom.models.init_from import InitialWeights, load_initial_weights
from darkroom.models.layers import Frozen
from darkroom.models.licence import check_licence
from darkroom.models.lora import Merged, add_adapters
from darkroom.models.network_check import check_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.pretrained import Pretrained, describe_weights
from darkroom.models.probe_network import make_probe
from darkroom.models.saving import refuse_unsafe_loading
from darkroom.models.size import Size, measure

# A network with `fit_to` is given 2000 images of 32 by 32 pixels, or fewer larger ones: enough patches, in little memory.
FITTED_TO_PIXELS = 2000 * 32 * 32
# The size that most networks were designed for, for images of several sizes.
USUAL_SIZE = 224


@dataclass(frozen=True)
class TrainableModel:
    """A network that is ready to be trained.

    Attributes
    ----------
    network : Normalized
        From images (N, C, H, W) uint8 to logits (N, K), with its adapters if there are any.
    preprocessing : Preprocessing
        Size, channels and normalisation of the images.
    num_classes : int
        K.
    weights : Pretrained or None
        What it starts with; None: it is trained from scratch.
    loaded : str or None
        What was loaded of `train.init_from`, on one line.
    frozen : Frozen
        The part that is not trained.
    merged : Merged or None
        The network without adapters that is validated and published.
    size : Size
        Parameters and multiply-adds.
    """

    network: Normalized
    preprocessing: Preprocessing
    num_classes: int
    weights: Pretrained | None
    loaded: str | None
    frozen: Frozen
    merged: Merged | None
    size: Size


def build_model(
    params: Params, pack: Pack, rows: Rows, initial: InitialWeights | None = None, *, read: Read | None = None
) -> TrainableModel:
    """Build the network of `train.model` for the images of a pack.

    Parameters
    ----------
    params
        All of params.yaml.
    pack
        The images.
    rows : (M,)
        The training images.
    initial
        The model that `train.init_from` names.
    read
        Returns the image (H, W, C) of a row before it is fitted to the network's size; by default as it is stored.

    Raises
    ------
    InputError
        If there is no such network, or it does not fit the images.
    """
    train, num_classes = params.train, len(pack.classes)
    refuse_unsafe_loading()
    read = read or (lambda row, side=None: network_values(pack.read(row, side)))
    weights = initial.expects if initial else describe_weights(train.model)
    if weights:
        check_licence(weights.origin, allow_noncommercial=train.allow_noncommercial)
    channels = networks.network_channels(train.model, pack.channels)
    inner = networks.build_network(train.model, num_classes=num_classes, channels=channels, allow=params.base.allow_targets)
    preprocessing = _choose_preprocessing(train, pack, rows, channels, weights, read)
    network = Normalized(inner, preprocessing)
    images_of = partial(_images, read, channels=channels, way=train.resize)
    # Another number of images than of classes, so that transposed logits are noticed.
    few = rows[: 3 if num_classes == 2 else 2]
    for image_size in (preprocessing.image_size, *(train.image_sizes or {}).values()):
        check_network(network, images_of(few, size=image_size), num_classes)
    images = images_of(few, size=preprocessing.image_size)
    fit_to: Any = getattr(inner, "fit_to", None)
    if fit_to is not None:
        seen = images_of(_spread(rows, preprocessing), size=preprocessing.image_size)
        fit_to((seen - network.mean) / network.std)
    loaded = _load(initial, network, params, images, pack.classes) if initial else None
    network = network.to(memory_format=torch.channels_last)
    merged, base = add_adapters(network, train.lora, images) if train.lora else (None, [])
    frozen = Frozen(inner, train.freeze, base)
    frozen.set(frozen=True)
    size = measure(merged.network if merged else network, images[:1], trained=network)
    trained = make_probe(inner, preprocessing, images) if train.cache_features else network
    return TrainableModel(trained, preprocessing, num_classes, weights, loaded, frozen, merged, size)


def _choose_preprocessing(
    train: TrainParams, pack: Pack, rows: Rows, channels: int, weights: Pretrained | None, read: Read
) -> Preprocessing:
    """Take size and normalisation from params.yaml, else from the weights, else from the training images."""
    image_size = train.image_size or (weights.image_size if weights else _natural_size(pack))
    known = weights.normalisation(channels, pack.dtype) if weights else None
    mean, std = known or _normalisation(pack, rows, channels, read)
    return Preprocessing(
        image_size=image_size,
        channels=channels,
        mean=mean,
        std=std,
        resize=pack.resize,
        way=train.resize,
        dtype=pack.dtype,
        bands=pack.bands,
        steps=train.preprocess,
    )


def _natural_size(pack: Pack) -> ImageSize:
    """Return the side of the images if all are equal squares."""
    side = int(pack.sizes[0, 0])
    return side if (pack.sizes == side).all() else USUAL_SIZE


def _normalisation(pack: Pack, rows: Rows, channels: int, read: Read) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each of the network's channels, measured on training images."""
    mean, std, _ = measure_channels(pack, rows, read)
    # Images of equal pixels have no deviation; dividing by 1 leaves them as they are.
    std[std < 1e-6] = 1
    repeat = channels // len(mean)
    return tuple(mean.tolist() * repeat), tuple(std.tolist() * repeat)


def _images(read: Read, rows: Rows, *, size: ImageSize, channels: int, way: Way) -> Tensor:
    """Return images of the pack without augmentation, (N, C, H, W)."""
    side = max(height_and_width(size))
    images = np.stack([fit(read(int(row), side), size, channels, way) for row in rows])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _spread(rows: Rows, preprocessing: Preprocessing) -> Rows:
    """Return rows at equal distances, as many as `fit_to` is given."""
    num = min(len(rows), max(1, FITTED_TO_PIXELS // math.prod(preprocessing.shape)))
    spread: Rows = rows[np.linspace(0, len(rows) - 1, num=num).astype(int)]
    return spread


def _load(initial: InitialWeights, network: Normalized, params: Params, images: Tensor, classes: list[str]) -> str:
    model = params.train.model

    def build_other() -> nn.Module:
        """Build the network for one class more; lazy layers get their shapes from the images (N, C, H, W) uint8."""
        with torch.random.fork_rng(devices=[]):
            built = networks.build_network(
                networks.without_weights(model) if isinstance(model, Network) else model.with_given(num_classes=len(classes) + 1),
                num_classes=len(classes) + 1,
                channels=images.shape[1],
                allow=params.base.allow_targets,
            )
            with torch.no_grad():
                built.eval()(images.float())
        return nn.ModuleDict({"network": built})

    return load_initial_weights(initial, network, build_other, classes)
