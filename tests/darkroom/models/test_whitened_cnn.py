"""The first layer whitens the training images, stays as it is, and goes with the model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.models.builtin.whitened_cnn import WhitenedCNN
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
CHANGES = {
    "train.model": {"provider": "builtin", "name": "whitened_cnn", "pretrained": False, "kwargs": {"widths": [8, 8]}},
    "hardware.accelerator": "cpu",
    "hardware.num_workers": 0,
}


@pytest.mark.parametrize(("patch", "stride"), [(2, 1), (3, 3)])
def test_outputs_are_uncorrelated_with_variance_one(patch: int, stride: int) -> None:
    torch.manual_seed(0)
    # Neighbours are alike, and so are colours, as in photos.
    images = functional.avg_pool2d(torch.randn(200 * stride**2, 3, 20, 20), 3, stride=1) * torch.tensor([1.0, 2.0, 3.0]).view(
        1, 3, 1, 1
    )
    images = images + images.mean(1, keepdim=True)
    images = 3 * (images - images.mean()) / images.std()
    network = WhitenedCNN(2, 3, widths=[4, 4], patch=patch, stride=stride)
    network.fit_to(images)
    outputs = network.whiten(images)
    assert outputs.shape[2] == (18 - patch) // stride + 1
    outputs = outputs.transpose(0, 1).flatten(1)  # filters, patches
    num = 3 * patch**2
    half = outputs[:num]
    torch.testing.assert_close(outputs[num:], -half)
    torch.testing.assert_close(half @ half.T / half.shape[1], torch.eye(num), atol=0.03, rtol=0)


def test_convolutions_begin_as_the_identity() -> None:
    block = WhitenedCNN(2, 3, widths=[24]).blocks[0]
    images = torch.randn(2, 24, 6, 6)
    torch.testing.assert_close(block.first(images), images)


def test_it_is_set_from_training_images_and_stays(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    params = make_params(CHANGES | {"train.epochs": 1})
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    before = plan.classifier.network.state_dict()["network.whiten.filters"].clone()
    assert torch.equal(before[:4], -before[4:])
    store = StateStore(tmp_path, {})
    with store.held():
        best = fit(plan, digits.split, store)
    assert torch.equal(best.weights["network.whiten.filters"], before)
    assert not torch.equal(best.weights["network.whiten.bias"], torch.zeros(8))
    others = digits.split.rows["val"]
    of_others = make_plan(params, digits.pack, others).classifier.network.state_dict()["network.whiten.filters"]
    assert not torch.equal(of_others, before)


WIDTHS = [[], [8, 0], [4] * 9, [1 << 40], [4] * (1 << 20), [4.0], ["4"], 8]
STEMS = [{"patch": 1}, {"patch": 1 << 40}, {"patch": 9}, {"stride": 0}, {"stride": 1.5}, {"stride": 8}]


@pytest.mark.parametrize("kwargs", [*({"widths": widths} for widths in WIDTHS), *STEMS])
def test_what_cannot_be_built(kwargs: dict[str, Any], make_params: Callable[..., Params], digits: Any) -> None:
    params = make_params(CHANGES | {"train.model.kwargs": kwargs})
    with pytest.raises(InputError, match=r"train\.model") as caught:
        make_plan(params, digits.pack, digits.split.rows["train"])
    assert "\n" not in str(caught.value)


def test_what_is_thawed_are_not_the_filters(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    changes = {"train.epochs": 2, "train.freeze": True, "train.unfreeze_epoch": 1, "train.monitor": "val/loss"}
    plan = make_plan(make_params(CHANGES | changes), digits.pack, digits.split.rows["train"])
    before = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    store = StateStore(tmp_path, {})
    with store.held():
        best = fit(plan, digits.split, store)
    assert best.epoch == 2
    assert torch.equal(best.weights["network.whiten.filters"], before["network.whiten.filters"])
    for name in ("whiten.bias", "blocks.0.first.weight", "blocks.0.first_norm.bias"):
        assert not torch.equal(best.weights[f"network.{name}"], before[f"network.{name}"])
    assert not any("norm.weight" in name for name in before)
