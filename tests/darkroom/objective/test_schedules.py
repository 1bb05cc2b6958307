"""The learning rate at every step is what the formula says."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.objective.schedules import WarmupCosine, interval
from darkroom.training import fit as fitting
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.plan import make_plan
from darkroom.training.trainer import make_trainer


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


class Rates(pl.Callback):
    """The rates of every step, as the optimizer sees them."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:  # noqa: ARG002
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def rates_of(params: Params, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    rates = Rates()
    monkeypatch.setattr(
        fitting,
        "make_trainer",
        lambda params, callbacks, *rest, **named: make_trainer(params, [*callbacks, rates], *rest, **named),
    )
    rows = data.split.rows
    split = Split(data.split.classes, {"train": rows["train"][:64], "val": rows["val"][:10], "test": rows["test"]}, "")
    store = StateStore(folder, {})
    with store.held():
        fitting.fit(make_plan(params, data.pack, split.rows["train"]), split, store)
    return rates.seen


def logged(log: Path, name: str) -> list[float]:
    rows = (log / f"plots/metrics/{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(row.split("\t")[1]) for row in rows]


SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "train.batch_size": 16, "hardware.accelerator": "cpu"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("scheduler", "later"),
    [
        (None, lambda _: 0.1),
        ({"_target_": "ExponentialLR", "gamma": 0.5}, lambda step: 0.1 * 0.5 ** (step // 4)),
        ({"_target_": "StepLR", "step_size": 2, "gamma": 0.1}, lambda step: 0.1 * 0.1 ** (step // 8)),
        (
            {"_target_": "WarmupCosine", "warmup_fraction": 0.25},
            lambda step: 0.1 * ((step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 9))),
        ),
    ],
)
@pytest.mark.parametrize("layer_decay", [pytest.param(None, marks=pytest.mark.thorough), 0.5])
def test_a_table_goes_before_the_schedule(
    scheduler: Any,
    later: Callable[[int], float],
    layer_decay: float | None,
    make_params: Callable[..., Params],
    digits: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {"train.lr_table": {0: 0.02, 2: 0.03, 3: 0.1}, "train.scheduler": scheduler, "train.epochs": 6}
    params = make_params(SMALL | changes | {"train.layer_decay": layer_decay})
    seen = rates_of(params, digits, tmp_path, monkeypatch)
    expected = [0.02] * 8 + [0.03] * 4 + [later(step) for step in range(12)]
    assert [rates[-1] for rates in seen] == pytest.approx(expected)
    if layer_decay:
        ratios = {round(rates[0] / rates[-1], 9) for rates in seen if rates[-1]}
        assert len(ratios) == 1
        assert ratios.pop() < 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"_target_": "CyclicLR", "base_lr": 0.1, "max_lr": 0.3, "step_size_up": 2, "cycle_momentum": False}, [0.1, 0.2, 0.3, 0.2] * 3),
        ({"_target_": "StepLR", "step_size": 1, "gamma": 0.5}, [0.2] * 4 + [0.1] * 4 + [0.05] * 4),
        ({"_target_": "CosineAnnealingLR"}, [0.2] * 4 + [0.15] * 4 + [0.05] * 4),
    ],
)  # fmt: skip
def test_schedules_are_stepped_as_each_needs(
    scheduler: Any,
    expected: list[float],
    make_params: Callable[..., Params],
    digits: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = make_params(SMALL | {"train.scheduler": scheduler, "train.epochs": 3, "train.lr": 0.2})
    assert [rates[0] for rates in rates_of(params, digits, tmp_path, monkeypatch)] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")
def test_one_cycle_has_a_peak_for_every_layer(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_params(SMALL | {"train.scheduler": "OneCycleLR", "train.layer_decay": 0.5, "train.epochs": 2, "train.lr": 0.2})
    seen = rates_of(params, digits, tmp_path, monkeypatch)
    assert max(rates[-1] for rates in seen) == pytest.approx(0.2, rel=0.05)
    assert max(rates[-2] for rates in seen) == pytest.approx(0.1, rel=0.05)


TABLE = {"train.lr_table": {0: 0.02, 1: 0.1}}
LOGGED: dict[str, dict[str, Any]] = {
    "none": {"train.scheduler": None},
    "step": {"train.scheduler": {"_target_": "StepLR", "step_size": 1, "gamma": 0.5}},
    "exponential": {"train.scheduler": {"_target_": "ExponentialLR", "gamma": 0.5}},
    "cosine": {"train.scheduler": "CosineAnnealingLR"},
    "one cycle": {"train.scheduler": "OneCycleLR"},
    "cyclic": {"train.scheduler": {"_target_": "CyclicLR", "base_lr": 0.1, "step_size_up": 3, "cycle_momentum": False}},
    "plateau": {"train.scheduler": {"_target_": "ReduceLROnPlateau", "patience": 0, "threshold": 10.0}},
    "warm-up and cosine": {"train.scheduler": "WarmupCosine"},
    "table": TABLE | {"train.scheduler": None},
    "table and step": TABLE | {"train.scheduler": {"_target_": "StepLR", "step_size": 1, "gamma": 0.5}},
    "table and one cycle": TABLE | {"train.scheduler": "OneCycleLR"},
    "accumulated": {"train.scheduler": "OneCycleLR", "train.trainer": {"accumulate_grad_batches": 3}},
    "accumulated table": TABLE | {"train.scheduler": "WarmupCosine", "train.trainer": {"accumulate_grad_batches": 2}},
    "two validations": {"train.scheduler": "WarmupCosine", "train.trainer": {"val_check_interval": 0.5}},
    "layer decay": {"train.scheduler": "CosineAnnealingLR", "train.layer_decay": 0.5},
}


@pytest.mark.sample(6)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOGGED)
def test_the_rate_that_is_logged_is_the_one_that_the_step_used(
    name: str, make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every step in `lr_step`, and of an epoch's last step in `lr`; the schedule has moved on when an epoch is logged."""
    used: list[float] = []
    original = torch.optim.SGD.step

    def step(self: torch.optim.SGD, closure: Any = None) -> Any:
        result = original(self, closure)
        used.append(max(group["lr"] for group in self.param_groups))
        return result

    changes = {"train.optimizer": "SGD", "train.epochs": 3, "train.lr": 0.2, "train.log_every": "step"}
    params = make_params(SMALL | changes | LOGGED[name])
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    rates_of(params, digits, tmp_path, monkeypatch)
    log, per_epoch = StateStore(tmp_path, {}).log_dir, -(-4 // (params.train.trainer.accumulate_grad_batches or 1))
    used = used[-3 * per_epoch :]  # without those of the dry run
    assert len(set(used)) > 1 or name == "none"
    assert logged(log, "lr_step") == used
    assert logged(log, "lr") == pytest.approx(used[per_epoch - 1 :: per_epoch], rel=1e-6)  # a metric is a float32
