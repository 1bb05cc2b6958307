"""The layers of a network in their order: which of them are trained, and how fast. A network's last layer is its head."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from torch import nn
from torch.nn import Parameter

from darkroom.errors import warn

Named = list[tuple[str, Parameter]]


def network_layers(network: nn.Module) -> list[Named]:
    """Return the parameters of each layer by their names, from the images to the head.

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
