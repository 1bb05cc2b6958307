"""What is known of pretrained weights before they are loaded: the images that they expect, their source, their licence."""

from dataclasses import dataclass

from darkroom.models.errors import one_line_errors
from darkroom.models.huggingface.repository import expected_images, find_repository
from darkroom.models.licence import Baseline
from darkroom.params import Network, Target

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of values between 0 and 1."""

# torchvision names a licence only for weights with one of their own; SWAG's is CC BY-NC 4.0:
# https://github.com/facebookresearch/SWAG/blob/main/LICENSE. Of the others it says that the terms of the data that they were
# trained on may apply: https://docs.pytorch.org/vision/stable/models.html
TORCHVISION_LICENCE = "bsd-3-clause; terms of ImageNet may apply"
OWN_LICENCES = {"SWAG": "cc-by-nc-4.0"}
# Their weights are of images between -1 and 1, to which `transform_input` would bring back ImageNet's normalisation:
# https://github.com/pytorch/vision/blob/main/torchvision/models/inception.py
BETWEEN_ONES = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class Pretrained:
    """What weights expect of images, of values between 0 and 1, and what is known of them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    origin: Baseline

    def normalisation(self, channels: int) -> Normalisation:
        """Return mean and std for so many channels, each the average if the weights saw another number of them."""
        if len(self.mean) == channels:
            return self.mean, self.std
        return (sum(self.mean) / len(self.mean),) * channels, (sum(self.std) / len(self.std),) * channels


def describe_weights(model: Network | Target) -> Pretrained | None:
    """Return what is known of the weights of a pretrained network, None for one that has none; nothing large is loaded.

    Raises
    ------
    InputError
        If the library does not take the name or the arguments.
    RunError
        If the Hugging Face hub cannot be reached.
    """
    if isinstance(model, Target) or not model.pretrained:
        return None
    about = {"timm": _timm, "torchvision": _torchvision, "huggingface": _huggingface}
    with one_line_errors(model):
        return about[model.provider](model) if model.provider in about else None


def _timm(model: Network) -> Pretrained | None:
    import timm
    from timm.models import resolve_pretrained_cfg

    if not timm.is_model(model.name):
        return None  # as whoever builds it says
    config = resolve_pretrained_cfg(model.name, model.kwargs.get("pretrained_cfg"), model.kwargs.get("pretrained_cfg_overlay"))
    size = model.kwargs.get("img_size", config.input_size[-1])
    origin = Baseline(
        source=f"timm: {config.file or config.hf_hub_id or config.url or model.name}", licence=config.license, sha256={}
    )
    return Pretrained(tuple(config.mean), tuple(config.std), size if isinstance(size, int) else size[-1], origin)


def _torchvision(model: Network) -> Pretrained | None:
    from torchvision import models

    if model.name not in models.list_models(module=models):
        return None  # likewise
    weights = models.get_model_weights(model.name).DEFAULT
    expected, named_licence = weights.transforms(), weights.meta.get("license")
    licence = next((name for word, name in OWN_LICENCES.items() if word in (named_licence or "")), named_licence)
    mean, std = ((0.5,) * 3, (0.5,) * 3) if model.name in BETWEEN_ONES else (expected.mean, expected.std)
    origin = Baseline(source=f"torchvision: {weights}", licence=licence or TORCHVISION_LICENCE, sha256={})
    return Pretrained(tuple(mean), tuple(std), expected.crop_size[-1], origin)


def _huggingface(model: Network) -> Pretrained:
    repository = find_repository(model)
    mean, std, size = expected_images(model, repository)
    origin = Baseline(source=f"huggingface: {repository.name}", licence=repository.licence, sha256=repository.hashes)
    return Pretrained(mean, std, size, origin)
