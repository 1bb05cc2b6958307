"""A training that was interrupted anywhere, any number of times, ends with the bits of one that was not."""

import csv
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from interruptions import CHANGES, EPOCHS, STEPS, Result, Stop, assert_equal, few_of, run
from publishing import publish

from darkroom.base.errors import Interrupted
from darkroom.base.params import Params
from darkroom.training.checkpoints.resume import KeepState
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def few(digits: Any) -> Any:
    return few_of(digits)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, tuple[Path, Result]]:
    """The folder and the result of every training of this file that nothing interrupted: each is run once."""
    return {}


@pytest.fixture
def whole(
    make_params: Callable[..., Params],
    few: Any,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    undisturbed: dict[str, tuple[Path, Result]],
) -> Callable[..., tuple[Params, Result]]:
    """Return parameters with changes, and what comes out if nothing interrupts; its folder is copied to `whole`."""

    def make(changes: dict[str, Any] | None = None) -> tuple[Params, Result]:
        params, name = make_params(CHANGES | (changes or {})), str(changes)
        if name not in undisturbed:
            folder = tmp_path_factory.mktemp("undisturbed")
            undisturbed[name] = (folder, run(params, few, folder, [None]))
        folder, result = undisturbed[name]
        shutil.copytree(folder, tmp_path / "whole")
        return params, result

    return make


def test_asked_to_end_at_every_step(whole: Any, few: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params, expected = whole()
    assert len(expected.log) >= 7
    capsys.readouterr()
    stops = [Stop("asked", "step", 1)] * (STEPS * EPOCHS)
    assert_equal(run(params, few, tmp_path / "chain", [*stops, None]), expected)
    lines = capsys.readouterr().out.splitlines()
    said = [
        f"train: resuming at epoch {(step - 1) // STEPS + 1}, step {step}: same parameters, data, code" for step in (4, 8, 17)
    ]
    assert [line for line in lines if line in said] == said
    assert not any(line.startswith("train: starting fresh") for line in lines)


@pytest.mark.thorough
def test_asked_to_end_once_at_any_step(whole: Any, few: Any, tmp_path: Path) -> None:
    params, expected = whole()
    for step in range(1, STEPS * EPOCHS + 1):
        assert_equal(run(params, few, tmp_path / str(step), [Stop("asked", "step", step), None]), expected)


def test_killed_at_any_step(whole: Any, few: Any, tmp_path: Path) -> None:
    """At the first step, and at the last and the first of every epoch, of which the last repeats the epoch."""
    params, expected = whole()
    stops = [Stop("killed", "step", number) for number in (1, STEPS, STEPS + 1, STEPS, STEPS + 1, STEPS)]
    assert_equal(run(params, few, tmp_path / "chain", [*stops, None]), expected)


@pytest.mark.thorough
def test_killed_once_at_any_step(whole: Any, few: Any, tmp_path: Path) -> None:
    params, expected = whole()
    for step in (1, 6, 7, 12, 13, 18):
        assert_equal(run(params, few, tmp_path / str(step), [Stop("killed", "step", step), None]), expected)


def test_a_second_signal_does_not_wait_for_the_step(whole: Any, few: Any, tmp_path: Path) -> None:
    """The state before is resumed: of the epoch, or the one that a signal had asked for."""
    params, expected = whole()
    stops = [Stop("hurried", "step", STEPS + 2), Stop("asked", "step", 2), Stop("hurried", "validation", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)


CHAINS = [
    [Stop("asked", "step", 3), Stop("asked", "step", 3), Stop("asked", "step", 6), None],
    [Stop("asked", "step", 6), Stop("asked", "step", 6), Stop("killed", "step", 2), None],
    [Stop("asked", "validation", 1), Stop("asked", "validation", 2), Stop("asked", "step", 1), None],
    [Stop("killed", "validation", 4), Stop("asked", "epoch", 1), Stop("asked", "step", 5), None],
    [Stop("asked", "epoch", 2), Stop("killed", "epoch", 2), Stop("asked", "validation", 3), None],
    [Stop("asked", "step", 1), Stop("asked", "step", 1), Stop("asked", "step", 1), None],
]
THREADS = {"hardware.num_workers": 2, "train.augment": [{"_target_": "RandomCropResize"}, {"_target_": "RandomFlip"}]}


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one worker": {"hardware.num_workers": 1},
    "two workers": {"hardware.num_workers": 2},
    "two threads": THREADS,
    "held": {"hardware.cache_images": True, "train.augment": [{"_target_": "AlternatingFlip"}, {"_target_": "RandomColor"}]},
    # No epoch is better than the first by that much: every later one lowers the rate.
    "plateau": {"train.scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "threshold": 10.0}},
    "one cycle": {"train.scheduler": {"_target_": "torch.optim.lr_scheduler.OneCycleLR"}, "train.optimizer": {"_target_": "torch.optim.SGD"}},
    "accumulated": {"train.scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}, "train.trainer": {"accumulate_grad_batches": 2}, "train.log_every": "step"},
    "bf16": {"train.precision": "bf16-mixed", "train.monitor": "val/loss"},
    "two validations an epoch": {"train.trainer": {"val_check_interval": 0.5}},
    "table and mixing": {"train.lr_table": {0: 0.01, 1: 0.1, 2: 0.02}, "train.layer_decay": 0.5, "train.mixup": 0.4, "train.cutmix": 1.0},
    "thawed": {"train.freeze": 0.5, "train.unfreeze_epoch": 1, "train.class_weights": "balanced", "train.decay_norm_and_bias": False},
    "ema": {"train.ema": 0.9, "train.sampler": "balanced", "train.adaptive_clip": 0.1, "train.image_sizes": {0: 6, 1: 8}},
    "muon": {"train.optimizer": {"_target_": "timm.optim.Muon", "momentum": 0.6, "nesterov": True, "weight_decay": 0.1}, "train.decay_norm_and_bias": False, "train.ema": 0.9},
    "swa": {"train.swa": 0.4},
    "steps and test": {"train.log_every": "step", "train.test_every": 2},
    "cached features": {"train.cache_features": True, "train.freeze": True, "train.augment": [], "train.ema": 0.9, "train.test_every": 2},
    "albumentations": {"base.allow_targets": ["albumentations"], "train.augment": [{"_target_": "albumentations.Compose", "transforms": [{"_target_": "albumentations.Affine", "rotate": [-20, 20]}, {"_target_": "albumentations.CoarseDropout"}]}]},
    "kept epochs": {"train.metrics": {"auroc": "AUROC"}, "train.monitor": "val/auroc", "train.keep_best": 2, "train.keep_every": 1},
}  # fmt: skip


def chains_of(name: str) -> list[list[Stop | None]]:
    """Return the chains to try with a configuration; the first one is tried every time, and is another for the next one."""
    start = list(CONFIGURATIONS).index(name) % len(CHAINS)
    chains = CHAINS[start:] + CHAINS[:start]
    # Starting reading processes takes longer than all the rest.
    return chains[:2] if name in ("one worker", "two workers") else chains


# Its steps are those of test_asked_to_end_at_every_step, or it differs little from others.
SIMILAR = ("plain", "one worker", "one cycle", "held", "steps and test", "kept epochs")


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] * (name in SIMILAR)) for name in CONFIGURATIONS]
)
def test_a_chain_of_interruptions(whole: Any, few: Any, tmp_path: Path, name: str) -> None:
    params, expected = whole(CONFIGURATIONS[name])
    assert_equal(run(params, few, tmp_path / "chain", chains_of(name)[0]), expected)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_more_chains_of_interruptions(whole: Any, few: Any, tmp_path: Path, name: str) -> None:
    params, expected = whole(CONFIGURATIONS[name])
    for number, stops in enumerate(chains_of(name)[1:]):
        assert_equal(run(params, few, tmp_path / str(number), stops), expected)


def test_a_taught_training_goes_on(make_params: Callable[..., Params], whole: Any, few: Any, tmp_path: Path) -> None:
    digits, split = few
    plan = make_plan(make_params({"train.model.kwargs": {"width": 3}}), digits.pack, split.rows["train"])
    publish(tmp_path / "teacher", plan, split.classes)
    teaching = {"model": str(tmp_path / "teacher"), "weight": 0.5, "temperature": 2.0}
    params, expected = whole({"train.teacher": teaching, "train.mixup": 0.4})
    assert_equal(run(params, few, tmp_path / "chain", CHAINS[3]), expected)


def measured(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a CSVLogger's table, without the load of the machine, which differs."""
    with (folder / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: value for name, value in row.items() if value and "system/" not in name} for row in csv.DictReader(file)]
    return [row for row in rows if row.keys() - {"step"}]


@pytest.mark.thorough
def test_whatever_looks_on_changes_nothing_and_goes_on(
    make_params: Callable[..., Params], whole: Any, few: Any, tmp_path: Path
) -> None:
    _, expected = whole({"train.log_every": "step"})
    loggers = [{"_target_": f"pytorch_lightning.loggers.{name}Logger"} for name in ("TensorBoard", "CSV")]
    params, logs = (
        make_params(
            CHANGES | {"train.log_every": "step", "train.loggers": loggers, "train.inspect": ["histograms", "inputs", "profiler"]}
        ),
        tmp_path / "logs",
    )
    assert_equal(run(params, few, tmp_path / "plain", [None], logs / "plain"), expected)
    stops = [Stop("asked", "step", 8), Stop("killed", "step", 3), Stop("asked", "validation", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops, logs / "chain"), expected)
    (plain,), (chain,) = ([path for path in (logs / name).iterdir() if path.is_dir()] for name in ("plain", "chain"))
    assert measured(chain) == measured(plain) != []
    assert [path.name for path in (chain / "tensorboard").iterdir()] == ["version_0"]
    assert len(list((chain / "tensorboard" / "version_0").glob("events.*"))) == len(stops)
    names = {"machine.csv", "machine.png", "run.json", "profile.txt", "inputs", "csv", "tensorboard"}
    assert names <= {path.name for path in chain.iterdir()}


def test_epochs_without_validation(whole: Any, few: Any, tmp_path: Path) -> None:
    params, expected = whole({"train.trainer": {"check_val_every_n_epoch": 3, "limit_train_batches": 5}})
    # In the first epoch, after its last step and after the first one of the second, in the third and after all.
    stops = [Stop("asked", "step", number) for number in (3, 2, 1, 7, 2)]
    assert_equal(run(params, few, tmp_path / "chain", [*stops, None]), expected)


def test_early_stopping_goes_on_waiting(whole: Any, few: Any, tmp_path: Path) -> None:
    params, expected = whole({"train.epochs": 9, "train.lr": 1e-9, "train.early_stopping": {"patience": 3, "min_delta": 0.5}})
    assert len(expected.log["plots/metrics/val/loss.tsv"].splitlines()) == 1 + 4
    stops = [Stop("asked", "step", 8), Stop("killed", "epoch", 2), Stop("asked", "validation", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)


SOUP = {"train.soup": 3, "train.keep_every": 2, "train.lr": 0.05, "train.monitor": "val/loss"}


@pytest.mark.parametrize("average", [{}, pytest.param({"train.swa": 0.4}, marks=pytest.mark.thorough)], ids=str)
def test_a_soup_that_is_killed_is_cooked_anew(whole: Any, few: Any, tmp_path: Path, average: dict[str, Any]) -> None:
    params, expected = whole(SOUP | average)
    stops = [Stop("asked", "step", 8), Stop("killed", "soup", 1), Stop("killed", "soup", 2), Stop("killed", "soup", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)
    if not average:
        assert expected.card[2]


def test_weights_that_are_spoilt_cost_no_more_than_the_states_that_name_them(
    whole: Any, few: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params, expected = whole({"train.keep_best": 3})
    newest = max((tmp_path / "whole").glob("*/*-weights-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    assert_equal(run(params, few, tmp_path / "whole", [None]), expected)
    assert "names weights that are damaged or missing; an earlier state is used if there is one" in capsys.readouterr().err


def test_a_finished_training_is_only_published(
    whole: Any, few: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params, expected = whole()
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert_equal(run(params, few, tmp_path / "whole", [None]), expected)
    assert "finished before with the same parameters, data and code" in capsys.readouterr().out


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what SLURM's command is told in a job."""
    scontrol, told = tmp_path / "bin" / "scontrol", tmp_path / "told"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    settings = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "42", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return told


def test_a_slurm_job_is_put_back_into_its_queue(
    whole: Any, few: Any, tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, expected = whole()
    # Lightning would pick up a checkpoint of its own from the working directory.
    monkeypatch.chdir(tmp_path)
    stops = [Stop("asked", "step", 8, signal.SIGUSR1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)
    assert queue.read_text() == "requeue 42\n"
    assert not list(tmp_path.glob("hpc_ckpt*"))


def test_a_signal_to_one_process_ends_all_and_the_main_one_asks_for_the_queue(tmp_path: Path, queue: Path) -> None:
    asked = torch.tensor([0, signal.SIGUSR1])
    strategy = SimpleNamespace(all_gather=lambda own: asked.where(own == 0, own), root_device="cpu")
    for is_main in (True, False):
        trainer: Any = SimpleNamespace(world_size=2, strategy=strategy, is_global_zero=is_main, current_epoch=1, global_step=8)
        with pytest.raises(Interrupted, match=r"the state of epoch 2, step 8 is saved; run the same command to resume") as ended:
            KeepState(StateStore(tmp_path, {}), 1.0)._end_if_asked(trainer)
        assert ended.value.number == signal.SIGUSR1
    assert queue.read_text() == "requeue 42\n"
