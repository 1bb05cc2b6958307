"""`train.fit_head`: epoch 1 is a logistic regression, which later epochs train on from, and which is published if they do not pay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import Stop, assert_equal, run
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.models.preprocessing import Preprocessing
from darkroom.models.probe_network import make_probe
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan
from darkroom.transfer.logistic_head import fit_logistic

pytestmark = pytest.mark.filterwarnings("ignore")
FITTED = {
    "train.model.kwargs": {"width": 8, "stages": 2, "dropout": 0.0},
    "train.fit_head": "logistic_regression",
    "train.freeze": True,
    "train.augment": [],
    "train.epochs": 1,
    "train.batch_size": 16,
    "hardware.accelerator": "cpu",
    "hardware.num_workers": 0,
}


@pytest.fixture
def few(digits: Any) -> Split:
    rows = digits.split.rows
    return Split(digits.split.classes, {"train": rows["train"][:96], "val": rows["val"][:40], "test": rows["test"][:20]}, "")


def trained(params: Params, data: Any, split: Split, folder: Path) -> tuple[Plan, KeepBest, dict[str, list[list[float]]]]:
    """Return the plan, the best epochs, and by name the rows (epoch, value) of the log."""
    plan, store = make_plan(params, data.pack, split.rows["train"]), StateStore(folder, {})
    with store.held():
        best = fit(plan, split, store)
    tables = (store.log_dir / "plots" / "metrics").rglob("*.tsv")
    return plan, best, {f"{path.parent.name}/{path.stem}": [list(map(float, line.split())) for line in path.read_text().splitlines()[1:]] for path in tables}  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize("cached", [True, False])
def test_the_only_epoch_is_the_solution(
    cached: bool, make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path, capsys: Any
) -> None:
    plan, best, log = trained(make_params(FITTED | {"train.cache_features": cached}), digits, few, tmp_path)
    network = plan.classifier.network.eval()
    rows = few.rows["train"]
    images = torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = network.features(images).numpy()
    scale = np.sqrt(np.mean((features**2).sum(1)))
    head = fit_logistic(features / scale, digits.pack.labels[rows], num_classes=10, seed=plan.params.base.seed)
    network.load_state_dict(best.weights)
    with torch.no_grad():
        found = network(images).softmax(1).numpy()
    np.testing.assert_allclose(found, head.probabilities((features / scale).astype(np.float32)), atol=0.05)
    assert (best.epoch, best.name) == (1, "epoch 1")
    assert log["val/accuracy"] == [[1.0, best.score]]
    assert best.score > 0.5
    lines = capsys.readouterr().out.splitlines()
    assert f"train: the last layer is a logistic regression on 16 features of 96 images, of strength {head.strength:g}" in lines
    assert sum(line.startswith("epoch 1/1  val/loss ") for line in lines) == 1


def test_later_epochs_train_on_and_what_does_not_pay_is_not_published(
    make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path
) -> None:
    changes = FITTED | {"train.epochs": 3, "train.scheduler": None, "train.optimizer": "torch.optim.SGD"}
    _, _, log = trained(make_params(changes | {"train.lr": 1e-6}), digits, few, tmp_path / "low")
    assert [epoch for epoch, _ in log["val/accuracy"]] == [1, 2, 3]
    assert [epoch for epoch, _ in log["train/loss"]] == [2, 3]
    first = log["val/loss"][0][1]
    assert [value for _, value in log["val/loss"]] == pytest.approx([first] * 3, rel=0.01)  # not those of a new layer
    _, spoiled, log = trained(make_params(changes | {"train.lr": 5.0, "train.freeze": 0.0}), digits, few, tmp_path / "high")
    assert [spoiled.epoch, spoiled.score] == log["val/accuracy"][0]
    assert max(value for _, value in log["val/accuracy"][1:]) < spoiled.score


def test_a_schedule_begins_after_it(make_params: Callable[..., Params], digits: Any, few: Split) -> None:
    plan = make_plan(make_params(FITTED | {"train.epochs": 3}), digits.pack, few.rows["train"])
    schedule = plan.objective.make_scheduler(plan.objective.make_optimizer(plan.classifier.network), 18)
    assert schedule is not None
    for _ in range(12):  # two epochs of six steps
        assert schedule.get_last_lr()[0] > 0
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.0, 0.0][: len(schedule.get_last_lr())], abs=1e-9)


@pytest.mark.sample(1)
@pytest.mark.parametrize("more", [{"train.ema": 0.9}, {"train.lora": {"rank": 2}, "train.freeze": 0.0}], ids=["ema", "lora"])
def test_the_published_network_has_the_head(
    more: dict[str, Any], make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path
) -> None:
    _, plain, _ = trained(make_params(FITTED), digits, few, tmp_path / "plain")
    _, best, log = trained(make_params(FITTED | {"train.epochs": 2, "train.lr": 1e-7} | more), digits, few, tmp_path / "more")
    assert log["val/accuracy"][0] == [1.0, pytest.approx(plain.score, abs=0.1)]  # adapters draw random numbers before the network
    assert best.score >= log["val/accuracy"][0][1]


def test_a_validation_within_epochs_is_logged_beside_it(
    make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path
) -> None:
    changes = FITTED | {"train.epochs": 2, "train.trainer": {"val_check_interval": 0.5}}
    _, best, log = trained(make_params(changes), digits, few, tmp_path)
    assert [epoch for epoch, _ in log["val/accuracy"]] == [1.0, 1.5, 2.0]
    assert best.measured(tmp_path / "none")["accuracy"] == best.score


@pytest.mark.thorough
def test_it_is_the_same_after_interruptions(make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path) -> None:
    params = make_params(FITTED | {"train.epochs": 3, "train.freeze": 0.5, "train.ema": 0.9, "train.keep_best": 2})
    expected = run(params, (digits, few), tmp_path / "whole", [None])
    stops = [
        Stop("asked", "validation", 1),
        Stop("killed", "validation", 2),
        Stop("asked", "step", 2),
        Stop("asked", "epoch", 1),
        Stop("killed", "step", 3),
        None,
    ]
    assert_equal(run(params, (digits, few), tmp_path / "chain", stops), expected)


def test_weights_of_classes_count(make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path) -> None:
    def share_of_three(number: int, more: dict[str, Any]) -> float:
        plan, best, _ = trained(make_params(FITTED | more), digits, few, tmp_path / str(number))
        network = plan.classifier.network.eval()
        network.load_state_dict(best.weights)
        images = torch.from_numpy(digits.pack.batch(few.rows["val"])).permute(0, 3, 1, 2)
        with torch.no_grad():
            return float(network(images).softmax(1)[:, 3].mean())

    plain = share_of_three(0, {})
    assert share_of_three(1, {"train.class_weights": {"3": 50.0}}) > plain
    assert share_of_three(2, {"train.sampler": "balanced"}) != plain


def test_a_network_with_one_output(make_params: Callable[..., Params], photos: Any, tmp_path: Path) -> None:
    changes = FITTED | {"train.task": "binary", "train.loss": "BCEWithLogitsLoss", "train.image_size": 16}
    for positive in ("red", "blue"):
        params = make_params(changes | {"train.positive_class": positive})
        _, best, _ = trained(params, photos, photos.split, tmp_path / positive)
        assert best.weights["network.head.weight"].shape[0] == 1
        assert best.score == 1.0


class Cosine(nn.Module):
    """A network whose last layer is not linear."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_classes, 8)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images).flatten(1)
        return logits


def test_what_it_cannot_fit_is_refused(make_params: Callable[..., Params], make_pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError, match=r"train\.fit_head"):
        make_params(FITTED | {"train.fit_head": "svm"})
    params = make_params(FITTED | {"train.loss": "BCEWithLogitsLoss"})
    pack = make_pack([([1, 0], "train", number) for number in range(4)], multilabel=True)
    told = r"^params\.yaml: train\.fit_head: chooses one class for each image, but these have any number of them; set it to null$"
    with pytest.raises(InputError, match=told):
        make_plan(params, pack, np.arange(4))
    seen = Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,))
    told = r"^params\.yaml: train\.fit_head: cannot be used with Cosine, .*; set it to null$"
    with pytest.raises(InputError, match=told):
        make_probe(Cosine(), seen, torch.zeros(2, 1, 8, 8, dtype=torch.uint8), params.train)


def test_what_has_no_effect_is_said(make_params: Callable[..., Params], capsys: Any) -> None:
    make_params(FITTED | {"train.mixup": 0.2, "train.ema": 0.9})
    said = "train.mixup, train.ema: no effect while train.fit_head is set and train.epochs is 1; raise train.epochs"
    assert said in capsys.readouterr().err
