"""The default learning-rate schedule, and how any other one is stepped."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR


class WarmupCosine(LambdaLR):
    """Linear warm-up from nearly zero to the learning rate, then half a cosine down to zero. Stepped after every batch.

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
    """Return `step` for a schedule that is made of optimizer steps, `epoch` for one made of epochs."""
    return "step" if isinstance(scheduler, WarmupCosine | OneCycleLR | CyclicLR) else "epoch"
