"""The default learning-rate schedule, how any other one is stepped, and the table of rates that goes before it."""

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from darkroom.base.instantiate import Builder
from darkroom.base.params import Params, TrainParams
from darkroom.metrics.extra import Mode


class WarmupCosine(LambdaLR):
    """Linear warm-up from nearly zero to the learning rate, then half a cosine down to zero. Stepped after every optimizer step.

    Parameters
    ----------
    optimizer
    total_steps
        Optimizer steps of the whole training; filled in by the train stage.
    warmup_fraction
        Fraction of the steps spent on the warm-up.

    References
    ----------
    Goyal et al. 2017, https://arxiv.org/abs/1706.02677 (warm-up); Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983 (cosine).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_fraction: float = 0.1):
        if not 0 <= warmup_fraction < 1:
            raise ValueError(f"warmup_fraction is {warmup_fraction}, but must be at least 0 and less than 1")
        warmup_steps = round(warmup_fraction * total_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        super().__init__(optimizer, factor)


def interval(scheduler: LRScheduler) -> str:
    """Return `step` for a schedule in optimizer steps, `epoch` for one in epochs."""
    return "step" if isinstance(scheduler, WarmupCosine | OneCycleLR | CyclicLR) else "epoch"


def logged_lr(optimizer: Any) -> float:
    """Return the rate of the parameters that have no factor of `layer_decay` or `lr_factors`, else that of the first ones."""
    groups = optimizer.param_groups
    return float(next((group for group in groups if group.get("lr_factor", 1.0) == 1.0), groups[0])["lr"])


def set_table_lr(optimizer: Any, scheduler: Any, lr_table: Mapping[int, float], epoch: int) -> None:
    """Set the rates of an epoch as `train.lr_table` has them, and from its last entry on as the schedule has them."""
    if scheduler is not None and epoch >= max(lr_table):
        rates = scheduler.get_last_lr()
    else:
        rate = lr_table[max(begin for begin in lr_table if begin <= epoch)]
        rates = [rate * group.get("lr_factor", 1.0) for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def first_epoch(train: TrainParams) -> int:
    """Return the epoch, from 0, in which the schedule starts: after `train.lr_table`, and after a solver's epoch."""
    return max(max(train.lr_table or {}, default=0), int(train.fit_head is not None))


def make_scheduler(params: Params, optimizer: Optimizer, *, total_steps: int, mode: Mode) -> LRScheduler | None:
    """Return the schedule that `train.scheduler` names; `total_steps`, `T_max` and `max_lr` are filled in if it takes them.

    It starts in `first_epoch`. `mode` is that of the monitored metric, for ReduceLROnPlateau.
    """
    train = params.train
    if train.scheduler is None:
        return None
    begun = first_epoch(train)
    if begun >= train.epochs:
        return None
    rates = [group["lr"] for group in optimizer.param_groups]
    filled = {
        "total_steps": total_steps - total_steps * begun // train.epochs,
        "T_max": train.epochs - begun,
        "max_lr": rates if len(rates) > 1 else rates[0],
    }
    builder = Builder("train.scheduler", (LRScheduler,), params.base.allow_targets, filled)
    if builder.find(train.scheduler.target) is ReduceLROnPlateau:  # CyclicLR has an argument `mode` of another kind
        filled["mode"] = mode
    scheduler: LRScheduler = builder.build(train.scheduler, optimizer)
    return scheduler
