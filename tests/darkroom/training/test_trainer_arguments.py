"""Every argument of Lightning's Trainer is passed on, and then does what it says, or is refused with what to do instead."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import BatchNorm2d

from darkroom.base.errors import MAIN_PROCESS, InputError
from darkroom.base.params import NOT_PASSED_ON, Params, TrainerArguments
from darkroom.data.split_file import Split
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.classifier import Classifier
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan
from darkroom.training.trainer import check_trainer_arguments, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL: dict[str, Any] = {
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.epochs": 3,
    "hardware.accelerator": "cpu",
    "hardware.watch": False,
}
FOUR = {"limit_train_batches": 4, "limit_val_batches": 1}
STOPS = {"train.lr": 1e-9, "train.early_stopping": {"patience": 1, "min_delta": 0.5}, "train.epochs": 6}


class Seen:
    """What a training did: (epoch, batch) trained on, optimizer steps, validations after (epoch, batches), flags of torch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.batches: list[tuple[int, int]] = []
        self.validated: list[int] = []
        self.labels: list[int] = []
        self.flags: dict[str, Any] = {}
        self.steps = 0
        self.best: KeepBest | None = None
        training, validation = Classifier.training_step, Classifier.validation_step

        def training_step(module: Classifier, batch: Any, batch_idx: int) -> Any:
            self.batches.append((module.current_epoch, batch_idx))
            self.flags["anomaly"] = torch.is_anomaly_enabled()
            self.flags["deterministic"] = torch.are_deterministic_algorithms_enabled()
            self.flags["benchmark"] = torch.backends.cudnn.benchmark
            return training(module, batch, batch_idx)

        def validation_step(module: Classifier, batch: Any, batch_idx: int) -> None:
            self.validated += [len(self.batches)] if batch_idx == 0 else []
            self.labels += batch["labels"].tolist()
            self.steps = module.global_step
            validation(module, batch, batch_idx)

        monkeypatch.setattr(Classifier, "training_step", training_step)
        monkeypatch.setattr(Classifier, "validation_step", validation_step)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # Lightning sets it for good

    @property
    def epochs(self) -> int:
        return self.batches[-1][0] + 1


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield Seen(monkeypatch)
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture(scope="module")
def without() -> dict[str, Seen]:
    """What trainings without the arguments did, by their other changes: one serves many rows."""
    return {}


def train(params: Params, data: Any, folder: Path, split: Split | None = None) -> KeepBest:
    split, store = split or data.split, StateStore(folder, {})
    with store.held():
        return fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def table(folder: Path, name: str) -> dict[str, str]:
    """Return a metric by the step at which it was logged, as DVCLive wrote them."""
    path = StateStore(folder, {}).log_dir / "plots" / "metrics" / f"{name}.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_every_argument_of_lightning_is_passed_on_or_refused() -> None:
    lightning = list(inspect.signature(pl.Trainer.__init__).parameters)[1:]
    assert sorted([*TrainerArguments.model_fields, *NOT_PASSED_ON]) == sorted(lightning)


@pytest.mark.parametrize("name", sorted(NOT_PASSED_ON))
def test_what_is_not_passed_on_says_what_to_do(make_params: Callable[..., Params], name: str) -> None:
    with pytest.raises(InputError) as told:
        make_params({"train.trainer": {name: 1}})
    assert str(told.value) == f"params.yaml: train.trainer.{name}: cannot be set here; {NOT_PASSED_ON[name]}"


# Arguments, further changes, and what is seen with them and without.
EFFECTS: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Seen], Any], Any, Any]] = {
    "accumulate_grad_batches": ({**FOUR, "accumulate_grad_batches": 2}, {}, lambda s: s.steps, 6, 12),
    "benchmark": ({**FOUR, "benchmark": True}, {}, lambda s: s.flags["benchmark"], True, False),
    "check_val_every_n_epoch": ({**FOUR, "check_val_every_n_epoch": 2}, {}, lambda s: s.validated, [8], [4, 8, 12]),
    "detect_anomaly": ({**FOUR, "detect_anomaly": True}, {}, lambda s: s.flags["anomaly"], True, False),
    "deterministic": ({**FOUR, "deterministic": True}, {}, lambda s: s.flags["deterministic"], True, False),
    "fast_dev_run": ({"fast_dev_run": 2}, {}, lambda s: (len(s.batches), len(s.labels)), (2, 128), (12, 192)),
    "limit_train_batches": ({"limit_train_batches": 0.5}, {}, lambda s: len(s.batches), 30, 12),
    "limit_val_batches": ({**FOUR, "limit_val_batches": 2}, {}, lambda s: len(s.labels), 3 * 128, 3 * 64),
    "max_steps": ({**FOUR, "max_steps": 6}, {}, lambda s: len(s.batches), 6, 12),
    "min_epochs": ({**FOUR, "min_epochs": 4}, STOPS, lambda s: s.epochs, 4, 2),
    "min_steps": ({**FOUR, "min_steps": 11}, STOPS, lambda s: s.epochs, 3, 2),
    "val_check_interval": ({**FOUR, "val_check_interval": 0.5}, {}, lambda s: s.validated, [2, 4, 6, 8, 10, 12], [4, 8, 12]),
}
TESTED_ELSEWHERE = {"gradient_clip_algorithm", "max_time", "sync_batchnorm"}


def test_the_effect_of_every_argument_is_tested() -> None:
    assert EFFECTS.keys() | TESTED_ELSEWHERE == TrainerArguments.model_fields.keys()


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", EFFECTS)
def test_an_argument_does_what_it_says(
    make_params: Callable[..., Params],
    digits: Any,
    tmp_path: Path,
    seen: Seen,
    without: dict[str, Seen],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    given, changes, look, expected, otherwise = EFFECTS[name]
    train(make_params({**SMALL, **changes, "train.trainer": given}), digits, tmp_path / "with")
    assert look(seen) == expected
    key = repr(changes)
    if key not in without:
        monkeypatch.undo()
        torch.use_deterministic_algorithms(mode=False)
        without[key] = Seen(monkeypatch)
        train(make_params({**SMALL, **changes, "train.trainer": FOUR}), digits, tmp_path / "without")
    assert look(without[key]) == otherwise


@pytest.mark.sample(1)
@pytest.mark.parametrize("time", ["00:00:00:02", {"seconds": 2}])
def test_a_training_ends_after_its_time(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, seen: Seen, time: Any
) -> None:
    changes = {"train.epochs": 100000, "train.early_stopping": None, "train.trainer": {**FOUR, "max_time": time}}
    assert train(make_params({**SMALL, **changes}), digits, tmp_path).epoch >= 1
    assert seen.epochs < 100000


def test_values_or_their_norm_are_clipped(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    changes = {"train.gradient_clip": 1e-3, "train.epochs": 1, "train.optimizer": {"_target_": "SGD"}}
    weights = [
        train(make_params({**SMALL, **changes, "train.trainer": {**FOUR, **given}}), digits, tmp_path / str(place)).weights
        for place, given in enumerate([{}, {"gradient_clip_algorithm": "norm"}, {"gradient_clip_algorithm": "value"}])
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())


def test_clipping_by_value_without_a_value_has_no_effect_and_says_so(
    make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    make_params({"train.trainer": {"gradient_clip_algorithm": "value"}})
    assert "gradient_clip_algorithm has no effect while train.gradient_clip is null" in capsys.readouterr().err


def test_batch_normalisation_over_gpus(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    """Refused where torch cannot do it; Lightning is asked for it where it can."""
    changes = {**SMALL, "train.trainer": {"sync_batchnorm": True}, "hardware.strategy": "ddp"}
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="sync_batchnorm: is true, but torch can do that on GPUs of NVIDIA alone"):
            train(make_params(changes), digits, tmp_path)
    trainer = make_trainer(make_params(changes), [], tmp_path)
    layers = trainer.strategy._layer_sync.apply(torch.nn.Sequential(BatchNorm2d(2)))  # type: ignore[attr-defined]
    assert isinstance(layers[0], torch.nn.SyncBatchNorm)


# When values are logged.


def test_validations_within_an_epoch_are_logged_where_they_were_measured(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path
) -> None:
    loggers = [{"_target_": "CSVLogger", "save_dir": str(tmp_path / "csv"), "name": "", "version": ""}]
    changes = {"train.epochs": 2, "train.trainer": {**FOUR, "val_check_interval": 0.25}, "train.loggers": loggers}
    params = make_params({**SMALL, **changes})
    plan, store = make_plan(params, digits.pack, digits.split.rows["train"]), StateStore(tmp_path / "states", {})
    with store.held():
        best = fit(plan, digits.split, store, logs=tmp_path / "logs")
    values = table(tmp_path / "states", "val/accuracy")
    assert list(values) == ["0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2"]
    assert list(table(tmp_path / "states", "train/loss")) == ["1", "2"]
    assert best.score == max(float(value) for value in values.values())
    assert best.measured(store.log_dir)["accuracy"] == best.score
    rows = [line.split(",") for line in (tmp_path / "csv" / "metrics.csv").read_text().splitlines()]
    place, step = rows[0].index("val/accuracy_step"), rows[0].index("step")
    assert [row[step] for row in rows[1:] if row[place]] == ["1", "2", "3", "5", "6", "7"]


def test_an_epoch_that_is_not_validated_leaves_a_gap(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_params({**SMALL, "train.trainer": {**FOUR, "check_val_every_n_epoch": 2}}), digits, tmp_path)
    assert list(table(tmp_path, "val/accuracy")) == ["2"]
    assert list(table(tmp_path, "train/loss")) == ["1", "2", "3"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert ["val/accuracy" in line for line in lines] == [False, True, False]
    assert all("train/loss" in line for line in lines)


def test_batches_can_be_counted_across_epochs(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    given = {**FOUR, "val_check_interval": 6, "check_val_every_n_epoch": None}
    train(make_params({**SMALL, "train.trainer": given}), digits, tmp_path)
    assert list(table(tmp_path, "val/accuracy")) == ["1.5", "3"]


def test_every_nth_step_is_logged(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    train(make_params({**SMALL, "train.log_every": 5, "train.trainer": FOUR}), digits, tmp_path)
    assert list(table(tmp_path, "train/loss_step")) == ["5", "10"]


# What a validation that is cut short sees.


@pytest.mark.parametrize("given", [{"limit_val_batches": 1}, {"limit_val_batches": 0.1}, {"fast_dev_run": 1}])
def test_a_validation_that_is_cut_short_sees_every_class(
    make_params: Callable[..., Params],
    digits: Any,
    tmp_path: Path,
    seen: Seen,
    given: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = digits.split.rows
    by_class = rows["val"][np.argsort(digits.pack.labels[rows["val"]], kind="stable")]
    split = Split(digits.split.classes, {**rows, "val": by_class}, "")
    changes = {"train.epochs": 1, "train.batch_size": 16, "train.trainer": {"limit_train_batches": 2, **given}}
    train(make_params({**SMALL, **changes}), digits, tmp_path, split)
    assert set(seen.labels) == set(range(10))
    assert len(seen.labels) == 16
    assert "warning" not in capsys.readouterr().err


def test_a_validation_of_one_class_is_named(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = digits.split.rows
    of_one = rows["val"][digits.pack.labels[rows["val"]] == 3]
    split = Split(digits.split.classes, {**rows, "val": of_one}, "")
    train(make_params({**SMALL, "train.epochs": 1, "train.trainer": {"limit_train_batches": 1}}), digits, tmp_path, split)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(f"warning: train: all {len(of_one)} images of the validation are of class 3, so that its metrics say ")


@pytest.mark.parametrize(
    ("environment", "hardware", "told"),
    [
        (
            {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
            {},
            r"is 1 on 1 machine\(s\), which takes 1 process\(es\), but 2 were started",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            {"hardware.devices": 4},
            r"is 4 on 1 .* takes 4 .* but 2 were started \(WORLD_SIZE=2\)",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0"}, {"hardware.devices": 2, "hardware.num_nodes": 2}, r"is 2 on 2 .* takes 4"),
        ({"WORLD_SIZE": "4", "RANK": "3"}, {"hardware.devices": 2, "hardware.num_nodes": 2}, None),
        ({"NODE_RANK": "1", "MASTER_ADDR": "node0"}, {"hardware.num_nodes": 2}, None),
    ],
)
def test_as_many_processes_as_devices(
    make_params: Any, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], hardware: dict[str, int], told: str | None
) -> None:
    """Each of two that train on one device would write the same files."""
    monkeypatch.delenv(MAIN_PROCESS, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    params = make_params({**SMALL, "hardware.accelerator": "cpu", **hardware})
    if told is None:
        check_trainer_arguments(params)
        return
    with pytest.raises(InputError, match=rf"^params\.yaml: hardware\.devices: {told}"):
        check_trainer_arguments(params)


def test_one_task_of_slurm_starts_its_processes_itself(make_params: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`srun --ntasks=1 dvc repro`: Lightning would take it for the only one of several that SLURM has started."""
    monkeypatch.delenv(MAIN_PROCESS, raising=False)
    slurm = {
        "NTASKS": "1",
        "NTASKS_PER_NODE": "1",
        "JOB_NAME": "train",
        "JOB_ID": "42",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    params = make_params({**SMALL, "hardware.devices": 2})
    check_trainer_arguments(params)
    trainer = make_trainer(params, [], tmp_path)
    environment = trainer._accelerator_connector.cluster_environment
    assert type(environment).__name__ == "LightningEnvironment"
    assert not environment.creates_processes_externally
    assert trainer.world_size == 2
