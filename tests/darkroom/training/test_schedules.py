"""The learning rate at every step is what the formula says."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from darkroom.training.schedules import WarmupCosine, interval


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)


def test_warmup_then_cosine_at_every_step() -> None:
    sgd = optimizer()
    schedule = WarmupCosine(sgd, total_steps=20, warmup_fraction=0.25)
    seen = []
    for _ in range(20):
        seen.append(sgd.param_groups[0]["lr"])
        sgd.step()
        schedule.step()
    warmup = [0.5 * (step + 1) / 5 for step in range(5)]
    cosine = [0.5 * 0.5 * (1 + math.cos(math.pi * (step - 5) / 15)) for step in range(5, 20)]
    assert seen == pytest.approx(warmup + cosine)
    assert sgd.param_groups[0]["lr"] == pytest.approx(0)


def test_schedules_are_stepped_as_they_need() -> None:
    assert interval(WarmupCosine(optimizer(), 10)) == "step"
    assert interval(OneCycleLR(optimizer(), 1.0, total_steps=10)) == "step"
    assert interval(StepLR(optimizer(), 3)) == "epoch"
    assert interval(CosineAnnealingLR(optimizer(), 3)) == "epoch"
    assert interval(ReduceLROnPlateau(optimizer())) == "epoch"  # type: ignore[arg-type]


def test_the_fraction_is_checked() -> None:
    with pytest.raises(ValueError, match=r"warmup_fraction is 1.5"):
        WarmupCosine(optimizer(), 10, 1.5)
