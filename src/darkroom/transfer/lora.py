"""Low-rank adapters (`train.lora`) of the library peft: small matrices that are trained in place of a network's layers.

The plain network is validated and published, with the adapters merged into its weights.
N images, C channels, H by W pixels.

References
----------
Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import Lora
from darkroom.models.layers import network_layers

KEY = "params.yaml: train.lora"
# peft wraps a layer: its own weights are then those of `base_layer`, beside the matrices `lora_A` and `lora_B`.
BASE, ADAPTER = ".base_layer.", ".lora_"


class Merged(nn.Module):
    """A plain network, into which the adapters of another are merged.

    Parameters
    ----------
    network
        The network without adapters; it is copied.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        # It is not trained, so that processes need not reduce gradients for it.
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def merge(self, adapted: nn.Module) -> None:
        """Set the weights to those of a network with adapters plus the products of the adapters."""
        state = {name.replace(BASE, "."): value for name, value in adapted.state_dict().items() if ADAPTER not in name}
        for name, layer in _adapted_layers(adapted):
            weight = layer.get_base_layer().weight
            state[f"{name}.weight"] = weight + layer.get_delta_weight("default").to(weight.dtype)
        self.network.load_state_dict(state)


def add_adapters(network: nn.Module, lora: Lora, images: Tensor) -> tuple[Merged, list[nn.Parameter]]:
    """Add adapters to a `Normalized` network; only they and the head are trained.

    Parameters
    ----------
    network
        Changed in place.
    lora
        `train.lora`.
    images
        A few images (N, C, H, W) uint8, to see which layers are called.

    Returns
    -------
    merged : Merged
        The network to publish.
    base : list of Parameter
        The weights that are not trained.

    Raises
    ------
    InputError
        If peft is not installed, or a pattern of `targets` matches no layer that can have an adapter.
    """
    peft = _library()
    merged = Merged(network)
    inner: Any = network.network
    head = {id(value) for _, value in network_layers(inner)[-1]}
    chosen = _chosen(_fit_layers(network, inner, head, images), lora)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="|".join(re.escape(name) for name in chosen),  # a string is a pattern for whole names
    )
    peft.inject_adapter_in_model(config, inner)
    base = []
    for name, value in inner.named_parameters():
        value.requires_grad_(ADAPTER in name or id(value) in head)
        if not value.requires_grad:
            base.append(value)
    return merged, base


def _library() -> Any:
    try:
        import peft
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt peft', or set it to null"
        raise InputError(f"{KEY}: needs a package that is not installed; {advice}") from None
    return peft


def _adapted_layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in network.named_modules(remove_duplicate=False):
        if hasattr(module, "get_delta_weight"):
            yield name, module


def _fit_layers(network: nn.Module, inner: nn.Module, head: set[int], images: Tensor) -> list[str]:
    """Return the names of the layers before the head that can have an adapter which can be merged.

    peft's adapters do not support scaled, dilated or grouped convolutions, or other paddings. If a layer is not called,
    another one uses its weight, without the adapter.
    """
    called: set[int] = set()
    handles = [module.register_forward_hook(lambda module, *_: called.add(id(module))) for module in inner.modules()]
    was_training = network.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.eval()(images)
    network.train(was_training)
    for handle in handles:
        handle.remove()
    return [
        name
        for name, module in inner.named_modules()
        if name and _is_plain(module) and id(module) in called and not any(id(value) in head for value in module.parameters())
    ]


def _is_plain(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return type(module) is nn.Linear


def _chosen(names: list[str], lora: Lora) -> list[str]:
    if not names:
        raise InputError(f"{KEY}: train.model has no linear layer or convolution before its head to adapt; set it to null")
    for pattern in lora.targets or []:
        if not any(re.search(pattern, name) for name in names):
            raise InputError(
                f"{KEY}.targets: '{pattern}' matches no layer that can be adapted; they are {names[0]}, …, {names[-1]}"
            )
    return [name for name in names if lora.targets is None or any(re.search(pattern, name) for pattern in lora.targets)]
