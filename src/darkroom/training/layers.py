"""The layers of a network in their order: which of them are trained, and how fast. A network's last layer is its head."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from torch import nn
from torch.nn import Parameter

from darkroom.errors import InputError, warn
from darkroom.params import TrainParams

Named = list[tuple[str, Parameter]]


def network_layers(network: nn.Module) -> list[Named]:
    """Return the parameters of each layer by their names, from the pictures to the head.

    timm's networks say themselves what they count as a layer: a stem, a block, the head. In others it is every module that holds
    parameters, with the normalisation behind it.
    """
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters

        timms: Any = network
        numbers = group_parameters(network, timms.group_matcher(coarse=False), reverse=True)
        layers: list[Named] = [[] for _ in range(max(numbers.values()) + 1)]
        for name, parameter in network.named_parameters():
            layers[numbers[name]].append((name, parameter))
        return [layer for layer in layers if layer]
    layers = []
    for prefix, module in network.named_modules():
        own = [(f"{prefix}.{name}".lstrip("."), value) for name, value in module.named_parameters(recurse=False)]
        if own and layers and _is_normalisation(own):
            layers[-1] += own
        elif own:
            layers.append(own)
    return layers


def head_name(network: nn.Module) -> str:
    """Return the name of the innermost module that holds the parameters of the last layer; empty if that is the network."""
    places = [name.split(".")[:-1] for name, _ in network_layers(network)[-1]]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*places, strict=False))
    return ".".join(level[0] for level in shared)


def _is_normalisation(own: Named) -> bool:
    return all(value.ndim <= 1 for _, value in own)


def frozen_layers(network: nn.Module, freeze: bool | float) -> list[Named]:
    """Return the layers that `train.freeze` keeps as they are: a fraction of those before the head, from the first on."""
    before_head = network_layers(network)[:-1]
    frozen = before_head[: round(float(freeze) * len(before_head))]
    if freeze and not frozen:
        warn(f"params.yaml: train.freeze: {freeze} of {len(before_head)} layers before the head is none, so it has no effect")
    return frozen


class Frozen:
    """The part of a network that is not trained, until it is thawed.

    Parameters
    ----------
    network
        Whose layers they are.
    freeze
        `train.freeze`.
    base
        Parameters beside those, which adapters stand in for.
    """

    def __init__(self, network: nn.Module, freeze: bool | float, base: Sequence[Parameter] = ()):
        self.by_gradient = False
        """Whether gradients are computed and thrown away: processes that train together agree at the start on what has any."""
        self.parameters = [*base, *(value for layer in frozen_layers(network, freeze) for _, value in layer)]
        chosen = {id(value) for value in self.parameters}
        # A module with nothing to train keeps the statistics of its normalisation and drops nothing out.
        self.modules = [
            module for module in network.modules() if any(True for _ in module.parameters()) and _holds_only(module, chosen)
        ]

    def set(self, *, frozen: bool) -> None:
        """Freeze or thaw."""
        for value in self.parameters:
            value.requires_grad_(self.by_gradient or not frozen)
        for module in self.modules:
            module.train(not frozen)

    def drop_gradients(self) -> None:
        """Let the next step leave these parameters as they are."""
        for value in self.parameters:
            value.grad = None


def _holds_only(module: nn.Module, chosen: set[int]) -> bool:
    return all(id(value) in chosen for value in module.parameters())


def parameter_groups(network: nn.Module, train: TrainParams, lr: float) -> list[Any]:
    """Return what an optimizer is to train: parameters, or groups with a rate and a weight decay of their own.

    Parameters
    ----------
    network
        The network, of which frozen parameters are left out unless `train.unfreeze_epoch` thaws them.
    train
        `layer_decay`, `lr_factors` and `decay_norm_and_bias` make groups.
    lr
        The rate of the head.

    Raises
    ------
    InputError
        If a pattern of `lr_factors` names nothing.
    """
    _check_patterns(network, train)
    frozen = {id(value) for layer in frozen_layers(network, train.freeze) for _, value in layer}
    thawed = frozen if train.unfreeze_epoch else set()
    chosen = [(number, name, value) for number, name, value in _numbered(network) if value.requires_grad or id(value) in thawed]
    if train.layer_decay is None and not train.lr_factors and train.decay_norm_and_bias:
        return [value for _, _, value in chosen]
    never_decayed = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()  # type: ignore[operator]
    last = max(number for number, _, _ in _numbered(network))
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for number, name, value in chosen:
        factor = 1.0 if train.layer_decay is None else train.layer_decay ** (last - number)
        for pattern, own in (train.lr_factors or {}).items():
            factor *= own if re.search(pattern, name) else 1
        decayed = train.decay_norm_and_bias or not (value.ndim <= 1 or name in never_decayed)
        group = groups.setdefault((factor, decayed), {"params": [], "lr": lr * factor, "lr_factor": factor})
        if not decayed:
            group["weight_decay"] = 0.0
        group["params"].append(value)
    return list(groups.values())


def _numbered(network: nn.Module) -> Iterator[tuple[int, str, Parameter]]:
    for number, layer in enumerate(network_layers(network)):
        for name, value in layer:
            yield number, name, value


def _check_patterns(network: nn.Module, train: TrainParams) -> None:
    names = [name for name, _ in network.named_parameters()]
    for pattern in train.lr_factors or {}:
        if not any(re.search(pattern, name) for name in names):
            raise InputError(
                f"params.yaml: train.lr_factors: '{pattern}' is in no parameter's name; they are {names[0]}, …, {names[-1]}"
            )
