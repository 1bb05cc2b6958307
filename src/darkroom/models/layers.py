"""The layers of a network in order, and freezing them. A network's last layer is its head."""

import re
from collections.abc import Container, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate, takewhile
from typing import Any

from torch import nn
from torch.nn import Parameter

from darkroom.base.errors import InputError, listed, nearest, warn

Named = list[tuple[str, Parameter]]
Freeze = bool | float | list[str]
# Names of frozen modules on one line of the log; model.json has all.
SHOWN = 12


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


def frozen_layers(network: nn.Module, freeze: Freeze) -> list[Named]:
    """Return the layers that `train.freeze` freezes: the first ones, a fraction of those before the head, or those it names.

    Raises
    ------
    InputError
        If a name matches nothing.
    """
    if isinstance(freeze, list):
        return [_named(network, freeze)]
    before_head = network_layers(network)[:-1]
    frozen = before_head[: round(float(freeze) * len(before_head))]
    if freeze and not frozen:
        warn(f"params.yaml: train.freeze: {freeze} of {len(before_head)} layers before the head is no layer, so it has no effect")
    return frozen


def _named(network: nn.Module, patterns: Sequence[str]) -> Named:
    """Return the parameters whose name, or that of a module around them, matches one of the patterns."""
    parameters = dict(network.named_parameters())
    around = {name: list(accumulate(name.split("."), lambda outer, inner: f"{outer}.{inner}")) for name in parameters}
    known = dict.fromkeys(name for names in around.values() for name in names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            modules = listed(dict.fromkeys(names[0] for names in around.values()))
            hint = nearest(pattern, known, f"the outermost are {modules}")
            raise InputError(f"params.yaml: train.freeze: '{pattern}' matches no module and no parameter; {hint}")
    return [
        (name, parameters[name])
        for name, names in around.items()
        if any(fnmatchcase(each, pattern) for each in names for pattern in patterns)
    ]


def zero_rate(network: nn.Module, lr_factors: Mapping[str, float] | None) -> list[Parameter]:
    """Return the parameters to whose learning rate `train.lr_factors` gives the factor 0."""
    patterns = [pattern for pattern, factor in (lr_factors or {}).items() if factor == 0]
    return [value for name, value in network.named_parameters() if any(re.search(pattern, name) for pattern in patterns)]


class Frozen:
    """The part of a network that is not trained, until it is unfrozen, or never.

    Parameters
    ----------
    network
        The network.
    freeze
        `train.freeze`.
    fixed
        Further parameters, which are never unfrozen.
    adapted
        Likewise, those in whose place adapters are trained; they are not listed.

    Attributes
    ----------
    names : list of str
        Names of the modules that are frozen as a whole, and of further parameters.

    Raises
    ------
    InputError
        If nothing would be trained.
    """

    def __init__(self, network: nn.Module, freeze: Freeze, fixed: Sequence[Parameter] = (), adapted: Sequence[Parameter] = ()):
        self.by_gradient = False
        """Whether gradients are computed and dropped: distributed processes fix at the start which parameters have gradients."""
        self.fixed = [*fixed, *adapted]
        never = {id(value) for value in self.fixed}
        layers = [value for layer in frozen_layers(network, freeze) for _, value in layer]
        self.parameters = [value for value in layers if id(value) not in never]
        chosen = never | {id(value) for value in layers}
        if all(id(value) in chosen for value in network.parameters()):
            raise InputError(
                "params.yaml: train.freeze, train.lr_factors: every parameter is frozen, so nothing would be trained; "
                f"leave out the head, {head_name(network) or 'the last layer'}"
            )
        # A frozen module uses fixed normalisation statistics and no dropout.
        self.modules = _modules(network, chosen)
        self.fixed_modules = _modules(network, never)
        self.names = _outermost(network, {id(value) for value in (*layers, *fixed)})

    def set(self, *, frozen: bool) -> None:
        """Freeze or unfreeze."""
        for value in self.parameters:
            value.requires_grad_(self.by_gradient or not frozen)
        for value in self.fixed:
            value.requires_grad_(False)
        for module in self.modules:
            module.train(not frozen)
        for module in self.fixed_modules:
            module.eval()

    def drop_gradients(self) -> None:
        """Remove the gradients, so that the next step does not change these parameters."""
        for value in self.parameters:
            value.grad = None

    def line(self, unfreeze_epoch: int | None) -> str | None:
        """Return what the log says of it, or None if nothing is frozen."""
        if not self.names:
            return None
        more = f" and {len(self.names) - SHOWN} more" if len(self.names) > SHOWN else ""
        until = f" for {unfreeze_epoch} epochs" if unfreeze_epoch is not None and self.parameters else ""
        return f"frozen{until}: {', '.join(self.names[:SHOWN])}{more}"


def _modules(network: nn.Module, chosen: Container[int]) -> list[nn.Module]:
    """Return the modules that hold parameters, and only such."""
    return [module for module in network.modules() if any(True for _ in module.parameters()) and _holds_only(module, chosen)]


def _outermost(network: nn.Module, chosen: Container[int]) -> list[str]:
    """Return the names of the outermost modules that hold only such parameters, and of such parameters in other modules."""
    names = [name for name, value in network.named_parameters(recurse=False) if id(value) in chosen]
    for name, child in network.named_children():
        if not _holds_only(child, chosen):
            names += [f"{name}.{each}" for each in _outermost(child, chosen)]
        elif any(True for _ in child.parameters()):
            names.append(name)
    return names


def _holds_only(module: nn.Module, chosen: Container[int]) -> bool:
    return all(id(value) in chosen for value in module.parameters())
