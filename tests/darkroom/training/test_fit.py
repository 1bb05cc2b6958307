"""Training learns, publishes its best epoch, and gives the same bits twice; what cannot work fails before it starts."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

# Lightning speaks of few workers and short epochs to whoever listens; these are for the person at the terminal, not for tests.
pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 8, "stages": 2}, "train.epochs": 2, "hardware.accelerator": "cpu"}


def train(params: Params, data: Any, folder: Path, split: Split | None = None) -> KeepBest:
    split = split or data.split
    store = StateStore(folder, {})
    with store.held():
        return fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def log_of(folder: Path) -> Path:
    return StateStore(folder, {}).log_dir


def test_it_learns_32_images_by_heart(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    rows = digits.split.rows["train"][:32]
    split = Split(digits.split.classes, {"train": rows, "val": rows, "test": rows}, "")
    params = make_params(SMALL | {"train.model.kwargs": {}, "train.epochs": 60, "train.batch_size": 16, "train.augment": []})
    assert train(params, digits, tmp_path, split).score == 1.0


def test_the_same_seed_gives_the_same_bits(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    first = train(make_params(SMALL), digits, tmp_path / "first")
    torch.rand(3)
    second = train(make_params(SMALL), digits, tmp_path / "second")
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
    logs = [log_of(tmp_path / "first"), log_of(tmp_path / "second")]
    names = [path.relative_to(logs[0]) for path in logs[0].rglob("*") if path.is_file()]
    assert len(names) >= 7
    assert all((logs[0] / name).read_bytes() == (logs[1] / name).read_bytes() for name in names)
    other = train(make_params({"base.seed": 1}), digits, tmp_path / "third")
    assert not all(torch.equal(value, other.weights[name]) for name, value in first.weights.items())


@pytest.mark.parametrize("data", [pytest.param("digits", marks=pytest.mark.thorough), "photos"])
def test_held_images_give_the_same_bits(
    make_params: Callable[..., Params], request: Any, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    augment = [{"_target_": name} for name in ("AlternatingFlip", "RandomColor")]
    changes = {"train.augment": augment, "train.image_size": 12, "train.epochs": 3}
    read, held = (
        train(make_params(SMALL | changes | {"hardware.cache_images": hold}), request.getfixturevalue(data), tmp_path / str(hold))
        for hold in (False, True)
    )
    assert all(torch.equal(value, held.weights[name]) for name, value in read.weights.items())
    assert "cached on cpu" in capsys.readouterr().out


def test_the_best_epoch_is_kept_not_the_last(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    # A rate that grows twentyfold every epoch: the first epochs are the good ones.
    scheduler = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 20.0}
    params = make_params(SMALL | {"train.epochs": 4, "train.lr": 0.003, "train.scheduler": scheduler, "train.gradient_clip": 1.0})
    best = train(params, digits, tmp_path)
    table = (log_of(tmp_path) / "plots/metrics/val/accuracy.tsv").read_text().splitlines()[1:]
    history = [float(line.split("\t")[1]) for line in table]
    assert best.score == max(history)
    assert best.epoch == history.index(max(history)) + 1 < 4


def test_early_stopping_stops(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    params = make_params(
        SMALL | {"train.epochs": 50, "train.lr": 1e-9, "train.early_stopping": {"patience": 2, "min_delta": 0.5}}
    )
    train(params, digits, tmp_path)
    assert len((log_of(tmp_path) / "plots/metrics/val/accuracy.tsv").read_text().splitlines()) == 1 + 3


def test_a_fast_dev_run_publishes_after_one_batch(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    assert train(make_params(SMALL | {"train.trainer": {"fast_dev_run": True}}), digits, tmp_path / "log").epoch == 1
    assert log_of(tmp_path / "log").is_dir()


def test_one_line_per_epoch_where_there_is_no_terminal(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_params(SMALL), digits, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].partition(":")[0] for line in lines] == ["train", "epoch 1/2", "epoch 2/2"]
    metrics = json.loads((log_of(tmp_path) / "metrics.json").read_text())
    assert f"train/loss {metrics['train']['loss']:.4f}  val/loss {metrics['val']['loss']:.4f}" in lines[-1]
    assert lines[-1].endswith("images/s")


def test_photos_of_many_sizes_are_learnt(make_params: Callable[..., Params], photos: Any, tmp_path: Path) -> None:
    augment = [{"_target_": "torchvision.transforms.v2.RandomResizedCrop", "size": 16}]
    params = make_params(SMALL | {"train.image_size": 16, "train.epochs": 6, "train.augment": augment, "train.batch_size": 8})
    best = train(params, photos, tmp_path)
    assert best.score == 1.0


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
def test_a_loss_that_explodes_is_never_best(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monitor: str
) -> None:
    optimizer = {"_target_": "torch.optim.SGD"}
    with pytest.raises(RunError, match=r"/loss: is nan in epoch 1 \(step 20\); lower train.lr"):
        train(make_params(SMALL | {"train.lr": 1e30, "train.optimizer": optimizer, "train.monitor": monitor}), digits, tmp_path)


def test_a_training_without_a_whole_epoch_says_so(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended before val/accuracy was measured once; let train.trainer allow"):
        train(make_params(SMALL | {"train.trainer": {"max_steps": 2}}), digits, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.trainer": {"limit_val_batches": 0}},
            "train.trainer.limit_val_batches: is 0, but should be greater than",
        ),
        ({"train.trainer": {"max_epochs": 3}}, "train.trainer.max_epochs: cannot be set here; set train.epochs"),
        ({"train.trainer": {"callbacks": []}}, "train.trainer.callbacks: cannot be set here; set train.callbacks"),
        (
            {"train.trainer": {"max_tim": 3}},
            "train.trainer.max_tim: Lightning's Trainer takes no such argument; did you mean 'max_time'?",
        ),
        (
            {"train.loss": {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}},
            "train.loss: does not return one number",
        ),
        ({"train.loss": {"_target_": "torch.nn.MSELoss"}}, "train.loss: does not take (logits, labels)"),
        ({"train.scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR"}}, "missing a required argument: 'step_size'"),
        (
            {"train.scheduler": {"_target_": "torch.optim.SGD"}},
            "train.scheduler._target_: torch.optim.SGD cannot be used here; name a subclass of LRScheduler",
        ),
        ({"train.augment": [{"_target_": "torch.optim.SGD"}]}, "train.augment._target_: torch.optim.SGD cannot be used here"),
        ({"hardware.accelerator": "cuda"}, "hardware.accelerator: is cuda, but this machine has none; set it to auto or cpu"),
        ({"train.precision": "16-mixed"}, "train.precision: is 16-mixed, which cpu does not support here"),
        ({"train.trainer": {"limit_train_batches": -3}}, "train.trainer.limit_train_batches: is -3, but should be"),
        (
            {
                "train.image_sizes": {0: 8, 1: 6},
                "train.augment": [
                    {"_target_": "darkroom.input.augment.RandomFlip"},
                    {"_target_": "torchvision.transforms.v2.RandomCrop", "size": 8},
                ],
            },
            "train.augment: RandomCrop fails on an image (ValueError: Required crop size",
        ),
        ({"hardware.strategy": "dpp"}, "hardware.strategy: Lightning has no 'dpp'; did you mean 'ddp'?"),
        (
            {"hardware.strategy": "fsdp", "hardware.devices": 2, "train.processes": 2},
            "hardware.strategy: is fsdp, which divides the model among processes",
        ),
        ({"hardware.strategy": "deepspeed_stage_2"}, "hardware.strategy: is deepspeed_stage_2, which divides the model"),
        (
            {"hardware.strategy": "ddp_spawn", "hardware.devices": 2, "train.processes": 2},
            "hardware.strategy: is ddp_spawn, which divides the model",
        ),
        (
            {"hardware.num_nodes": 2, "train.processes": 2},
            "hardware.num_nodes: is 2, but the address of the other machines is not set",
        ),
        (
            {"train.augment": [{"_target_": "torchvision.transforms.v2.MixUp", "num_classes": 10}]},
            "train.augment: MixUp fails on an image (ValueError: ",
        ),
        (
            {"train.augment": [{"_target_": "albumentations.HorizontalFlip"}]},
            "train.augment._target_: albumentations.HorizontalFlip is in none of torch, torchvision, timm, torchmetrics, ",
        ),
        (
            {"base.allow_targets": ["albumentations"], "train.augment": [{"_target_": "albumentations.ToFloat"}]},
            "train.augment: ToFloat: is what the network does itself, for every image; delete it",
        ),
        (
            {"base.allow_targets": ["albumentations"], "train.augment": [{"_target_": "albumentations.Crop", "x_max": 9}]},
            "train.augment: Crop fails on an image (",
        ),
        ({"train.image_size": 2}, "train.model: does not take images of 2 pixels and 1 channel(s)"),
    ],
)
def test_what_cannot_work_is_one_line(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if torch.cuda.is_available() and changes.get("hardware.accelerator") == "cuda":
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError) as caught:
        train(make_params({"train.epochs": 1, "hardware.accelerator": "cpu"} | changes), digits, tmp_path)
    assert message in str(caught.value)


def test_too_large_a_batch_is_one_line(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    class Hungry(torch.nn.Module):
        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            rows = 1 << 50 if len(labels) > 2 else 1
            return torch.nn.functional.cross_entropy(logits, labels) + torch.empty(rows, dtype=torch.float64).sum()

    plan = make_plan(make_params(SMALL), digits.pack, digits.split.rows["train"])
    plan.classifier.objective = replace(plan.objective, loss=Hungry())
    store = StateStore(tmp_path, {})
    with (
        pytest.raises(RunError, match=r"train\.batch_size: 64 images do not fit in the device's memory; lower it"),
        store.held(),
    ):
        fit(plan, digits.split, store)


class DyingAugmentation(torch.nn.Module):
    """Ends, or stops, the process that reads images, as the system does when memory runs out or a disk hangs."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the image in the main process."""
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), self.number)
        return image


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "hardware.num_workers: a worker process died (DataLoader worker (pid"),
        (signal.SIGSTOP, "hardware.worker_timeout_seconds: the readers made no batch for 2 s; raise it, or set"),
    ],
)
def test_reading_processes_that_die_or_hang(
    make_params: Callable[..., Params],
    digits: Any,
    tmp_path: Path,
    number: signal.Signals,
    message: str,
) -> None:
    params = make_params(SMALL | {"hardware.num_workers": 1, "hardware.worker_timeout_seconds": 2.0})
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    plan.images.transforms.append(DyingAugmentation(number))
    store = StateStore(tmp_path, {})
    with pytest.raises(RunError) as caught, store.held():
        fit(plan, digits.split, store)
    assert message in str(caught.value)
    for process in multiprocessing.active_children():
        process.kill()
        # Torch's handler reports the death here, rather than in the middle of the next test.
        with suppress(RuntimeError):
            process.join()


def test_every_schedule_of_the_readme_can_be_built(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    for scheduler in (
        {"_target_": "torch.optim.lr_scheduler.OneCycleLR"},
        {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"},
        {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 1},
        None,
    ):
        assert train(make_params(SMALL | {"train.epochs": 1, "train.scheduler": scheduler}), digits, tmp_path).epoch == 1


def test_the_network_sees_equal_squares_as_they_are(make_params: Callable[..., Params], digits: Any, photos: Any) -> None:
    model = {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4}}
    sizes = [
        make_plan(make_params({"train.model": model}), data.pack, data.split.rows["train"]).preprocessing.image_size
        for data in (digits, photos)
    ]
    assert sizes == [8, 224]


def test_normalisation_is_measured_on_training_images_only(make_params: Callable[..., Params], digits: Any) -> None:
    rows = digits.split.rows["train"]
    preprocessing = make_plan(make_params(SMALL), digits.pack, rows).preprocessing
    pixels = digits.pack.batch(rows) / 255
    assert preprocessing.mean == pytest.approx((pixels.mean(),))
    assert preprocessing.std == pytest.approx((pixels.std(),))
    assert (preprocessing.image_size, preprocessing.channels) == (8, 1)


def test_what_is_measured_later_is_what_was_best(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    from darkroom.models.model_json import data_hashes, make_card
    from darkroom.models.saving import load_model, save_model

    params = make_params(SMALL | {"train.epochs": 3})
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    best = train(params, digits, tmp_path / "log")
    hashes = data_hashes(digits.raw, digits.split)
    save_model(tmp_path, best.weights, make_card(params, plan.preprocessing, digits.split.classes, hashes, best))
    model = load_model(tmp_path, params)
    model.check_data(data_hashes(digits.raw, digits.split))
    rows = digits.split.rows["val"]
    probabilities = predict_rows(Predictor(model, params.hardware), digits.pack, rows, batch_size=50)
    assert np.mean(probabilities.argmax(1) == digits.pack.labels[rows]) == pytest.approx(best.score)
    with pytest.raises(InputError, match=r"was trained on another data/split; run 'dvc repro'"):
        model.check_data(data_hashes(digits.raw, digits.split) | {"split": "0" * 64})
