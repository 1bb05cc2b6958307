"""The optimizer that train.optimizer names, and the groups of parameters that it is given."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from darkroom.base.errors import InputError, warn
from darkroom.base.instantiate import Builder
from darkroom.base.params import Params, TrainParams
from darkroom.models.layers import frozen_layers, network_layers


def parameter_groups(network: nn.Module, train: TrainParams, lr: float) -> list[Any]:
    """Return the parameters to optimize, or groups of them with their own learning rate and weight decay.

    Parameters
    ----------
    network
        The network; its frozen parameters are left out unless `train.unfreeze_epoch` is set.
    train
        `layer_decay`, `lr_factors` and `decay_norm_and_bias` make groups.
    lr
        Learning rate of the head.

    Raises
    ------
    InputError
        If a pattern of `lr_factors` matches no parameter.
    """
    _check_patterns(network, train)
    frozen = {id(value) for layer in frozen_layers(network, train.freeze) for _, value in layer}
    unfrozen = frozen if train.unfreeze_epoch else set()
    chosen = [(number, name, value) for number, name, value in _numbered(network) if value.requires_grad or id(value) in unfrozen]
    if train.layer_decay is None and not train.lr_factors and train.decay_norm_and_bias:
        return [value for _, _, value in chosen]
    never_decayed = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()  # type: ignore[operator]
    last = max(number for number, _, _ in _numbered(network))
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for number, name, value in chosen:
        factor = 1.0 if train.layer_decay is None else train.layer_decay ** (last - number)
        for pattern, own in (train.lr_factors or {}).items():
            factor *= own if re.search(pattern, name) else 1
        if factor == 0:  # frozen
            continue
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
                f"params.yaml: train.lr_factors: '{pattern}' matches no parameter; they are {names[0]}, …, {names[-1]}"
            )


def make_optimizer(params: Params, network: nn.Module) -> Optimizer:
    """Return the optimizer that `train.optimizer` names for a `Normalized` network, with the schedule's initial rate."""
    train = params.train
    lr = train.lr_table[max(train.lr_table)] if train.lr_table else train.lr
    # The fused implementation, if there is one: faster, with the same result.
    fused = {} if {"foreach", "differentiable"} & set(train.optimizer.arguments) else {"fused": True}
    builder = Builder("train.optimizer", (Optimizer,), params.base.allow_targets, {"lr": lr, **fused})
    optimizer: Optimizer = builder.build(train.optimizer, parameter_groups(network.network, train, lr))  # type: ignore[arg-type]
    if not train.decay_norm_and_bias and not optimizer.defaults.get("weight_decay"):
        warn("params.yaml: train.decay_norm_and_bias has no effect while the optimizer has no weight_decay")
    return optimizer
