"""`_target_` makes what it should, and nothing else can be reached through it."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from darkroom.build import Builder
from darkroom.errors import InputError
from darkroom.params import Target


def target(path: str, **arguments: Any) -> Target:
    return Target.model_validate({"_target_": path, **arguments})


MODULES = Builder("train.loss", (nn.Module,))


def test_arguments_reach_the_object() -> None:
    loss = MODULES.build(target("torch.nn.CrossEntropyLoss", label_smoothing=0.25))
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.label_smoothing == 0.25


def test_arguments_are_filled_in_unless_given() -> None:
    builder = Builder("train.optimizer", (torch.optim.Optimizer,), filled={"lr": 0.5, "nothing": 1})
    parameters = [nn.Parameter(torch.zeros(1))]
    assert builder.build(target("torch.optim.SGD"), parameters).defaults["lr"] == 0.5
    assert builder.build(target("torch.optim.SGD", lr=0.1), parameters).defaults["lr"] == 0.1


def test_targets_inside_arguments_are_built() -> None:
    flip = {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip", "p": 0.1}
    made = MODULES.build(target("torchvision.transforms.v2.RandomApply", transforms=[flip]))
    assert made.transforms[0].p == 0.1


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("os.system", {"command": "true"}, "train.loss._target_: os.system is in none of torch, torchvision"),
        ("builtins.eval", {}, "add builtins to base.allow_targets if you trust it"),
        ("torchevil.Loss", {}, "torchevil.Loss is in none of"),
        ("torch.os.system", {}, "torch.os.system leaves torch"),
        ("torch.sys.exit", {}, "torch.sys.exit leaves torch"),
        ("torch.load", {"f": "x"}, "torch.load cannot be used here; name a subclass of Module"),
        ("torch.hub.load", {}, "torch.hub.load cannot be used here"),
        ("torch.hub.os.system", {}, "leaves torch"),
        ("torch.nn.Module.__init__.__globals__", {}, "has no __init__"),
        ("torch.optim.sgd.torch.load", {}, "cannot be used here"),
        ("torch.optim.SGD", {}, "torch.optim.SGD cannot be used here; name a subclass of Module"),
        ("torch.nn.CrossEntropyLos", {}, "torch.nn has no CrossEntropyLos; did you mean 'CrossEntropyLoss'?"),
        ("torch.nnn.CrossEntropyLoss", {}, "torch has no nnn; did you mean"),
        ("plugins.nothing.Loss", {}, "plugins has no nothing"),
        (
            "torch.nn.CrossEntropyLoss",
            {"label_smooth": 1},
            "train.loss.label_smooth: torch.nn.CrossEntropyLoss takes no such argument",
        ),
        ("torch.nn.CrossEntropyLoss", {"label_smooth": 1}, "did you mean 'label_smoothing'?"),
        ("torch.nn.Linear", {}, "missing a required argument: 'in_features'; add it beside _target_"),
        ("torch.nn.Linear", {"in_features": "x", "out_features": 2}, "torch.nn.Linear refuses its arguments"),
    ],
)
def test_what_is_refused_and_how(path: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        MODULES.build(target(path, **arguments))
    assert message in str(caught.value)


def test_other_packages_need_permission(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys.py").write_text("from torch import nn\nclass Loss(nn.MSELoss): pass\ndef make(): return Loss()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"add somebodys to base.allow_targets"):
        MODULES.build(target("somebodys.Loss"))
    assert "somebodys" not in sys.modules
    allowed = Builder("train.loss", (nn.Module,), allow=["somebodys"])
    assert isinstance(allowed.build(target("somebodys.Loss")), nn.MSELoss)
    assert isinstance(allowed.build(target("somebodys.make")), nn.MSELoss)
