"""Whose moments an optimizer takes over: those of the same optimizer for the same parameters, also of another project."""

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from darkroom.base.params import Params
from darkroom.models.model_json import Continued
from darkroom.training.checkpoints.restore_optimizer import RestoreOptimizer
from darkroom.training.checkpoints.resume_from import Earlier


def made(kind: type[Optimizer] = AdamW, features: int = 3, layers: int = 1) -> Optimizer:
    """Return an optimizer with a group for each layer."""
    return kind([{"params": list(nn.Linear(features, 2).parameters())} for _ in range(layers)], lr=0.1)  # type: ignore[call-arg]


def saved(optimizer: Optimizer) -> dict[str, Any]:
    """Return its state after a step."""
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = torch.ones_like(value)
    optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


def takes(params: Params, state: dict[str, Any] | None, before: dict[str, Any]) -> bool:
    """Return whether an AdamW of one layer takes over a state."""
    earlier: Any = SimpleNamespace(optimizer=state, params=before)
    return RestoreOptimizer(earlier, params)._takes_moments(made(), made())


def without(state: dict[str, Any], setting: str) -> dict[str, Any]:
    del state["param_groups"][0][setting]
    return state


@pytest.mark.parametrize(
    ("state", "is_taken"),
    [
        (saved(made()), True),
        (saved(made(features=4)), False),
        (saved(made(SGD)), False),
        (without(saved(made()), "weight_decay"), False),
        (saved(made(layers=2)), False),
        (None, False),
    ],
    ids=["fits", "other shapes", "other settings", "a setting less", "other groups", "none"],
)
def test_the_moments_of_another_project(state: dict[str, Any] | None, is_taken: bool, make_params: Callable[..., Params]) -> None:
    """It has no params.yaml of ours: settings and shapes decide."""
    assert takes(make_params(), state, {}) == is_taken


@pytest.mark.parametrize(("target", "is_taken"), [("torch.optim.AdamW", True), ("torch.optim.SGD", False)])
def test_the_moments_of_this_project(target: str, is_taken: bool, make_params: Callable[..., Params]) -> None:
    """Its params.yaml says of which optimizer they are, and settings may change."""
    state = without(saved(made()), "weight_decay")
    assert takes(make_params(), state, {"optimizer": {"_target_": target}}) == is_taken


def test_every_process_takes_over_and_the_main_one_says_so(make_params: Callable[..., Params], capsys: Any) -> None:
    params = make_params({"train.scheduler": None})
    about = {"params": {"train": params.train.model_dump(by_alias=True)}}
    record = Continued(source="there", commit=None, sha256={}, epoch=1, state="whole")
    earlier = Earlier("there", record, {"darkroom": {"about": about}}, optimizer=saved(made()))
    for is_main in (True, False):
        optimizer = made()
        strategy = SimpleNamespace(
            load_optimizer_state_dict=lambda kept, own=optimizer: own.load_state_dict(*kept["optimizer_states"])
        )
        trainer: Any = SimpleNamespace(
            optimizers=[optimizer], strategy=strategy, is_global_zero=is_main, early_stopping_callbacks=[]
        )
        module: Any = SimpleNamespace(configure_optimizers=made)
        RestoreOptimizer(earlier, params).on_train_start(trainer, module)
        assert [each["step"] for each in optimizer.state_dict()["state"].values()] == [1, 1]
        said = "train: resuming after epoch 1 of there: all of its state; the optimizer is resumed\n"
        assert capsys.readouterr().out == (said if is_main else "")


class OwnPlateau(ReduceLROnPlateau):
    """A schedule of one's own, which params.yaml names otherwise."""


@pytest.mark.parametrize(
    ("make", "before", "was", "go_on"),
    [
        (OwnPlateau, {"num_bad_epochs": 1}, {}, True),
        (OwnPlateau, {"num_bad_epochs": 1}, {"lr": 0.5}, False),
        (OwnPlateau, None, {}, False),
        (partial(StepLR, step_size=1), {"num_bad_epochs": 1}, {}, False),
        (None, {"num_bad_epochs": 1}, {}, False),
    ],
    ids=["went on", "another rate", "begun", "of another kind", "none"],
)
def test_rates_go_on_where_a_schedule_has_made_them_of_those_of_params(
    make: Callable[[Optimizer], Any] | None,
    before: dict[str, Any] | None,
    was: dict[str, Any],
    go_on: bool,
    make_params: Callable[..., Params],
) -> None:
    params = make_params()
    earlier: Any = SimpleNamespace(scheduler=before, params=params.train.model_dump(by_alias=True) | was)
    assert RestoreOptimizer(earlier, params)._keeps_rates({"scheduler": make(made())} if make else None) == go_on
