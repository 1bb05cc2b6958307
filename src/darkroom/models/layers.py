"""The layers of a network in order, and freezing them. A network's last layer is its head."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from torch import nn
from torch.nn import Parameter

from darkroom.base.errors import warn

Named = list[tuple[str, Parameter]]


def network_layers(network: nn.Module) -> list[Named]:
    """Return the named parameters of each layer, from the input to the head.

    timm's networks define their layers themselves: stem, blocks, head. In others, a layer is a module that holds parameters,
    with the normalisation that follows it.
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
    """Return the layers that `train.freeze` freezes: the first ones, a fraction of those before the head."""
    before_head = network_layers(network)[:-1]
    frozen = before_head[: round(float(freeze) * len(before_head))]
    if freeze and not frozen:
        warn(f"params.yaml: train.freeze: {freeze} of {len(before_head)} layers before the head is no layer, so it has no effect")
    return frozen


class Frozen:
    """The part of a network that is not trained, until it is unfrozen.

    Parameters
    ----------
    network
        The network.
    freeze
        `train.freeze`.
    base
        Further parameters, in whose place adapters are trained.
    """

    def __init__(self, network: nn.Module, freeze: bool | float, base: Sequence[Parameter] = ()):
        self.by_gradient = False
        """Whether gradients are computed and dropped: distributed processes fix at the start which parameters have gradients."""
        self.parameters = [*base, *(value for layer in frozen_layers(network, freeze) for _, value in layer)]
        chosen = {id(value) for value in self.parameters}
        # A frozen module uses fixed normalisation statistics and no dropout.
        self.modules = [
            module for module in network.modules() if any(True for _ in module.parameters()) and _holds_only(module, chosen)
        ]

    def set(self, *, frozen: bool) -> None:
        """Freeze or unfreeze."""
        for value in self.parameters:
            value.requires_grad_(self.by_gradient or not frozen)
        for module in self.modules:
            module.train(not frozen)

    def drop_gradients(self) -> None:
        """Remove the gradients, so that the next step does not change these parameters."""
        for value in self.parameters:
            value.grad = None


def _holds_only(module: nn.Module, chosen: set[int]) -> bool:
    return all(id(value) in chosen for value in module.parameters())
