"""What looks on sees what happened: the machine, every step, the test split, the inside, what the training was made of."""

import csv
import json
import subprocess
import threading
import time
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import CHANGES, EPOCHS, STEPS, Result, Stop, few_of, run
from PIL import Image

from darkroom.base import paths
from darkroom.base.files import WRITING
from darkroom.base.params import Params
from darkroom.stage.runner import Stage
from darkroom.training.checkpoints.saved_states import depends_on
from darkroom.training.observing import provenance, system
from darkroom.training.observing.inspection import Shares, kind_of_work
from darkroom.training.observing.steps import STEPS_PER_READ, LogSteps
from darkroom.training.observing.system import SystemMonitor

pytestmark = pytest.mark.filterwarnings("ignore")
Train = Callable[[dict[str, Any]], tuple[Result, Path]]


@pytest.fixture
def train(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Train:
    """Train with changes of the parameters, and return the result and the folder of what was observed."""

    def make(changes: dict[str, Any]) -> tuple[Result, Path]:
        logs = tmp_path / f"logs-{len(list(tmp_path.iterdir()))}"
        result = run(make_params(CHANGES | changes), few_of(digits), logs / "states", [None], logs / "logs")
        (folder,) = (logs / "logs").iterdir()
        return result, folder

    return make


def column(log: dict[str, bytes], name: str) -> list[tuple[int, float]]:
    rows = csv.DictReader(log[f"plots/metrics/{name}.tsv"].decode().splitlines(), delimiter="\t")
    return [(int(row["step"]), float(row[name.rpartition("/")[2]])) for row in rows]


def test_every_step_is_logged_with_its_rate(train: Train) -> None:
    log = train({"train.log_every": "step", "train.scheduler": {"_target_": "torch.optim.lr_scheduler.OneCycleLR"}})[0].log
    losses, rates = column(log, "train/loss_step"), column(log, "lr_step")
    assert [step for step, _ in losses] == [step for step, _ in rates] == list(range(1, STEPS * EPOCHS + 1))
    # All batches have 16 images.
    means = [np.mean([loss for _, loss in losses[STEPS * epoch : STEPS * (epoch + 1)]]) for epoch in range(EPOCHS)]
    assert means == pytest.approx([loss for _, loss in column(log, "train/loss")], rel=1e-5)
    # It begins at a 25th of the peak, reaches the peak and falls.
    assert rates[0][1] == pytest.approx(0.01 / 25)
    assert max(rate for _, rate in rates) == pytest.approx(0.01, rel=0.1)
    assert rates[-1][1] < rates[0][1]


def test_steps_wait_for_the_device_once_in_fifty(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    original = LogSteps.flush

    def counted(self: LogSteps, trainer: Any) -> None:
        if self.steps:
            reads.append(len(self.steps))
        original(self, trainer)

    monkeypatch.setattr(LogSteps, "flush", counted)
    train({"train.log_every": "step", "train.batch_size": 1, "train.epochs": 1})
    assert set(reads[:-1]) == {STEPS_PER_READ}


def test_the_test_split_is_measured_and_chooses_nothing(train: Train) -> None:
    plain = train({})[0]
    result, _ = train({"train.test_every": 2})
    assert [epoch for epoch, _ in column(result.log, "test_during/accuracy")] == [2]
    assert result.card == plain.card
    assert all(torch.equal(value, result.weights[name]) for name, value in plain.weights.items())
    assert result.log["plots/metrics/val/loss.tsv"] == plain.log["plots/metrics/val/loss.tsv"]


def test_the_machine_is_watched(train: Train) -> None:
    _, folder = train({"hardware.watch": True})
    (*_, last) = csv.DictReader((folder / "machine.csv").open(encoding="utf-8"))
    assert int(last["step"]) == STEPS * EPOCHS
    assert 0 < float(last["training_gb"]) < 100
    assert Image.open(folder / "machine.png").size[0] >= 500
    assert not any(thread.name == "watch" for thread in threading.enumerate())
    _, folder = train({"hardware.watch": False})
    assert not (folder / "machine.csv").exists()


def test_what_a_killed_training_was_writing_is_cleared_away(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Path] = []

    def killed(_: Path, image: Path) -> None:
        found.extend(image.parent.glob(f"{WRITING}*"))
        (image.parent / f"{WRITING}{image.name}.abc").touch()

    monkeypatch.setattr(system, "draw", killed)
    params = make_params(CHANGES | {"hardware.watch": True})
    arguments = params, few_of(digits), tmp_path / "states"
    run(*arguments, [Stop("asked", "step", 2), None], tmp_path / "logs")
    assert not found
    (rest,) = tmp_path.rglob(f"{WRITING}*")
    run(*arguments, [None], tmp_path / "logs")
    assert not rest.exists()


def test_watching_costs_less_than_a_hundredth(tmp_path: Path) -> None:
    with SystemMonitor(tmp_path, seconds=0.1) as watch:
        time.sleep(3)
        samples, cost = len((tmp_path / "machine.csv").read_text().splitlines()) - 1, watch.cpu_seconds
    assert samples >= 5
    assert cost / samples < 0.01 * 3.0


def test_a_watch_that_cannot_write_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SystemMonitor(tmp_path / "nowhere", seconds=0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err.count("training continues without it") == 1


def test_the_inside_is_shown(train: Train) -> None:
    _, folder = train({"train.inspect": ["histograms", "inputs", "profiler"]})
    names = [f"epoch_{epoch:03d}" for epoch in range(1, EPOCHS + 1)]
    assert sorted(path.stem for path in (folder / "histograms").iterdir()) == names
    content = np.load(folder / "histograms" / "epoch_002.npz")
    sizes = {name: int(content[name].sum()) for name in content.files if name.endswith("counts")}
    weights = [name for name in sizes if name.startswith("parameters/") and name.endswith("weight/counts")]
    assert weights
    assert all(sizes[name] == sizes[name.replace("parameters/", "gradients/")] > 0 for name in weights)
    sheets = [np.asarray(Image.open(folder / "inputs" / f"{name}.png")) for name in names]
    assert sheets[0].shape == (2 * 10 + 2, 8 * 10 + 2, 3)  # 16 images of 8 pixels, eight in a row, with borders of two
    assert (sheets[0] != sheets[1]).any()
    profile = (folder / "profile.txt").read_text()
    shares = profile.partition("\n\n")[0].splitlines()
    assert shares[0] == "Where the time went"
    kinds = {line[:24].strip() for line in shares[1:]}
    assert {"input", "forward, loss", "backward", "optimizer", "validation", "callbacks", "Lightning, logging"} <= kinds
    assert "run_training_batch" in profile
    assert "aten::convolution" in profile


def test_each_moment_is_of_one_kind_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    shares = Shares()
    with shares.profile("run_training_batch"):
        with shares.profile("[Strategy]S.training_step"), shares.profile("[Callback]Mine.on_forward"):
            pass
        with shares.profile("[LightningModule]C.optimizer_step"), shares.profile("[Strategy]S.backward"):
            pass
    # The clock ticks whenever it is asked, by Lightning's profiler as well.
    assert sum(shares.seconds.values()) == shares._since - 1
    assert set(shares.seconds) == {"Lightning, logging", "forward, loss", "callbacks", "optimizer", "backward"}
    lines = shares.table().splitlines()
    assert len(lines) == 5
    assert sum(float(line.split()[-2]) for line in lines) == pytest.approx(100, abs=0.3)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("[_TrainingEpochLoop].train_dataloader_next", "input"),
        ("[_EvaluationLoop].val_next", "input"),
        ("[Strategy]SingleDeviceStrategy.batch_to_device", "input to the device"),
        ("[LightningModule]Classifier.optimizer_zero_grad", "optimizer"),
        ("[Strategy]DDPStrategy.validation_step", "validation"),
        ("[LightningModule]Classifier.on_train_epoch_end", "Lightning, logging"),
    ],
)
def test_names_of_actions(action: str, kind: str) -> None:
    assert kind_of_work(action) == kind


def test_the_circumstances_are_kept(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(root)]
    (root / "code.py").write_text("a = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (root / "code.py").write_text("a = 2\n")
    (root / "größe.txt").write_text("new")
    monkeypatch.setattr(paths, "ROOT", root)
    _, folder = train({})
    told = json.loads((folder / "run.json").read_text())
    assert (told["commit"], told["changed"], told["untracked"]) == (commit, True, ["größe.txt"])
    assert told["params"]["train"]["epochs"] == EPOCHS
    assert told["packages"]["torch"] == torch.__version__.partition("+")[0] or told["packages"]["torch"] == torch.__version__
    assert "+a = 2" in (folder / "changes.patch").read_text()
    # What is kept can be put back.
    subprocess.run([*git, "checkout", "-q", "code.py"], check=True)
    subprocess.run([*git, "apply", str(folder / "changes.patch")], check=True)
    assert (root / "code.py").read_text() == "a = 2\n"
    monkeypatch.setattr(provenance, "MAX_PATCH_BYTES", 10)
    _, folder = train({})
    assert "cut off here" in (folder / "changes.patch").read_text()


def test_packages_are_those_that_their_metadata_names() -> None:
    assert provenance.installed() == {each.metadata["Name"]: each.version for each in distributions()}


def test_the_record_is_the_same_for_equal_inputs() -> None:
    about = {"params": {"train": {}}, "data": {}, "code": {}}
    first, second = (json.dumps(provenance.record(about, "0" * 64, "f" * 16)) for _ in range(2))
    assert first == second
    assert {"numpy", "torch"} <= set(json.loads(first)["packages"])
    names = list(json.loads(first)["packages"])
    assert names == sorted(names, key=str.lower)


def test_who_looks_on_is_not_among_what_a_result_depends_on(make_params: Callable[..., Params]) -> None:
    stage = Stage("train", {})
    plain = depends_on(stage.code, make_params(), {})
    looked = {"train.loggers": [{"_target_": "pytorch_lightning.loggers.CSVLogger"}], "train.inspect": ["profiler"]}
    assert depends_on(stage.code, make_params(looked), {}) == plain
    assert depends_on(stage.code, make_params({"train.log_every": "step"}), {}) != plain
