"""Adapters are what is trained, and the plain network with what they have learnt is what is measured and published."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import CHANGES, Stop, assert_equal, few_of, run
from torch import nn

from darkroom.base.errors import InputError
from darkroom.base.params import Lora, Params
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.models.model_json import make_card
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import load_model, save_model
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan
from darkroom.transfer.lora import add_adapters

pytestmark = pytest.mark.filterwarnings("ignore")
VIT = {
    "provider": "timm",
    "name": "vit_tiny_patch16_224",
    "pretrained": False,
    "kwargs": {"img_size": 32, "patch_size": 8, "depth": 2},
}
RESNET = {"provider": "timm", "name": "resnet10t", "pretrained": False, "kwargs": {}}
CNN = {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4, "stages": 2, "dropout": 0.5}}
LORA = {"train.lora": {"rank": 2, "alpha": 8.0, "dropout": 0.1}}


@pytest.fixture
def few(digits: Any) -> Any:
    return few_of(digits)


@pytest.fixture
def plan(make_params: Callable[..., Params], few: Any) -> Callable[..., Plan]:
    def make(changes: dict[str, Any]) -> Plan:
        return make_plan(make_params(copy.deepcopy(CHANGES | {"train.lr": 0.05} | changes)), few[0].pack, few[1].rows["train"])

    return make


def trained(plan: Plan, few: Any, folder: Path) -> Any:
    store = StateStore(folder, {})
    with store.held():
        return fit(plan, few[1], store)


def shuffle_adapters(network: nn.Module) -> None:
    """Let adapters do something, which they do not before they have learnt."""
    for name, value in network.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.1)


def test_the_network_stays_and_adapters_and_head_learn(plan: Callable[..., Plan], few: Any, tmp_path: Path) -> None:
    made = plan(LORA)
    network = made.classifier.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    best = trained(made, few, tmp_path)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if ".lora_" in name or ".head." in name}
    assert len(moved) == 2 * 2 + 2
    plain = {name.replace(".base_layer.", "."): value for name, value in before.items() if ".lora_" not in name}
    assert set(best.weights) == set(plain)
    changed = {name for name, value in best.weights.items() if not torch.equal(value, plain[name])}
    assert changed == {name for name in plain if name.endswith(("features.0.weight", "features.4.weight")) or ".head." in name}


@pytest.mark.parametrize(("model", "size"), [(CNN, 8), (VIT, 32), (RESNET, 32)])
def test_the_merged_network_answers_as_the_adapted_one(plan: Callable[..., Plan], model: dict[str, Any], size: int) -> None:
    classifier = plan(LORA | {"train.model": model, "train.image_size": size}).classifier
    merged = classifier.objective.merged
    assert merged is not None
    images = torch.randint(0, 256, (8, 1, size, size), dtype=torch.uint8)
    classifier.eval()
    with torch.no_grad():
        plain = classifier.network(images)
        merged.merge(classifier.network)
        assert torch.equal(merged.network(images), plain)
        shuffle_adapters(classifier.network)
        merged.merge(classifier.network)
        adapted = classifier.network(images)
        assert torch.allclose(merged.network(images), adapted, atol=1e-5, rtol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3


def test_the_number_of_parameters_is_told(plan: Callable[..., Plan]) -> None:
    changes = {"train.model": VIT, "train.image_size": 32}
    whole, adapted = plan(changes).model.size, plan(changes | LORA).model.size
    assert (adapted.parameters, adapted.multiply_adds) == (whole.parameters, whole.multiply_adds)
    width, rank = 192, 2
    layers = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    of_blocks = 2 * sum(rank * (inputs + outputs) for inputs, outputs in layers)
    of_patches = rank * (8 * 8 + width)
    assert adapted.trained == of_blocks + of_patches + 10 * width + 10
    few_layers = plan(changes | {"train.lora": {"rank": 2, "targets": [r"attn\.qkv", "fc1$"]}}).model.size
    assert few_layers.trained == 2 * rank * (width + 3 * width + width + 4 * width) + 10 * width + 10


def test_the_published_model_knows_of_no_adapters(plan: Callable[..., Plan], few: Any, tmp_path: Path, make_params: Any) -> None:
    made = plan(LORA)
    best = trained(made, few, tmp_path / "states")
    (tmp_path / "models").mkdir()
    card = make_card(made.params, made.preprocessing, few[1].classes, {}, best, about=made.about)
    save_model(tmp_path / "models", best.weights, card)
    model = load_model(tmp_path / "models", make_params({}))
    assert model.card.packages["peft"]
    assert model.card.params["train"]["lora"] == {"rank": 2, "alpha": 8.0, "dropout": 0.1, "targets": None}
    rows = few[1].rows["val"]
    answers = predict_rows(Predictor(model, made.params.hardware), few[0].pack, rows, batch_size=16)
    right = (answers.argmax(1) == few[0].pack.labels[rows]).mean()
    assert right == pytest.approx(best.score)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=pytest.mark.thorough),
        {"train.ema": 0.8},
        {"train.swa": 0.4, "train.lr_factors": {"lora_B": 4.0}},
        pytest.param({"train.model": VIT, "train.image_size": 32}, marks=pytest.mark.thorough),
    ],
)
def test_chains_of_interruptions(make_params: Callable[..., Params], few: Any, tmp_path: Path, more: dict[str, Any]) -> None:
    params = make_params(copy.deepcopy(CHANGES | LORA | more))
    expected = run(params, few, tmp_path / "whole", [None])
    stops = [Stop("asked", "step", 3), Stop("killed", "epoch", 2), Stop("asked", "validation", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)


def test_the_average_of_adapters_is_published(plan: Callable[..., Plan], few: Any, tmp_path: Path) -> None:
    made = plan(LORA | {"train.ema": 0.8, "train.epochs": 1})
    best = trained(made, few, tmp_path)
    assert made.classifier.objective.average is not None
    assert made.classifier.objective.merged is not None
    made.classifier.objective.merged.merge(made.classifier.objective.average.network)
    assert all(
        torch.equal(value, best.weights[name]) for name, value in made.classifier.objective.merged.network.state_dict().items()
    )


class Odd(nn.Module):
    """Layers to which an adapter would not be what it is to others."""

    def __init__(self) -> None:
        super().__init__()
        self.usual = nn.Conv2d(1, 4, 3, padding=1)
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.circular = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.read = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.never = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.circular(self.grouped(self.dilated(self.usual(images)))).mean((2, 3))
        features = nn.functional.linear(features, self.read.weight, self.read.bias)[:, None]
        logits: torch.Tensor = self.head(self.attention(features, features, features)[0][:, 0])
        return logits


def test_layers_that_do_more_than_multiply_are_left_alone() -> None:
    network = Normalized(Odd(), Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.2,)))
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    merged, base = add_adapters(network, Lora(rank=2), images)
    adapted = {name for name, value in network.named_parameters() if ".lora_" in name}
    assert adapted == {f"network.usual.lora_{matrix}.default.weight" for matrix in "AB"}
    assert {id(value) for value in base} == {
        id(v) for n, v in network.named_parameters() if ".lora_" not in n and ".head." not in n
    }
    shuffle_adapters(network)
    merged.merge(network.eval())
    assert torch.allclose(merged.network(images), network(images), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.lora": {"targets": ["atn"]}}, "train.lora.targets: 'atn' matches no layer that can be adapted; they are features.0, …, features.4"),
        ({"train.lora": {"targets": ["head"]}}, "train.lora.targets: 'head' matches no layer"),
        ({"train.lora": {"targets": ["("]}}, "train.lora.targets.0: '(' is not a regular expression ("),
        ({"train.lora": {"targets": []}}, "train.lora.targets: "),
        ({"train.lora": {"rank": 0}}, "train.lora.rank: is 0, but should be"),
        ({"train.lora": {"ranks": 3}}, "train.lora.ranks: unknown key; did you mean 'rank'?"),
        ({"train.lora": {}, "train.freeze": 0.5}, "train.lora and train.freeze: cannot be combined, because adapters freeze all layers"),
        ({"train.lora": {}, "train.layer_decay": 0.5}, "train.lora and train.layer_decay: cannot be combined, because adapters"),
        ({"train.lora": {}, "train.model": {"_target_": "torch.nn.Flatten"}}, "train.model: returns (2, 64), not logits (2, 10)"),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_one_line(plan: Callable[..., Plan], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(changes)
    assert message in str(caught.value)


def test_a_network_without_layers_before_its_head() -> None:
    network = Normalized(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.2,))
    )
    with pytest.raises(
        InputError, match=r"train\.lora: train\.model has no linear layer or convolution before its head to adapt"
    ):
        add_adapters(network, Lora(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_without_the_package(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"train\.lora: needs a package .*; run 'pip install -c requirements-dev\.txt peft'"):
        plan(LORA)


def test_a_network_from_scratch_is_warned_of(make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    make_params(LORA)
    assert "train.lora: freezes layers with random weights" in capsys.readouterr().err
