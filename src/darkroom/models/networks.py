"""Networks by name from timm, torchvision, transformers or this repository, or by `_target_`: by provider and name.

N images, C channels, H by W pixels, K classes.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Network, Target
from darkroom.hardware.compiler import import_torchvision
from darkroom.models.builtin.side_by_side import SIDE_BY_SIDE, SideBySide, members
from darkroom.models.builtin.small_cnn import SmallCNN
from darkroom.models.builtin.small_resnet import SmallResNet, small_resnet18
from darkroom.models.builtin.small_vit import SmallViT
from darkroom.models.builtin.whitened_cnn import WhitenedCNN
from darkroom.models.errors import check_kwargs, no_weights, one_line_errors, unknown_name
from darkroom.models.huggingface.network import build_huggingface
from darkroom.models.stem import adapt_stem
from darkroom.models.timm.network import timm_network

BUILTIN: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": SmallCNN,
    "small_resnet": SmallResNet,
    "small_resnet18": small_resnet18,
    "small_vit": SmallViT,
    "whitened_cnn": WhitenedCNN,
}
# Arguments of timm's and torchvision's networks for files or addresses of weights.
OTHER_WEIGHTS = ("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "weights", "weights_backbone")


def build_network(
    model: Network | Target,
    *,
    num_classes: int,
    channels: int,
    allow: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the network that `train.model` asks for, with a last layer of `num_classes` outputs.

    `config` is the configuration of transformers that a published model records; the name is not looked up then.

    Raises
    ------
    InputError
        If there is no such network, or it does not take its arguments.
    RunError
        If pretrained weights cannot be downloaded.
    """
    _refuse_num_classes(model)
    if isinstance(model, Target):
        filled = {"num_classes": num_classes, "in_channels": channels, "in_chans": channels}
        network: nn.Module = Builder("train.model", (nn.Module,), allow, filled).build(model)
        return network
    with one_line_errors(model):
        match model.provider:
            case "builtin":
                return _builtin(model, num_classes, channels)
            case "timm":
                return timm_network(model, num_classes=num_classes, channels=channels)
            case "torchvision":
                return _torchvision(model, num_classes, channels)
            case "huggingface":
                return build_huggingface(model, num_classes=num_classes, channels=channels, config=config)


def _refuse_num_classes(model: Network | Target) -> None:
    """Refuse another number of classes than that of the data; 0 asks for embeddings, which every model gives."""
    for name in ("num_classes", "num_labels"):
        where = f"params.yaml: train.model.{'' if isinstance(model, Target) else 'kwargs.'}{name}"
        given = (model.arguments if isinstance(model, Target) else model.kwargs).get(name)
        if given == 0 and type(given) is int:
            raise InputError(
                f"{where}: is 0, but a classifier needs its last layer; remove it, "
                "and set predict.embeddings to true for the features before it"
            )
        if given is not None and isinstance(model, Network):
            raise InputError(f"{where}: is {given!r}, but the data has its own number of classes, which is filled in; remove it")


def without_weights(model: Network) -> Network:
    """Return the same network without pretrained weights, also from its arguments."""
    own = {name: value for name, value in model.kwargs.items() if name not in OTHER_WEIGHTS}
    return model.model_copy(update={"pretrained": False, "kwargs": own, "weights": None, "weights_sha256": None})


def network_channels(model: Network | Target, channels: int) -> int:
    """Return the network's input channels for images with `channels`: networks of transformers see grey images in RGB."""
    is_huggingface = isinstance(model, Network) and model.provider == "huggingface"
    return 3 if is_huggingface and channels == 1 else channels


def _builtin(model: Network, num_classes: int, channels: int) -> nn.Module:
    if model.name == SIDE_BY_SIDE:
        check_kwargs(model, ["networks"])
        return SideBySide(num_classes, channels, members(model))
    if model.name not in BUILTIN:
        raise unknown_name(model, [*BUILTIN, SIDE_BY_SIDE])
    if model.pretrained:
        raise InputError(f"params.yaml: train.model.pretrained: is true, but {model.name} has no weights; set it to false")
    network_class = BUILTIN[model.name]
    known = [name for name in inspect.signature(network_class).parameters if name not in ("num_classes", "in_channels")]
    check_kwargs(model, known)
    return network_class(num_classes, channels, **model.kwargs)


def _torchvision(model: Network, num_classes: int, channels: int) -> nn.Module:
    import_torchvision()
    from torchvision import models

    if model.name not in models.list_models(module=models):
        raise unknown_name(model, models.list_models(module=models))
    # In training, GoogLeNet and Inception would return auxiliary logits for a loss of their own.
    own = {"aux_logits": False, "init_weights": True} if model.name in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(model.name, weights=None, num_classes=num_classes, **own | model.kwargs)
    if model.pretrained:
        try:
            weights = models.get_model_weights(model.name).DEFAULT.get_state_dict(check_hash=True, weights_only=True)
        except OSError as error:
            raise no_weights(model, error) from error
        _load_all_but_head(network, weights)
    if channels != 3:
        adapt_stem(network, channels)
    return network


def _load_all_but_head(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load pretrained weights, except for the last layers, whose shapes differ with the classes."""
    own = network.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name not in fitting]
    heads = {name.rpartition(".")[0] for name in missing}
    if any(not isinstance(network.get_submodule(head), nn.Linear | nn.Conv2d) for head in heads):
        raise ValueError(f"the weights do not fit {', '.join(sorted(heads))}")
    network.load_state_dict(fitting, strict=False)
