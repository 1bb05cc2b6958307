"""Trainings that are interrupted on purpose, for tests: where, how often, and what must be equal at the end."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from publishing import teacher_of

from darkroom.base.errors import Interrupted
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.training.checkpoints.best import KeepBest, Kept
from darkroom.training.checkpoints.resume import KeepState
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.classifier import Classifier
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

STEPS, EPOCHS = 6, 3
CHANGES = {
    "train.model.kwargs": {"width": 4, "stages": 2, "dropout": 0.5},
    "train.epochs": EPOCHS,
    "train.batch_size": 16,
    "hardware.accelerator": "cpu",
    "hardware.num_workers": 0,
    "train.augment": [
        {"_target_": "darkroom.input.augment.RandomShift", "pixels": 1},
        {"_target_": "torchvision.transforms.v2.RandomErasing", "p": 0.5},
    ],
}


class Killed(BaseException):
    """Imitates SIGKILL: nothing is saved."""


class Stop(NamedTuple):
    """Where a training ends early, counted from its start."""

    how: str
    """`asked` (a signal), `hurried` (two of them) or `killed`."""
    where: str
    """`step`, `validation`, `epoch` or `soup` (a validation of one)."""
    number: int
    sent: signal.Signals = signal.SIGTERM


class Result(NamedTuple):
    """What must be equal."""

    weights: dict[str, torch.Tensor]
    log: dict[str, bytes]
    card: tuple[int, float, list[int] | None]
    kept: list[Kept]
    """With the hashes of their weights."""


def few_of(digits: Any) -> tuple[Any, Split]:
    """Return the digits and a split of which an epoch has six steps."""
    rows = digits.split.rows
    split = Split(digits.split.classes, {"train": rows["train"][: 16 * STEPS], "val": rows["val"][:40], "test": rows["test"]}, "")
    return digits, split


def stop_at(monkeypatch: pytest.MonkeyPatch, stop: Stop | None) -> None:
    """Send a signal, or imitate a kill, at a step, a batch of a validation, an epoch or a validation of a soup."""
    hooks = {
        "step": (KeepState, "on_train_batch_end"),
        "validation": (KeepState, "on_validation_batch_start"),
        "epoch": (KeepState, "on_train_epoch_start"),
        "soup": (Classifier, "on_validation_start"),
    }
    count = 0
    originals = {where: vars(kind)[name] for where, (kind, name) in hooks.items()}

    def make(where: str) -> Any:
        def hook(self: Any, *arguments: Any, **named: Any) -> None:
            nonlocal count
            comes = where != "soup" or self.trainer.state.fn == "validate"
            if stop is not None and where == stop.where and comes:
                count += 1
                if count == stop.number:
                    if stop.how == "killed":
                        raise Killed
                    for _ in range(2 if stop.how == "hurried" else 1):
                        signal.raise_signal(stop.sent)
            originals[where](self, *arguments, **named)

        return hook

    for where, (kind, name) in hooks.items():
        monkeypatch.setattr(kind, name, make(where))


def run(params: Params, few: Any, folder: Path, stops: Sequence[Stop | None], logs: Path | None = None) -> Result:
    """Start the same training once for every stop, and return the result of the last one, whose stop is None."""
    digits, split = few
    for stop in stops:
        with pytest.MonkeyPatch.context() as monkeypatch:
            stop_at(monkeypatch, stop)
            store = StateStore(folder, {"same": "always"})
            try:
                with store.held():
                    plan = make_plan(params, digits.pack, split.rows["train"], teacher=teacher_of(params))
                    best = fit(plan, split, store, logs=logs)
            except (Interrupted, Killed):
                assert stop is not None
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            else:
                assert stop is None, f"{stop} never came"
    return result(best, store.log_dir)


def result(best: KeepBest, log_dir: Path) -> Result:
    log = {str(path.relative_to(log_dir)): path.read_bytes() for path in log_dir.rglob("*") if path.is_file()}
    soup = best.soup.epochs if best.soup else None
    return Result(best.weights, log, (best.epoch, best.score, soup), best.kept)


def assert_equal(first: Result, second: Result) -> None:
    assert first.card == second.card
    assert first.kept == second.kept
    assert first.log == second.log
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
