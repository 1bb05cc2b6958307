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

from darkroom.base.errors import InputError, warn
from darkroom.base.params import ImageSize, Network, Params, TrainParams
from darkroom.data.bands import network_values
from darkroom.data.channel_stats import Read, measure_channels
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import Way, fit, height_and_width
from darkroom.models import networks
from darkroom.models.layers import Frozen, zero_rate
from darkroom.models.licence import WeightsOrigin, check_licence
from darkroom.models.preprocessing import Normalized, Preprocessing, use_memory_format
from darkroom.models.probe_network import make_probe
from darkroom.models.saving import refuse_unsafe_loading
from darkroom.models.size import Size, measure
from darkroom.transfer.init_from import InitialWeights, load_initial_weights
from darkroom.transfer.lora import Merged, add_adapters
from darkroom.transfer.network_check import check_network
from darkroom.transfer.pretrained import Pretrained, describe_weights, with_hashes
from darkroom.transfer.weights_file import FileWeights, load_file_weights, open_model_weights

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
    positive : int or None
        Label of the positive class of a binary task, for which the network has one output, (N, 1).
    origin : WeightsOrigin or None
        Of the weights that it starts with; None: it is trained from scratch.
    loaded : str or None
        What was loaded of them, on one line; None: it is trained from scratch.
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
    positive: int | None
    origin: WeightsOrigin | None
    loaded: str | None
    frozen: Frozen
    merged: Merged | None
    size: Size


def build_model(
    params: Params, pack: Pack, rows: Rows, initial: InitialWeights | FileWeights | None = None, *, read: Read | None = None
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
        What `train.init_from` or `train.resume_from` names; `train.model.weights` is opened here.
    read
        Returns the image (H, W, C) of a row before it is fitted to the network's size; by default as it is stored.

    Raises
    ------
    InputError
        If there is no such network, or it does not fit the images or the weights.
    """
    train, num_classes = params.train, len(pack.classes)
    positive = choose_task(train, pack)
    outputs = pack.classes if positive is None else [pack.classes[positive]]
    refuse_unsafe_loading()
    initial = initial or open_model_weights(train.model)
    read = read or (lambda row, side=None: network_values(pack.read(row, side)))
    weights = initial.expects if initial else describe_weights(train.model)
    origin = initial.origin if isinstance(initial, FileWeights) else weights.origin if weights else None
    if origin:
        check_licence(origin, allow_noncommercial=train.allow_noncommercial)
    channels = networks.network_channels(train.model, pack.channels)
    inner = networks.build_network(train.model, num_classes=len(outputs), channels=channels, allow=params.base.allow_targets)
    preprocessing = _choose_preprocessing(train, pack, rows, channels, weights, read)
    network = Normalized(inner, preprocessing)
    images_of = partial(_images, read, channels=channels, way=train.resize)
    # Another number of images than of classes, so that transposed logits are noticed.
    few = rows[: 3 if len(outputs) == 2 else 2]
    for image_size in (preprocessing.image_size, *(train.image_sizes or {}).values()):
        check_network(network, images_of(few, size=image_size), len(outputs))
    images = images_of(few, size=preprocessing.image_size)
    fit_to: Any = getattr(inner, "fit_to", None)
    if fit_to is not None:
        seen = images_of(_spread(rows, preprocessing), size=preprocessing.image_size)
        fit_to((seen - network.mean) / network.std)
    loaded = _load(initial, network, params, images, outputs) if initial else None
    use_memory_format(network, train.memory_format)
    merged, base = add_adapters(network, train.lora, images) if train.lora else (None, [])
    frozen = Frozen(inner, train.freeze, zero_rate(inner, train.lr_factors), base)
    _warn_of_random(train, origin)
    frozen.set(frozen=True)
    size = measure(merged.network if merged else network, images[:1], trained=network)
    takes_features = train.cache_features or train.fit_head is not None
    trained = make_probe(inner, preprocessing, images, train) if takes_features else network
    if origin and not initial:
        origin, loaded = with_hashes(origin, train.model), f"starts with {origin}"
    return TrainableModel(trained, preprocessing, num_classes, positive, origin, loaded, frozen, merged, size)


def _warn_of_random(train: TrainParams, origin: WeightsOrigin | None) -> None:
    if train.freeze and origin is None and isinstance(train.model, Network):
        warn(
            "params.yaml: train.freeze: freezes layers with random weights; set train.model.pretrained to true, "
            "or set train.init_from"
        )


def choose_task(train: TrainParams, pack: Pack) -> int | None:
    """Return the label of the positive class if `train.task` is binary, else None.

    Raises
    ------
    InputError
        If the labels are not those of the task, or there is no such class.
    """
    key, multilabel = "params.yaml: train.task", is_multilabel(pack.labels)
    if train.task != "binary":
        if train.task != "auto" and multilabel != (train.task == "multilabel"):
            images = "images have any number of classes" if multilabel else "each image has one class"
            raise InputError(f"{key}: is {train.task}, but in this data {images}; set it to auto")
        return None
    if multilabel or len(pack.classes) != 2:
        found = "images have any number of classes" if multilabel else f"the data has {len(pack.classes)} classes"
        raise InputError(f"{key}: is binary, but {found}, not one of two for each image; set it to auto")
    if train.positive_class is None:
        return 1
    if train.positive_class not in pack.classes:
        raise InputError(
            f"params.yaml: train.positive_class: there is no class '{train.positive_class}'; use {' or '.join(pack.classes)}"
        )
    return pack.classes.index(train.positive_class)


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
        stored=pack.form,
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


def _load(initial: InitialWeights | FileWeights, network: Normalized, params: Params, images: Tensor, classes: list[str]) -> str:
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

    if isinstance(initial, FileWeights):
        return load_file_weights(initial, network, build_other)
    return load_initial_weights(initial, network, build_other, classes)
