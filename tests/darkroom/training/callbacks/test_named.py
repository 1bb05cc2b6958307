"""`train.callbacks`: Lightning's and one's own work beside the rest, resume exactly, and cannot harm what is recorded."""

import csv
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import CHANGES, EPOCHS, STEPS, Result, Stop, assert_equal, few_of, run

import plugins
from darkroom.base import paths
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.training.callbacks.refused import REFUSED
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
OWN = """
from pathlib import Path
import pytorch_lightning as pl

class Counts(pl.Callback):
    def __init__(self, log_dir, first=0):
        self.path, self.count = Path(log_dir) / "counts.txt", first

    def on_train_batch_end(self, *_):
        self.count += 1

    def on_train_epoch_end(self, trainer, pl_module):
        self.path.write_text(str(self.count))
        self.log("steps", float(self.count))

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]

class Fails(pl.Callback):
    def on_train_batch_end(self, *_):
        raise KeyError("weight")

class Unplain(pl.Callback):
    def state_dict(self):
        return {"seen": [{1, 2}]}

class UnplainHook(pl.Callback):
    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["mine"] = Fails()

class Late(pl.callbacks.StochasticWeightAveraging):
    pass

def late():
    return Late(0.1)
"""
README = paths.PLUGINS / "README.md"
Train = Callable[..., tuple[Result, Path]]


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "planted" / "plugins"
    folder.mkdir(parents=True)
    (folder / "watchers.py").write_text(OWN)
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "pl.Callback" in block]
    (folder / "norms.py").write_text(code)
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__, str(folder)])
    importlib.invalidate_caches()
    yield
    for name in ("plugins.watchers", "plugins.norms"):
        sys.modules.pop(name, None)


@pytest.fixture
def train(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Train:
    """Train with callbacks, and return the result and the folder of the run's logs."""

    def make(callbacks: list[Any], *stops: Stop, folder: str = "run", **changes: Any) -> tuple[Result, Path]:
        params = make_params(CHANGES | {"train.callbacks": callbacks} | {f"train.{key}": changes[key] for key in changes})
        result = run(params, few_of(digits), tmp_path / folder / "states", [*stops, None], tmp_path / folder / "logs")
        (logs,) = (path for path in (tmp_path / folder / "logs").iterdir() if path.is_dir())
        return result, logs

    return make


def log_without(result: Result, added: str) -> dict[str, bytes]:
    return {name: content for name, content in result.log.items() if added not in name and name != "metrics.json"}


def test_checkpoints_and_rates_are_written_and_change_nothing(train: Train) -> None:
    """ModelCheckpoint writes to the run's folder in logs/; the mode of its monitor is that of the metric, not Lightning's min."""
    saved = {"_target_": "ModelCheckpoint", "filename": "best-{epoch}", "monitor": "val/accuracy", "save_last": True}
    often = {"_target_": "ModelCheckpoint", "dirpath": "often", "every_n_train_steps": 4, "save_top_k": -1}
    expected, _ = train([], folder="plain")
    result, logs = train([saved, often, "LearningRateMonitor"])
    assert result.card == expected.card
    assert all(torch.equal(value, result.weights[name]) for name, value in expected.weights.items())
    assert log_without(result, "lr-") == log_without(expected, "lr-")
    (best,) = (logs / "checkpoints").glob("best-*.ckpt")
    assert best.name == f"best-epoch={result.card[0] - 1}.ckpt"
    assert (logs / "checkpoints" / "last.ckpt").exists()
    steps = {f"epoch={(step - 1) // STEPS}-step={step}.ckpt" for step in (4, 8, 12, 16)}
    assert {path.name for path in (logs / "often").iterdir()} == steps
    weights = torch.load(best, weights_only=True)["state_dict"]
    assert all(torch.equal(weights[f"network.{name}"], value) for name, value in result.weights.items())


CHAIN = [Stop("asked", "step", 4), Stop("killed", "step", 7), Stop("asked", "validation", 1)]


@pytest.mark.thorough
def test_their_state_survives_interruptions(train: Train) -> None:
    """Also of a step at which a checkpoint is due and the training is interrupted."""
    saved = {"_target_": "ModelCheckpoint", "every_n_train_steps": 4, "save_top_k": -1}
    stopping = {"_target_": "EarlyStopping", "monitor": "train/accuracy", "patience": 5}
    callbacks = [{"_target_": "plugins.watchers.Counts", "first": 100}, saved, stopping, "LearningRateMonitor"]
    expected, logs = train(callbacks)
    result, resumed = train(callbacks, *CHAIN, folder="chain")
    assert_equal(result, expected)
    assert (resumed / "counts.txt").read_text() == (logs / "counts.txt").read_text() == str(100 + STEPS * EPOCHS)
    assert b"118" in expected.log["plots/metrics/steps.tsv"]
    names = [sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (logs, resumed)]
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_the_example_of_the_readme_logs_what_it_says(train: Train) -> None:
    result, logs = train([{"_target_": "plugins.norms.Norms", "order": 1.0}], Stop("asked", "step", 8))
    logged = [float(row.split("\t")[1]) for row in result.log["plots/metrics/norm.tsv"].decode().splitlines()[1:]]
    written = [float(line) for line in (logs / "norms.txt").read_text().splitlines()]
    assert logged == pytest.approx(written, rel=1e-6)
    assert len(written) == EPOCHS


def test_the_rate_of_a_table_is_seen_by_callbacks(train: Train) -> None:
    """The module sets it after the callbacks have looked."""
    result, _ = train(["LearningRateMonitor"], lr_table={0: 0.02, 1: 0.1, 2: 0.3}, log_every="step")
    used = [float(row.split("\t")[1]) for row in result.log["plots/metrics/lr_step.tsv"].decode().splitlines()[1:]]
    rows = [row.split("\t") for row in result.log["plots/metrics/lr-AdamW.tsv"].decode().splitlines()[1:]]
    assert {float(value) for _, value in rows} == set(used)
    assert all(used[int(step)] == float(value) for step, value in rows)


def test_measurements_of_the_machine_stay_out_of_the_metrics(train: Train) -> None:
    measured = {"_target_": "DeviceStatsMonitor", "cpu_stats": True}
    result, logs = train([measured], loggers=["CSVLogger"])
    assert not any("DeviceStats" in name for name in result.log)
    rows = list(csv.DictReader((logs / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8")))
    assert any(key.startswith("DeviceStatsMonitor") for key in rows[0])
    with pytest.raises(InputError, match=r"DeviceStatsMonitor needs one of train\.loggers"):
        train([measured], folder="without", loggers=[])


def test_early_stopping_of_lightning_knows_what_is_better(
    train: Train, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    stopping = {"_target_": "EarlyStopping", "monitor": "val/accuracy", "patience": 2, "min_delta": 2.0, "verbose": True}
    result, _ = train([stopping], epochs=9, early_stopping=None)
    assert len(result.log["plots/metrics/val/loss.tsv"].splitlines()) == 1 + 3
    line = "train: stopped early at epoch 3 of 9: Monitored metric val/accuracy did not improve"
    assert line in capsys.readouterr().out
    assert "Metric val/accuracy improved" in caplog.text


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["RichProgressBar", "TQDMProgressBar", "RichModelSummary", "ModelSummary"])
def test_bars_and_summaries_show_beside_the_lines(train: Train, capfd: Any, caplog: Any, name: str) -> None:
    train([name], epochs=1)
    captured = capfd.readouterr()
    assert "epoch 1/1  train/loss" in captured.out
    shown = {"TQDMProgressBar": "Epoch 0", "RichModelSummary": "Trainable params", "ModelSummary": "Trainable params"}
    assert shown.get(name, "") in captured.out + captured.err + caplog.text


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_break_the_record_is_refused_with_the_key_that_does_it(make_params: Any, digits: Any, name: str) -> None:
    reason, instead = REFUSED[name]
    with pytest.raises(InputError) as caught:
        make_plan(make_params(CHANGES | {"train.callbacks": [name]}), digits.pack, digits.split.rows["train"])
    assert f"params.yaml: train.callbacks: {name} cannot be used: it {reason}; {instead}" == str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "LearningRateMonitr",
            "train.callbacks._target_: there is no LearningRateMonitr in pytorch_lightning.callbacks; did you",
        ),
        ("plugins.watchers.Late", "plugins.watchers.Late cannot be used: it exchanges the weights after the best epoch"),
        ("Callback", "train.callbacks: Callback does nothing by itself; name a subclass of it"),
        ("darkroom.training.checkpoints.best.KeepBest", "KeepBest is a part of every training; remove it"),
        ("torch.nn.Linear", "train.callbacks._target_: torch.nn.Linear cannot be used here; name a subclass of Callback"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_built(
    make_params: Any, digits: Any, target: Any, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(make_params(CHANGES | {"train.callbacks": [target]}), digits.pack, digits.split.rows["train"])
    assert message in str(caught.value)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([{"_target_": "ModelCheckpoint", "dirpth": "x"}], "train.callbacks.dirpth: ModelCheckpoint takes no such argument; did"),
        (
            [{"_target_": "ModelCheckpoint", "monitor": "val/acuracy"}],
            "is val/acuracy, which is not measured; did you mean 'val/acc",
        ),
        ([{"_target_": "EarlyStopping"}], "EarlyStopping: missing a required argument: 'monitor'"),
        (
            [{"_target_": "ModelCheckpoint", "dirpath": "models/mine"}],
            "train.callbacks.dirpath: models/mine is in the repository",
        ),
        ([{"_target_": "ModelCheckpoint", "dirpath": "metrics"}], "train.callbacks.dirpath: metrics is in the repository"),
        ([{"_target_": "ModelCheckpoint", "dirpath": str(paths.ROOT / "src")}], "is in the repository, whose outputs DVC clears"),
        (["RichProgressBar", "TQDMProgressBar"], "RichProgressBar and TQDMProgressBar are two progress bars"),
        (["ModelCheckpoint", "ModelCheckpoint"], "ModelCheckpoint has the state_key of another callback"),
        (["plugins.watchers.late"], "plugins.watchers.late cannot be used: it exchanges the weights"),
    ],
)
def test_what_does_not_fit_is_one_line_before_the_first_step(train: Train, callbacks: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        train(callbacks)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Fails", r"plugins\.watchers\.Fails: on_train_batch_end fails \(KeyError: 'weight'"),
        ("Unplain", r"plugins\.watchers\.Unplain: state_dict, seen is a set, which cannot be resumed from"),
        ("UnplainHook", r"plugins\.watchers\.UnplainHook: on_save_checkpoint, mine is a Fails, which cannot be resumed from"),
    ],
)
def test_one_that_fails_is_one_line_with_its_name(train: Train, name: str, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        train([f"plugins.watchers.{name}"])
    assert "\n" not in str(caught.value)
