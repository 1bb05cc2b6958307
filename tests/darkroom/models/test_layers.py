"""What is frozen does not move, and every layer learns at the rate that it was given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.models.builtin.small_cnn import SmallCNN
from darkroom.models.layers import Frozen, network_layers
from darkroom.objective.optimizers import make_optimizer, parameter_groups
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan
from darkroom.transfer.trainable import build_model

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "train.epochs": 2, "hardware.accelerator": "cpu"}


def make_resnet() -> nn.Module:
    network: nn.Module = timm.create_model("resnet10t", num_classes=3)
    return network


@pytest.mark.parametrize(
    "make", [make_resnet, lambda: SmallCNN(3, 1, width=4), lambda: torchvision.models.resnet18(num_classes=3), lambda: timm.create_model("vit_tiny_patch16_224", num_classes=3)]
)  # fmt: skip
def test_every_parameter_is_in_one_layer_and_the_head_is_the_last(make: Callable[[], nn.Module]) -> None:
    network = make()
    layers = network_layers(network)
    names = [name for layer in layers for name, _ in layer]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())
    assert {len(value) for _, value in layers[-1]} == {3}
    assert len(layers) > 3


def test_convolution_and_normalisation_are_one_layer() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Linear(2, 3))
    assert [[name for name, _ in layer] for layer in network_layers(network)] == [
        ["0.weight", "0.bias", "1.weight", "1.bias"],
        ["3.weight", "3.bias"],
        ["4.weight", "4.bias"],
    ]


def train(params: Params, data: Any, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights before and after."""
    rows = data.split.rows
    split = Split(data.split.classes, {"train": rows["train"][:128], "val": rows["val"][:40], "test": rows["test"]}, "")
    store, plan = StateStore(folder, {}), make_plan(params, data.pack, split.rows["train"])
    before = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    with store.held():
        fit(plan, split, store)
    return before, plan.classifier.network.state_dict()


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    ("freeze", "count"),
    [pytest.param(0.0, 0, marks=pytest.mark.thorough), (0.5, 2), pytest.param(1.0, 5, marks=pytest.mark.thorough), (True, 5)],
)
def test_frozen_layers_and_their_statistics_do_not_move(
    freeze: bool | float, count: int, make_params: Callable[..., Params], digits: Any, tmp_path: Path
) -> None:
    model = {"provider": "timm", "name": "resnet10t", "pretrained": False, "kwargs": {}}
    params = make_params(SMALL | {"train.model": model, "train.image_size": 32, "train.freeze": freeze, "train.epochs": 1})
    before, after = train(params, digits, tmp_path)
    layers = network_layers(make_resnet())
    assert len(layers) == 6
    frozen = {f"network.{name.rpartition('.')[0]}." for layer in layers[:count] for name, _ in layer}
    changed = moved(before, after)
    assert not [name for name in changed if name.startswith(tuple(frozen))] or not frozen
    assert {f"network.{name}" for layer in layers[count:] for name, _ in layer} <= changed
    assert any("running_mean" in name for name in changed) == (count < 5)


def test_frozen_layers_thaw_when_it_is_time(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    changes = SMALL | {"train.freeze": True, "train.scheduler": None}
    before, after = train(make_params(changes | {"train.unfreeze_epoch": 2}), digits, tmp_path / "never")
    head = {f"network.{name}" for name, _ in network_layers(SmallCNN(10, 1, width=4, stages=2))[-1]}
    assert moved(before, after) == head
    before, after = train(make_params(changes | {"train.unfreeze_epoch": 1}), digits, tmp_path / "later")
    assert moved(before, after) > head


def test_a_frozen_module_drops_nothing_out() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Dropout()), nn.Linear(2, 3))
    frozen = Frozen(network.train(), freeze=True)
    frozen.set(frozen=True)
    assert [module.training for module in network.modules()] == [True, False, False, False, False, True]
    frozen.set(frozen=False)
    assert all(module.training for module in network.modules())


RESNET = {"provider": "timm", "name": "resnet10t", "pretrained": False, "kwargs": {}}
FROZEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "modules": ({"train.freeze": ["conv1", "layer1"]}, ["conv1", "layer1"]),
    "a pattern": ({"train.freeze": ["layer[12].*"]}, ["layer1", "layer2"]),
    "a parameter": ({"train.freeze": ["fc.weight", "bn1"]}, ["bn1", "fc.weight"]),
    "a rate of 0": ({"train.lr_factors": {"^(conv1|bn1)\\.": 0.0, "fc": 0.5}}, ["conv1", "bn1"]),
    "both": ({"train.freeze": ["layer1"], "train.lr_factors": {"^bn1": 0.0}, "train.unfreeze_epoch": 9}, ["bn1", "layer1"]),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen_by_name_does_not_move_and_is_recorded(
    name: str, make_params: Callable[..., Params], digits: Any, tmp_path: Path
) -> None:
    """Nor do its normalisation statistics; what is frozen and how much is trained is printed, and recorded in model.json."""
    changes, frozen = FROZEN[name]
    params = make_params(SMALL | {"train.model": RESNET, "train.image_size": 32, "train.epochs": 1} | changes)
    before, after = train(params, digits, tmp_path)
    prefixes = tuple(f"network.{each}" for each in frozen)
    expected = {each for each in before if not each.startswith(("mean", "std", *prefixes))}
    assert moved(before, after) == expected
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    assert sorted(plan.about["frozen"]) == sorted(frozen)
    num_trained = sum(value.numel() for each, value in plan.model.network.named_parameters() if each in expected)
    assert plan.about["size"]["trained"] == num_trained < plan.about["size"]["parameters"]
    until = " for 9 epochs" if name == "both" else ""
    assert f"frozen{until}: {', '.join(plan.about['frozen'])}" in plan.lines()


def test_a_rate_of_0_is_for_ever(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    """`unfreeze_epoch` is about `freeze`."""
    factors = {"train.lr_factors": {"features.0": 0.0}, "train.unfreeze_epoch": 1, "train.freeze": True}
    before, after = train(make_params(SMALL | factors | {"train.scheduler": None}), digits, tmp_path)
    still = {name for name in before if name.startswith("network.features.0.")}
    assert len(still) > 0
    assert moved(before, after) & still == set()
    assert any(name.startswith("network.features.") for name in moved(before, after))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.freeze": ["layer7"]}, "train.freeze: 'layer7' matches no module and no parameter; did you mean 'layer"),
        (
            {"train.freeze": ["conv1", "body"]},
            "'body' matches no module and no parameter; the outermost are conv1, bn1, layer1, ",
        ),
        ({"train.freeze": ["*"]}, "every parameter is frozen, so nothing would be trained; leave out the head, fc"),
        ({"train.freeze": True, "train.lr_factors": {"fc": 0.0}}, "every parameter is frozen, so nothing would be trained"),
        ({"train.freeze": "stem"}, 'train.freeze: is "stem", but should be a valid boolean or a valid number or a valid list'),
    ],
)
def test_names_that_cannot_be_frozen(make_params: Callable[..., Params], digits: Any, changes: Any, message: str) -> None:
    def build() -> None:
        params = make_params(SMALL | {"train.model": RESNET, "train.image_size": 32} | changes)
        build_model(params, digits.pack, digits.split.rows["train"])

    with pytest.raises(InputError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("freeze", "is_said"), [(True, True), (["features.0"], True), (0.0, False)])
def test_layers_frozen_with_random_weights_are_said(
    make_params: Callable[..., Params], digits: Any, capsys: pytest.CaptureFixture[str], freeze: Any, is_said: bool
) -> None:
    build_model(make_params(SMALL | {"train.freeze": freeze}), digits.pack, digits.split.rows["train"])
    assert ("train.freeze: freezes layers with random weights; set train.model.pretrained" in capsys.readouterr().err) == is_said


def test_a_fraction_that_freezes_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Frozen(SmallCNN(3, 1, width=4, stages=2), freeze=0.01)
    assert "train.freeze: 0.01 of " in capsys.readouterr().err


def test_rates_by_layer_by_name_and_no_decay_of_what_has_one_dimension(make_params: Callable[..., Params]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, bias=False), nn.Linear(2, 3))
    changes = {"train.layer_decay": 0.5, "train.lr_factors": {"^0": 0.1}, "train.decay_norm_and_bias": False}
    groups = parameter_groups(network, make_params(changes).train, 0.8)
    of = {id(value): group for group in groups for value in group["params"]}
    found = {name: (of[id(value)]["lr"], of[id(value)].get("weight_decay")) for name, value in network.named_parameters()}
    assert found == {
        "0.weight": (pytest.approx(0.8 * 0.25 * 0.1), None),
        "0.bias": (pytest.approx(0.8 * 0.25 * 0.1), 0.0),
        "1.weight": (pytest.approx(0.8 * 0.25), 0.0),
        "1.bias": (pytest.approx(0.8 * 0.25), 0.0),
        "2.weight": (pytest.approx(0.8 * 0.5), None),
        "3.weight": (pytest.approx(0.8), None),
        "3.bias": (pytest.approx(0.8), 0.0),
    }


def test_a_step_moves_each_layer_by_its_own_rate(make_params: Callable[..., Params]) -> None:
    params = make_params({"train.layer_decay": 0.5, "train.lr": 0.1, "train.optimizer": "SGD"})
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    optimizer = make_optimizer(params, nn.ModuleDict({"network": network}).requires_grad_())  # type: ignore[arg-type]
    before = [value.detach().clone() for value in network.parameters()]
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    steps = [float(old - new) for old, new in zip(before, network.parameters(), strict=True)]
    assert steps == pytest.approx([0.05, 0.1])


def test_a_pattern_that_names_nothing(make_params: Callable[..., Params]) -> None:
    with pytest.raises(InputError, match=r"train\.lr_factors: 'stern' matches no parameter; they are 0\.weight, …, 0\.bias"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), make_params({"train.lr_factors": {"stern": 0.1}}).train, 0.1)


@pytest.mark.parametrize("name", ["Lamb", "Lion", "timm.optim.Muon", "AdamW", "SGD", "RMSprop", "NAdam"])
def test_optimizers_of_torch_and_timm_learn(name: str, make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    before, after = train(make_params(SMALL | {"train.optimizer": name, "train.epochs": 1}), digits, tmp_path)
    assert moved(before, after)
